"""Which of several processes may change the account. `leadership` is what the others ask; decisions/lease.md has the argument."""
