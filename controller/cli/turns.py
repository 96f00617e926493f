"""Lets the threads of a daemon take turns often.

Python lets one thread run for 5 ms while others wait. What follows from a save is a chain of small steps in several threads, from the file
to the socket; beside a look at thousands of objects, which computes for half a second, each of them would wait so long, and all of them
together longer than the whole chain takes. With shorter turns the look becomes later by what the save needs, and by little more.
"""

from __future__ import annotations

import sys

TURN = 0.0005  # seconds


def short_turns() -> None:
    """From now on, in this process."""
    sys.setswitchinterval(TURN)
