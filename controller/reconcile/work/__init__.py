"""Carrying changes out: the queue, the workers, one change at a time per key, and what a failure means for the next try."""
