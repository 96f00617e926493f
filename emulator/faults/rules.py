"""What happens to whom: rules over statements and requests, decided the same way for the same seed and the same statements.

A coin of a rule with `probability` depends on the seed, the rule, the text that arrived and how often that text arrived before, but
not on what other sessions send meanwhile: the same statements meet the same faults in whatever order threads send them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

FAULTS = ("latency", "drop", "http", "error", "hang", "hold", "expire", "exit", "stale", "capacity")
LONGEST_STALE = 600.0  # seconds that the past of the catalogue is kept
Side = Literal["before", "after"]
Seconds = Annotated[float, Field(ge=0)]


class RuleProblem(ValueError):
    """A rule that cannot be understood; the message says which, where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Span(_Part):
    """A random number of seconds, drawn by the seed."""

    min: float = Field(ge=0)
    max: float = Field(ge=0)


class SqlFault(_Part):
    """What the statement is answered with instead of being run."""

    errno: int
    sqlstate: str = "XX000"
    message: str = "an error that a rule of the faults endpoint asked for"


class Rule(_Part):
    """One rule: whom it matches, which of the matches it meets, and one fault. Patterns are searched without regard to case."""

    name: str = ""
    match: str | None = None  # statement text
    client: str | None = None  # QUERY_TAG of the session
    path: str | None = None  # HTTP path
    nth: tuple[int, ...] | None = None  # which matches, counted from 1
    every: int | None = Field(None, ge=1)  # each k-th match
    probability: float | None = Field(None, ge=0, le=1)
    times: int | None = Field(None, ge=1)  # at most so often

    latency: Seconds | Span | None = None
    drop: Side | None = None
    attempts: int = Field(1, ge=1)  # answers of one statement that are lost by drop: after
    http: int | None = Field(None, ge=400, le=599)
    retry_after: float | None = Field(None, alias="retryAfter", ge=0)
    error: SqlFault | None = None
    hang: Literal[True] | None = None
    hold: Side | None = None
    expire: Literal["session", "master"] | None = None
    exit: Side | None = None
    stale: float | None = Field(None, gt=0, le=LONGEST_STALE)
    capacity: str | None = None

    _patterns: dict[str, re.Pattern[str]] = PrivateAttr(default_factory=dict)

    @field_validator("match", "client", "path", "capacity")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _has_one_fault(self) -> Rule:
        given = [name for name in FAULTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a rule has exactly one fault of {', '.join(FAULTS)}; this one has {', '.join(given) or 'none'}")
        if self.capacity is not None and self.model_fields_set - {"name", "capacity"}:
            raise ValueError("capacity is about pools, not statements, and lasts as long as the rule: it takes nothing but a name")
        if self.stale is not None and self.path is not None:
            raise ValueError("stale is about SHOW statements: it takes match and client, not path")
        return self

    @property
    def fault(self) -> str:
        """Its name."""
        return next(name for name in FAULTS if getattr(self, name) is not None)

    def finds(self, part: Literal["match", "client", "path", "capacity"], text: str) -> bool:
        """Whether that pattern of the rule occurs in the text; a pattern that is not given always does."""
        pattern = getattr(self, part)
        if pattern is None:
            return True
        if part not in self._patterns:
            self._patterns[part] = re.compile(pattern, re.IGNORECASE | re.DOTALL)
        return self._patterns[part].search(text) is not None


@dataclass(frozen=True)
class Arrival:
    """A request that came in. `text` is the statement; None for requests that carry none (login, token, result …)."""

    path: str
    client: str
    text: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What to do with it: seconds to wait first, then the fault of `rule`, if any."""

    latency: float = 0.0
    rule: Rule | None = None
    name: str = ""

    @property
    def quiet(self) -> bool:
        return self.rule is None and not self.latency


@dataclass
class _Standing:
    """A rule and what it has met so far."""

    rule: Rule
    name: str
    matched: int = 0
    fired: int = 0
    seen: Counter[str] = field(default_factory=Counter)


class RuleBook:
    """The rules in force. Latencies of all rules that fire add up; of the other faults the first in order is taken."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._standing: list[_Standing] = []

    def add(self, documents: Sequence[Any]) -> None:
        """Adds rules as JSON gave them. Raises RuleProblem, and then adds none."""
        start = len(self._standing)
        made = []
        for number, document in enumerate(documents, start):
            rule = read_rule(document, number)
            made.append(_Standing(rule, rule.name or f"rule {number + 1}"))
        self._standing += made

    def decide(self, arrival: Arrival) -> Verdict:
        """What happens to the arrival; counts it."""
        latency, chosen, name = 0.0, None, ""
        for standing in self._standing:
            if not _applies(standing.rule, arrival):
                continue
            standing.matched += 1
            subject = arrival.text if arrival.text is not None else arrival.path
            if not self._chosen(standing, subject):
                continue
            if standing.rule.latency is not None:
                latency += self._seconds(standing, standing.rule.latency)
            elif chosen is None:
                chosen = standing.rule
            else:
                continue
            name = ", ".join(part for part in (name, standing.name) if part)
            standing.fired += 1
        return Verdict(latency, chosen, name)

    def starves(self, pool: str) -> bool:
        """Whether nodes of the pool do not come; counts each pool once."""
        found = [standing for standing in self._standing if standing.rule.capacity is not None and standing.rule.finds("capacity", pool)]
        for standing in found:
            standing.seen[pool] = 1
            standing.matched = standing.fired = len(standing.seen)
        return bool(found)

    def _chosen(self, standing: _Standing, subject: str) -> bool:
        rule = standing.rule
        if rule.probability is not None:
            standing.seen[subject] += 1
            if self._coin(standing, f"{subject}|{standing.seen[subject]}") >= rule.probability:
                return False
        if rule.times is not None and standing.fired >= rule.times:
            return False
        if rule.nth is not None:
            return standing.matched in rule.nth
        return rule.every is None or standing.matched % rule.every == 0

    def _seconds(self, standing: _Standing, latency: float | Span) -> float:
        if not isinstance(latency, Span):
            return latency
        return latency.min + (latency.max - latency.min) * self._coin(standing, f"latency|{standing.matched}")

    def _coin(self, standing: _Standing, subject: str) -> float:
        """A number in [0, 1) that the seed, the rule and the subject decide."""
        digest = hashlib.blake2b(f"{self.seed}|{standing.name}|{subject}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def as_json(self) -> list[dict[str, Any]]:
        """The rules as they were given, with name, `matched` and `fired`."""
        return [
            {
                **standing.rule.model_dump(exclude_unset=True, by_alias=True),
                "name": standing.name,
                "matched": standing.matched,
                "fired": standing.fired,
            }
            for standing in self._standing
        ]


def read_rule(document: Any, number: int) -> Rule:
    """Raises RuleProblem."""
    if not isinstance(document, Mapping):
        raise RuleProblem(f"rule {number + 1} is not an object")
    try:
        return Rule.model_validate(dict(document))
    except ValidationError as error:
        found = error.errors()
        first = next((detail for detail in found if detail["type"] == "extra_forbidden"), found[0])  # a slip of the pen explains the rest
        where = ".".join(str(part) for part in first["loc"])
        shown = document.get("name") or f"rule {number + 1}"
        what = _unknown(first["loc"]) if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise RuleProblem(f"{shown}: {where + ': ' if where else ''}{what}") from None


def _unknown(path: tuple[int | str, ...]) -> str:
    """What to say of a key that a rule, or a part of one, does not have."""
    part = next((part for part in (Span, SqlFault) if part.__name__ in path or (part is SqlFault and path[0] == "error")), Rule)
    known = [info.alias or name for name, info in part.model_fields.items()]
    near = get_close_matches(str(path[-1]), known, n=1)
    return f"unknown key {path[-1]!r}; " + (f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}")


def _applies(rule: Rule, arrival: Arrival) -> bool:
    if rule.capacity is not None or not (rule.finds("client", arrival.client) and rule.finds("path", arrival.path)):
        return False
    if arrival.text is None:  # only a rule that names a path is about more than statements
        return rule.path is not None and rule.match is None
    if rule.stale is not None and not arrival.text.lstrip().upper().startswith("SHOW"):
        return False
    return rule.finds("match", arrival.text)
