"""What runs inside the containers: the entry points of the trainer, the fetcher, the server and the workspace."""
