"""What is asked of files and account before a plan: facts, rounds of SHOW, deep reads within a budget, and last good answers."""
