"""What only DESCRIBE tells, read within a budget, and remembered from look to look.

What was never read or whose row has moved comes first, then what was read longest ago, which has a quarter of a full look's budget in any
case; between two reads the last answer stands. While nothing else is to be done, `read_on` goes on where the last look's budget ended: it
asks nothing that a look has answered already, and whoever plans does so when all is read, or at the next look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controller.account.snapshot import Missing, Read, Row, Unanswered
from controller.api.objects import Graph, ObjectKey

Answers = Mapping[Read, tuple[Row, ...] | Missing]
Ask = Callable[[Iterable[Read]], Answers]
"""Sends SHOWs and DESCRIBEs: `functools.partial(controller.account.reader.read, pool)`."""

_FOR_LATER = 4  # on a full look at least one in so many goes to what was read longest ago, or rows that always move would keep it waiting


@dataclass(frozen=True)
class _Deep:
    answer: tuple[Row, ...] | Missing
    stamp: str  # of the object's SHOW rows when it was read
    turn: int
    at: float


@dataclass(frozen=True)
class Shallow:
    """A full look without its DESCRIBEs. Which questions to ask, and what to describe, follows from graph, facts and the answers to SHOWs
    alone: as long as all three are the same, it is not worked out again."""

    graph: Graph
    facts: Mapping[ObjectKey, Any]
    asked: tuple[Read, ...]
    derived: frozenset[Read]  # of those: taken from the answer to a wider one
    answers: Answers
    questions: Mapping[ObjectKey, tuple[Read, ...]]
    stamps: Mapping[ObjectKey, str]

    @property
    def told(self) -> Answers:
        """The answers that the account gave itself."""
        return {question: answer for question, answer in self.answers.items() if question not in self.derived}

    def fits(self, graph: Graph, facts: Mapping[ObjectKey, Any]) -> bool:
        return graph is self.graph and facts == self.facts


@dataclass
class DeepReads:
    """Remembers the DESCRIBEs of earlier looks. One for each engine; used by one thread."""

    budget: int = 20
    known: dict[Read, _Deep] = field(default_factory=dict)
    of: dict[ObjectKey, tuple[Read, ...]] = field(default_factory=dict)
    stamps: Mapping[ObjectKey, str] = field(default_factory=dict)
    turn: int = 0
    trusted: dict[ObjectKey, float] = field(default_factory=dict)  # changed by this process, and not read since; when it first was
    unread: int = 0  # after the last look: questions that have no current answer yet and that somebody should wait for
    shallow: Shallow | None = None  # of the last full look
    _oldest: float | None = None

    @property
    def age(self) -> float:
        """Seconds since the answer that is longest ago, or since what stands for one was sent; 0 while there is none."""
        return 0.0 if self._oldest is None else time.monotonic() - self._oldest

    def forget(self, key: ObjectKey, *, done: bool = False) -> None:
        """The object was just changed: its answers no longer stand. `done`: with success, so that nobody need wait for new ones: what they
        would say is what was just sent. They are asked for as all others are, when it is their turn."""
        for question in self.of.pop(key, ()):
            self.known.pop(question, None)
        if done:
            self.trusted.setdefault(key, time.monotonic())
        else:
            self.trusted.pop(key, None)

    def ask_again(self, whats: Collection[str]) -> None:
        """These kinds of questions are answered again: those that hung meanwhile, or were not asked, wait for their turn once more."""
        left_out = [q for q, deep in self.known.items() if q.what in whats and isinstance(deep.answer, Unanswered)]
        for question in left_out:
            del self.known[question]

    def look(self, wanted: Mapping[ObjectKey, tuple[Read, ...]], stamps: Mapping[ObjectKey, str], ask: Ask, *, full: bool) -> Answers:
        """The answers that stand, after asking at most `budget` of the questions; fewer on a look that only waits for a change.

        `ask` may come back to `ask_again` before it answers.
        """
        self.turn += 1
        self.of, self.stamps = dict(wanted), stamps
        stamp_of = {question: stamps[key] for key, questions in wanted.items() for question in questions}
        stale, granted = self._granted(stamp_of, full=full)
        answers = ask(granted) if granted else {}
        self._take(stale, {question: stamp_of[question] for question in granted}, answers)
        self.known = {question: deep for question, deep in self.known.items() if question in stamp_of}
        self._count(wanted)
        return {question: deep.answer for question, deep in self.known.items()}

    def _granted(self, stamp_of: Mapping[Read, str], *, full: bool) -> tuple[list[Read], list[Read]]:
        """What has no answer that stands, and what is asked in this turn: of that first, but for a share for what was asked longest ago."""
        trusted = {question for key in self.trusted for question in self.of.get(key, ()) if question not in self.known}
        stale = [q for q, stamp in stamp_of.items() if q not in trusted and (q not in self.known or self.known[q].stamp != stamp)]
        urgent = frozenset(stale)
        others = (question for question in stamp_of if question not in urgent) if full else ()
        later = sorted(others, key=lambda question: self.known[question].turn if question in self.known else 0)
        first = stale[: self.budget - min(self.budget // _FOR_LATER, len(later))]
        return stale, first + later[: self.budget - len(first)]

    def _take(self, stale: Iterable[Read], granted: Mapping[Read, str], answers: Answers) -> None:
        """Remember the answers to what was asked, by the stamps of now."""
        old = {question: self.known[question].answer for question in granted if question in self.known}
        for question in stale:
            self.known.pop(question, None)
        for question, stamp in granted.items():
            if question in self.known and question not in answers:  # its row has not moved: what was seen stands until it is answered
                self.known[question] = replace(self.known[question], turn=self.turn)
                continue
            answer = answers.get(question, Unanswered("not answered"))
            same = old.get(question)  # kept where it is equal, as nobody then compares or keeps it twice
            self.known[question] = _Deep(same if same == answer else answer, stamp, self.turn, time.monotonic())

    def _count(self, wanted: Mapping[ObjectKey, tuple[Read, ...]]) -> None:
        """Who is trusted still, how much is unread, and the oldest of all."""
        open_ = {key for key, questions in wanted.items() if any(question not in self.known for question in questions)}
        self.trusted = {key: at for key, at in self.trusted.items() if key in open_}
        self.unread = sum(question not in self.known for key in open_ - self.trusted.keys() for question in wanted[key])
        self._oldest = min((*(deep.at for deep in self.known.values()), *self.trusted.values()), default=None)

    def read_on(self, ask: Ask) -> bool:
        """Ask the next `budget` of what has no answer yet, for the objects as they were last seen. Whether there is more.

        Raises:
            AccountError: the account could not be read.
        """
        self.look(self.of, self.stamps, ask, full=False)
        return self.unread > 0
