"""Roles that may use an object, for kinds whose manifests list them (`usage`).

Grants carry no comment, so the mark notes what was given (`usage=ANALYST,SALES:READER`). That decides what may be taken back: only what
stood in an earlier manifest. What somebody revoked by hand is seen by a deep read of SHOW GRANTS and given again; what others grant is
theirs, unless the role itself is the project's (see `grants`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from controller.account.snapshot import Missing, Show, Snapshot
from controller.api.names import Identifier
from controller.kinds.base import FieldChange, Sql, Step
from controller.kinds.mark import Mark

_GONE = frozenset({2003, 2043})


@dataclass(frozen=True)
class Grant:
    """One grant to a role: the SHOW that lists its holders, and the statements that give and take it."""

    role: Identifier
    question: Show
    give: str
    take: str

    def held(self, snapshot: Snapshot) -> bool:
        """Whether the role holds it; also true where that was not asked or may not be seen."""
        if snapshot.offline or isinstance(snapshot.answers.get(self.question, Missing("")), Missing):
            return True
        rows = snapshot.rows(self.question)
        return any(row.get("grantee_name") == self.role.text and row.get("privilege", "USAGE") == "USAGE" for row in rows)


@dataclass(frozen=True)
class Usage:
    """Who may use one object. `wanted` holds the entries as the mark notes them; `grants` says what an entry stands for; `left` once it
    is there to others, by `metadata.ignore`."""

    wanted: Sequence[str]
    grants: Callable[[str], Sequence[Grant]]
    left: bool = False

    def note(self, mark: Mark | None) -> str:
        """The attribute of the mark, given the present one: what is left to others stays as it was given."""
        return ",".join(sorted(_noted(mark) if self.left and mark is not None else set(self.wanted)))

    def questions(self) -> Iterable[Show]:
        """Deep reads that tell whether somebody took a grant away."""
        return dict.fromkeys(grant.question for entry in self.wanted for grant in self.grants(entry))

    def drift(self, mark: Mark | None, snapshot: Snapshot) -> Iterable[FieldChange]:
        before = [entry for entry in _noted(mark) if all(grant.held(snapshot) for grant in self.grants(entry)) or entry not in self.wanted]
        if mark is not None and sorted(before) != sorted(set(self.wanted)):
            yield FieldChange("usage", ", ".join(sorted(before)), ", ".join(sorted(set(self.wanted))))

    def steps(self, mark: Mark | None, snapshot: Snapshot) -> list[Step]:
        """Give what is wanted and not there, take back what an earlier manifest gave. `mark` None: nothing was given yet."""
        if self.left and mark is not None:
            return []
        before = _noted(mark)
        wanted = [(entry, grant) for entry in sorted(set(self.wanted)) for grant in self.grants(entry)]
        lacking = [grant.give for entry, grant in wanted if entry not in before or not grant.held(snapshot)]
        surplus = [grant.take for entry in before if entry not in self.wanted for grant in self.grants(entry)]
        kept = {grant.take for _, grant in wanted}
        taken = (text for text in surplus if text not in kept)
        return [*(Sql(text, apart=True) for text in lacking), *(Sql(text, tolerate=_GONE, apart=True) for text in taken)]


def _noted(mark: Mark | None) -> list[str]:
    return [entry for entry in mark.attributes.get("usage", "").split(",") if entry] if mark is not None else []
