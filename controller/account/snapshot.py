"""What one look at the account showed: the rows of each SHOW and DESCRIBE, by the question asked.

A snapshot is data. It is filled by `controller.account.reader` and read by `controller.kinds`; planning against an empty one is
`snowcat plan --offline`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.api.names import QualifiedName

Row = Mapping[str, Any]
"""One row of SHOW or DESCRIBE: lower-case column name → value. Columns come and go: use `.get`, never a position."""


@dataclass(frozen=True, order=True)
class Show:
    """One SHOW statement: `what` as in `COMPUTE POOLS`, and where (`ACCOUNT`, `DATABASE D`, `SCHEMA D.S`, `IMAGE REPOSITORY D.S.R`, …).

    Every Show names its scope: without one Snowflake falls back to the session's database and may collapse equal names.
    An empty `scope` is for statements that take none (`SHOW COMPUTE POOLS`, `SHOW WAREHOUSES`).
    """

    what: str
    scope: str = ""

    @property
    def sql(self) -> str:
        if not self.scope:
            return f"SHOW {self.what}"
        join = "" if self.what in ("GRANTS", "FUTURE GRANTS") else "IN "  # SHOW GRANTS TO ROLE r: the scope carries its own preposition
        return f"SHOW {self.what} {join}{self.scope}"


@dataclass(frozen=True, order=True)
class Describe:
    """One DESCRIBE statement. `what` as in `SERVICE`; `name` as SQL text (a function carries its argument types)."""

    what: str
    name: str

    @property
    def sql(self) -> str:
        return f"DESCRIBE {self.what} {self.name}"


Read = Show | Describe


@dataclass(frozen=True)
class Missing:
    """The account answered 2003 or 2043: the object or its scope is missing, or this role may not see it."""

    message: str


@dataclass(frozen=True)
class Unanswered(Missing):
    """Nobody answered in time: there are no rows, and nothing is known, not even that they may not be seen."""


@dataclass(frozen=True)
class Snapshot:
    """Answers by question. A question that was not asked is absent, which is not the same as an empty answer.

    `offline` is true for the empty snapshot of `plan --offline`: every question counts as answered with no rows.
    """

    answers: Mapping[Read, tuple[Row, ...] | Missing] = field(default_factory=dict)
    role: str = ""  # the session's current role
    offline: bool = False
    _by_name: dict[Read, dict[Any, list[Row]]] = field(default_factory=dict, repr=False, compare=False)

    def asked(self, read: Read) -> bool:
        return self.offline or read in self.answers

    def rows(self, read: Read) -> tuple[Row, ...]:
        """The rows; none when the scope is missing.

        Raises:
            KeyError: the question was not asked (a kind forgot it in `reads`).
        """
        if self.offline:
            return ()
        answer = self.answers[read]
        return () if isinstance(answer, Missing) else answer

    def row(self, read: Show, name: QualifiedName) -> Row | None:
        """The row of one object, matched by exact stored name (and by database and schema where the row has them)."""
        if read not in self._by_name:
            index: dict[Any, list[Row]] = {}
            for row in self.rows(read):
                index.setdefault(row.get("name"), []).append(row)
            self._by_name[read] = index
        for row in self._by_name[read].get(name.name.text, ()):
            if all(
                row.get(column) in (None, "", part.text)
                for column, part in zip(("schema_name", "database_name"), reversed(name.parts[:-1]), strict=False)
            ):
                return row
        return None
