"""How good the base and the tuned model are on rows that neither has learned from."""
