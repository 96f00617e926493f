"""What is noted in a service's mark right after its specification was sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controller.account import statements as sql
from controller.account.snapshot import Row
from controller.api.names import QualifiedName
from controller.kinds.base import Effect, EffectContext, Waiting
from controller.kinds.mark import Mark, join_comment, split_comment
from controller.kinds.service_health import find, services_in
from controller.kinds.services import comparison, images

_DIGITS = 12


@dataclass(frozen=True)
class NoteDigest(Effect):
    """Write into the mark what the account made of the specification: its spec_digest, and the digests of the images.

    `whole` is false where what others wrote was kept: then the digest stands for no manifest, and DESCRIBE decides each time. `found` are
    the images that are there now, as the mark notes them: one that was missing and is pushed at last is not waited for any longer.
    """

    service: QualifiedName
    whole: bool = True
    found: str = ""

    def __str__(self) -> str:
        return f"note the specification's digest in the comment of {self.service}"

    @property
    def rests_on(self) -> str:
        return self.found

    def run(self, context: EffectContext) -> None:
        row = find(context.session.execute(services_in(self.service).sql).rows, self.service)
        text, mark = split_comment(row.get("comment")) if row is not None else ("", None)
        if row is None or mark is None:
            raise Waiting(f"service {self.service} is not shown yet")
        described: Row | None = next(iter(context.session.execute(sql.describe("SERVICE", self.service)).rows), None)
        document = parsed(described.get("spec")) if described is not None else None
        attributes = {**mark.attributes, "digest": short_digest(row) if self.whole else ""}
        if document is not None:
            attributes["images"] = images.noted(comparison.digests_in(document))
        if attributes == mark.attributes:
            return
        comment = join_comment(text, Mark(mark.project, mark.kind, mark.name, {key: value for key, value in attributes.items() if value}))
        context.session.execute(sql.alter_set("SERVICE", self.service, [sql.equals("COMMENT", sql.text(comment))]))


def short_digest(row: Row) -> str:
    """The start of the spec_digest that SHOW SERVICES has."""
    return str(row.get("spec_digest") or "")[:_DIGITS]


def parsed(text: Any) -> comparison.Document | None:
    """The document of DESCRIBE's text; None where there is none that can be read."""
    try:
        return comparison.parse(str(text)) if text else None
    except ValueError:
        return None
