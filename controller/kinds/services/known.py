"""What one look knows of a service: three witnesses, and which of them is believed.

The mark is enough where both hashes in it still hold: nobody has touched the specification. Else DESCRIBE decides, where it was asked in
this look and this role may see the text. Where neither tells, there is only our own hash of what we last wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from controller.account.snapshot import Describe, Missing, Row, Unanswered
from controller.api.names import QualifiedName
from controller.kinds.base import FieldChange, View
from controller.kinds.instance_families import Family, family
from controller.kinds.mark import Mark, split_comment
from controller.kinds.services import comparison, images, specification, volumes
from controller.kinds.services.note import parsed, short_digest
from controller.kinds.services.suspension import pool_row


@dataclass(frozen=True)
class Known:
    """One service in one look."""

    name: QualifiedName
    row: Row
    wanted: comparison.Document
    """The manifest's specification, with the images' current tags."""
    view: View = field(repr=False)

    @cached_property
    def mark(self) -> Mark | None:
        return split_comment(self.row.get("comment"))[1]

    @cached_property
    def digest(self) -> str:
        """Stands for the wanted specification, in the mark's `spec=`."""
        return specification.digest(self.wanted)

    @cached_property
    def seen(self) -> comparison.Document | None:
        """What DESCRIBE shows; None when it was not asked or not answered in this look, or this role may not see the text."""
        read, snapshot = describe(self.name), self.view.snapshot
        if snapshot.offline or read not in snapshot.answers or isinstance(snapshot.answers[read], Missing):
            return None
        return parsed(next((row.get("spec") for row in snapshot.rows(read)), None))

    @property
    def hidden(self) -> bool:
        """DESCRIBE was answered, but not to this role: what was noted is all there is to know."""
        answer = self.view.snapshot.answers.get(describe(self.name))
        return answer is not None and not isinstance(answer, Unanswered) and self.seen is None

    @property
    def in_step(self) -> bool:
        """Both the specification that we wrote and what the account made of it are still as noted."""
        shown = short_digest(self.row)
        return self.noted("spec") == self.digest and bool(shown) and self.noted("digest") == shown

    def noted(self, attribute: str) -> str:
        return self.mark.attributes.get(attribute, "") if self.mark is not None else ""

    # ---- the specification ----

    @cached_property
    def drift(self) -> tuple[FieldChange, ...]:
        """Where the specification in the account is not the wanted one."""
        if self.in_step:
            return ()
        if self.seen is not None:
            found = comparison.differences(self.wanted, self.seen, self._node, self.name.parent)
            return (*volumes.fixed_changes(self.wanted, self.seen), *found) if found else ()
        before = self.noted("spec")
        return (FieldChange("specification", before, self.digest),) if before and before != self.digest else ()

    @property
    def _node(self) -> Family | None:
        """What a node of the service's pool has."""
        pool = pool_row(self.row, self.view)
        return family(str(pool.get("instance_family"))) if pool is not None else None

    # ---- the images behind its tags ----

    @cached_property
    def tagged(self) -> dict[str, str]:
        """Container → digest that its tag has now."""
        return images.current_digests(self.wanted, self.view.snapshot)

    @property
    def moved(self) -> tuple[FieldChange, ...]:
        """Containers whose tag has other content by now than what they run."""
        runs = comparison.digests_in(self.seen) if self.seen is not None else {}
        if not runs and self.hidden:
            runs = images.read_note(self.noted("images"))
        return tuple(FieldChange(f"imageDigest.{name}", old, new) for name, old, new in images.moved(runs, self.tagged))

    @property
    def in_doubt(self) -> bool:
        """DESCRIBE has to decide: the mark holds no longer, or SHOW IMAGES tells of others than it does."""
        noted = images.read_note(self.noted("images"))
        return not self.in_step or any(images.moved(noted, self.tagged)) or bool(self.tagged.keys() - noted.keys())

    # ---- what the mark should say ----

    def notes(self) -> Mapping[str, str]:
        """`digest=` and `images=`: as DESCRIBE confirms them in this look, else as they stand."""
        confirmed = self.in_step or (self.seen is not None and not self.drift)
        running = comparison.digests_in(self.seen) if self.seen is not None else {}
        return {
            "digest": short_digest(self.row) if confirmed else self.noted("digest"),
            "images": images.noted(running) if running else self.noted("images"),
        }


def describe(service: QualifiedName) -> Describe:
    return Describe("SERVICE", service.sql)
