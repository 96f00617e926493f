"""What all kinds that work by jobs share: names and attempts, the statement, what a job says while it runs and what it left behind."""
