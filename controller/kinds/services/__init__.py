"""What services are made of: their specifications as text and as compared, templates, block volumes, and the images behind their tags."""
