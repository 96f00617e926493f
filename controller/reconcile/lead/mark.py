"""What stands in a lease: its name says the term, its comment who holds it and in which sessions.

    SNOWCAT_LAB_LEASE_7
    [snowcat-lease project=lab term=7 holder=build-3/4711/9f2c process=1f2e3d4c5b6a:88123 mode=run since=1790000000
     sessions=12,13 before= renewals=41 state=held]                                       (one line)

It is no ownership mark, so that no kind takes a lease for an object of a project. The anchor beside it, SNOWCAT_LAB_LEASE_ROLE, says
`[snowcat-lease-role project=lab]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from controller.api.names import Identifier, QualifiedName
from controller.kinds.mark import LEASE
from controller.reconcile.lead.process import Holder

_MARK = re.compile(rf"\s*{re.escape(LEASE)} (?P<pairs>[^\]]*)\]\s*")
_HOLDER = re.compile(r"(?P<host>[^/\s]+)/(?P<pid>\d+)/(?P<nonce>[^/\s]+)")
_IDS = re.compile(r"\d+")


class Mode(StrEnum):
    """What the holder does: a daemon gives way to a command, a command to nobody."""

    RUN = "run"
    APPLY = "apply"


class LeaseState(StrEnum):
    HELD = "held"
    RELEASED = "released"


@dataclass(frozen=True)
class LeaseMark:
    """The comment of a lease. `sessions` may send statements of this term; `before` are those of earlier terms that are not ended yet.

    `since` is when the term began, in seconds since 1970 by the holder's clock: for people only.
    """

    project: str
    term: int
    holder: Holder
    mode: Mode
    since: int
    sessions: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    renewals: int = 0
    state: LeaseState = LeaseState.HELD

    @property
    def words(self) -> str:
        """Who, for people."""
        began = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"'snowcat {self.mode}' on {self.holder.words}, since {began}"

    def __str__(self) -> str:
        pairs = {
            "project": self.project,
            "term": self.term,
            "holder": self.holder,
            "process": f"{self.holder.machine}:{self.holder.started}",
            "mode": self.mode,
            "since": self.since,
            "sessions": _joined(self.sessions),
            "before": _joined(self.before),
            "renewals": self.renewals,
            "state": self.state,
        }
        return f"{LEASE} {' '.join(f'{key}={value}' for key, value in pairs.items())}]"


@dataclass(frozen=True)
class Found:
    """One lease as SHOW tells. `mark` is None where the comment is not one that Snowcat writes."""

    term: int
    mark: LeaseMark | None
    comment: str = ""

    @property
    def taken(self) -> bool:
        """Whether somebody has begun a new term and not written it down yet: the comment is still that of an earlier holder."""
        return self.mark is not None and self.mark.term != self.term


def parse(comment: str | None) -> LeaseMark | None:
    """The mark in a comment; None when it is not whole."""
    match = _MARK.fullmatch(comment or "")
    if not match:
        return None
    pairs = dict(pair.partition("=")[::2] for pair in match["pairs"].split())
    holder = _HOLDER.fullmatch(pairs.get("holder", ""))
    try:
        if holder is None:
            return None
        machine, _, started = pairs["process"].partition(":")
        return LeaseMark(
            project=pairs["project"],
            term=int(pairs["term"]),
            holder=Holder(holder["host"], int(holder["pid"]), holder["nonce"], machine, started),
            mode=Mode(pairs["mode"]),
            since=int(pairs["since"]),
            sessions=frozenset(_IDS.findall(pairs["sessions"])),
            before=frozenset(_IDS.findall(pairs["before"])),
            renewals=int(pairs["renewals"]),
            state=LeaseState(pairs["state"]),
        )
    except (KeyError, ValueError):
        return None


def lease_name(home: QualifiedName, project: str, term: int) -> QualifiedName:
    """The stage of a term."""
    return home.child(Identifier(f"{_prefix(project)}{term}"))


def anchor_name(home: QualifiedName, project: str) -> QualifiedName:
    """The stage whose name never changes: the role that may see it is the one whose leases count."""
    return home.child(Identifier(f"{_prefix(project)}ROLE"))


def like(project: str) -> str:
    """A pattern for SHOW that all terms match; others may too ('_' is any character), which `term_of` tells apart."""
    return f"{_prefix(project)}%"


def term_of(project: str, name: str) -> int | None:
    """The term in a stage's name; None for any other stage."""
    rest = name.removeprefix(_prefix(project))
    return int(rest) if rest != name and re.fullmatch(r"[1-9][0-9]{0,17}", rest) else None


def _prefix(project: str) -> str:
    return f"SNOWCAT_{project.upper()}_LEASE_"


def _joined(ids: Iterable[str]) -> str:
    return ",".join(sorted(ids, key=lambda one: (len(one), one)))
