"""What a run leaves behind so that the next attempt goes on exactly where this one stopped."""
