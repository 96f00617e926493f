"""The OAuth integration for ingress. An account takes one at most and newer accounts come with it: one that is there already will do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Row, Show
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.api.security_integration import SecurityIntegration
from controller.kinds.base import Effect, EffectContext, Gatherer, Health, Observation, Sql, Step, View
from controller.kinds.properties import TableKind, Verdict, as_bool, as_upper
from controller.kinds.property import Property

BELIEVED = 24 * 3600.0  # seconds until CREATE is tried again where one was found that cannot be seen
ONE_ALREADY = frozenset({390950, 2002})
"""A second integration of this type, or the same name: it is there, which is all that was wanted."""


def _memory(key: ObjectKey) -> str:
    return f"unseen:{key}"


@dataclass(frozen=True)
class NoteUnseen(Effect):
    """After CREATE: what SHOW still does not list is there all the same, made by others. Remembered, or each cycle would try again."""

    key: ObjectKey

    def __str__(self) -> str:
        return "note whether the account has one that this role cannot see"

    def run(self, context: EffectContext) -> None:
        rows = context.session.execute(Show(SecurityIntegrationKind.plural).sql).rows
        if not any("SNOWSERVICES_INGRESS" in (as_upper(row.get("type")) or "") for row in rows):
            context.remember(_memory(self.key), time.time())


def _there_already(message: str, owner: str | None = None) -> Observation:
    return Observation(exists=True, message=message, reason="BuiltIn", markable=False, owner=owner)


class SecurityIntegrationKind(TableKind):
    name: ClassVar[str] = "SecurityIntegration"
    manifest: ClassVar[type[SecurityIntegration]] = SecurityIntegration
    what: ClassVar[str] = "SECURITY INTEGRATION"
    plural: ClassVar[str] = "SECURITY INTEGRATIONS"
    properties: ClassVar[tuple[Property, ...]] = (Property("enabled", "ENABLED", sql.flag, "enabled", as_bool),)

    def clauses(self, obj: DesiredObject, view: View) -> list[str]:
        return [sql.equals("TYPE", "OAUTH"), sql.equals("OAUTH_CLIENT", "SNOWSERVICES_INGRESS"), *super().clauses(obj, view)]

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> bool:
        """Whether CREATE found lately that there is one that this role cannot see."""
        found = gatherer.recall(_memory(obj.key))
        return isinstance(found, int | float) and 0 <= time.time() - found < BELIEVED  # a clock that was set back proves nothing

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        seen = super().observe(obj, view)
        others = [row for row in view.snapshot.rows(self.show(obj.key.name)) if "SNOWSERVICES_INGRESS" in (as_upper(row.get("type")) or "")]
        unmarked_by_hand = bool(seen.born) and view.births.get(obj.key) == seen.born
        if seen.exists and (seen.mark is not None or unmarked_by_hand):
            return seen
        if seen.exists or others:
            name = obj.key.name.sql if seen.exists else others[0].get("name")
            return _there_already(f"the account has {name}, and one is all that it takes; left as it is", seen.owner)
        if view.fact(obj.key) is True:
            return _there_already(
                "the account has one that this role cannot see (CREATE said so), and one is all that it takes; left as it is"
            )
        return seen

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        return Verdict(Health.HEALTHY, "enabled" if as_bool(row.get("enabled")) is not False else "disabled", "Present")

    def exported_name(self, row: Row) -> QualifiedName | None:
        """The one type that this kind is about."""
        return super().exported_name(row) if "SNOWSERVICES_INGRESS" in (as_upper(row.get("type")) or "") else None

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        (step,) = super().create(obj, view)
        return (Sql(str(step), tolerate=ONE_ALREADY), NoteUnseen(obj.key))

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        return self.alterations(obj, seen, view) if seen.markable else ()

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        return (Sql(sql.drop("INTEGRATION", key.name), tolerate=frozenset({2003, 2043})),)
