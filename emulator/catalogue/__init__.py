"""What exists in the account: objects, users, roles, grants. One SQLite file."""
