"""Every statement in order of arrival, also those that a fault kept from running: what a test reads to see who did what, and when."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

KEEP = 200_000


@dataclass
class Entry:
    """One statement. `outcome` is None while it runs, then `done`, `error N`, `cancelled`, or what a fault made of it."""

    n: int
    session: int
    client: str
    statement: str
    fault: str
    started: float = field(default_factory=time.time)
    ended: float | None = None
    outcome: str | None = None

    def end(self, outcome: str) -> None:
        self.outcome = outcome
        self.ended = time.time()

    def as_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "session": self.session,
            "client": self.client,
            "statement": self.statement,
            "fault": self.fault or None,
            "outcome": self.outcome,
            "startedAt": self.started,
            "endedAt": self.ended,
        }


class Journal:
    """The latest statements, numbered from 1. Used from the event loop alone."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEEP)
        self._last = 0

    def begin(self, session: int, client: str, statement: str, fault: str) -> Entry:
        """`statement` has its secrets removed."""
        self._last += 1
        entry = Entry(self._last, session, client, statement, fault)
        self._entries.append(entry)
        return entry

    def since(self, number: int) -> list[dict[str, Any]]:
        """Those after the one of that number."""
        first = self._last - len(self._entries)
        return [entry.as_json() for entry in islice(self._entries, max(0, number - first), None)]
