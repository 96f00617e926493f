"""From what is wanted and what was seen to what is to be done: pure, without I/O, clock or memory. `plan` is the way in."""
