"""Reading statements: tokens, names, and a cursor for the account's own grammar."""
