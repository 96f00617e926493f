"""Roles with their grants.

Snowcat works as a role that should not manage grants, so a Role is as a rule only observed: what is missing is said, and `snowcat
bootstrap` prints the statements for an administrator. Where the session's role does manage grants, the role is kept like any other object;
the one that the session itself uses is never dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Missing, Read, Row, Show, Snapshot
from controller.api.base import ManagementPolicy
from controller.api.names import SYSTEM_ROLES, Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.api.role import Role
from controller.kinds.base import FieldChange, Gatherer, Health, Observation, Sql, Stalled, Step, View
from controller.kinds.comments import marked_comment
from controller.kinds.exporting import name_text
from controller.kinds.grants import (
    FUTURE,
    GATEWAY,
    SERVICE_ROLE,
    Difference,
    Elsewhere,
    Grant,
    difference,
    held_grants,
    statements_for,
    wanted_grants,
    written_grants,
)
from controller.kinds.mark import Mark, mark_of
from controller.kinds.properties import TableKind, Verdict, as_upper
from controller.kinds.references import names_of
from controller.kinds.services.roles import users_of

ADMINISTRATORS = frozenset({"ACCOUNTADMIN", "SECURITYADMIN"})
GONE = frozenset({2003, 2043})
BOOTSTRAP = "run `snowcat bootstrap` and have an administrator run what it prints"


class RoleKind(TableKind):
    name: ClassVar[str] = "Role"
    manifest: ClassVar[type[Role]] = Role
    what: ClassVar[str] = "ROLE"
    plural: ClassVar[str] = "ROLES"

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        name = obj.key.name
        return (Show(self.plural), _held_by(name), _future_of(name), _holders_of(name))

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> None:
        """Asks once a look what the session's own role holds, since that says whether it manages grants."""
        role = gatherer.project.role
        if role and role not in ADMINISTRATORS:
            gatherer.show(_held_by(QualifiedName((Identifier(role),))))

    def attributes(self, obj: DesiredObject, view: View) -> dict[str, str]:
        """`adopted=yes` for a role that was there before; `given=` what may be taken back: its holders, and of an adopted role all."""
        row = self.row(obj, view)
        mark = mark_of(row)
        adopted = _is_adopted(mark) if mark is not None else row is not None and obj.manifest.metadata.adopt
        known = {_short(what, who) for what, who in wanted_holders(obj)} | (
            {grant.short for grant in wanted_grants(obj)} if adopted else set()
        )
        return {**super().attributes(obj, view), "adopted": "yes" if adopted else "", "given": ",".join(sorted(known))}

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        seen = super().observe(obj, view)
        if not seen.exists or manages_grants(view):
            return seen
        # not ours to change: neither mark nor comment matter, and what the role holds beyond the manifest is the administrators' affair
        drift = tuple(change for change in seen.drift if change.path in {"privileges", "serviceRoles", "grantedTo"})
        return Observation(True, seen.health, seen.message, seen.reason, drift, markable=False, owner=seen.owner)

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        for path, change in _by_field(self._difference(obj, view)).items():
            before = sorted(map(str, change.extra | {replace(grant, option=True) for grant in change.options}))
            yield FieldChange(path, before or "missing", sorted(map(str, change.missing | change.options)) or "taken back")
        lacking, surplus = self._not_granted_to(obj, view), self._no_longer_granted_to(obj, view)
        if lacking or surplus:
            yield FieldChange("grantedTo", _told(surplus) or "missing", _told(lacking) or "taken back")

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        lacking = [f"the grant to {what.lower()} {who.text}" for what, who in self._not_granted_to(obj, view)]
        missing = self._difference(obj, view).missing
        texts = [str(grant) for grant in sorted(missing)] + lacking
        if not texts:
            return Verdict(Health.HEALTHY, "", "Present")
        ours = manages_grants(view) or (not lacking and all(_on_own(grant, obj, view) for grant in missing))
        way_out = "" if ours else f"; {BOOTSTRAP}"
        return Verdict(Health.DEGRADED, f"lacks {', '.join(texts)}{way_out}", "MissingGrants")

    # ---- export ----

    def exported_name(self, row: Row) -> QualifiedName | None:
        """None of Snowflake's own roles."""
        return None if str(row.get("name")) in SYSTEM_ROLES else super().exported_name(row)

    def export_details(self, name: QualifiedName, row: Row) -> Iterable[Read]:
        return (_held_by(name), _holders_of(name))

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        """Privileges on the account and on what manifests can name; grants on tables and the like are left to whoever gave them."""
        spec = super().export(name, row, snapshot) or {}
        privileges = written_grants(snapshot.rows(_held_by(name)))
        holders = [(as_upper(one.get("granted_to")), name_text(f'"{one.get("grantee_name")}"')) for one in snapshot.rows(_holders_of(name))]
        granted = {"roles": [who for what, who in holders if what == "ROLE"], "users": [who for what, who in holders if what == "USER"]}
        granted = {what: names for what, names in granted.items() if names}
        return {**spec, **({"privileges": privileges} if privileges else {}), **({"grantedTo": granted} if granted else {})}

    # ---- changes ----

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        if not view.snapshot.offline and not manages_grants(view):
            raise Stalled(f"role {obj.key.name.sql} does not exist and this role may not make it: {BOOTSTRAP}", "NeedsAdministrator")
        return role_statements(obj, view)

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        """A role that manages no grants gives those on what it owns, the project's own objects; of the others the plan shows what
        `observe` said."""
        role = obj.key.name.name
        if not manages_grants(view):
            given = frozenset(grant for grant in self._difference(obj, view).missing if _on_own(grant, obj, view))
            return [Sql(text, apart=True) for text in statements_for(role, Difference(missing=given))]
        paths = {change.path for change in seen.drift}
        steps: list[Step] = []
        for path, change in _by_field(self._difference(obj, view)).items():
            if path in paths:
                steps += [Sql(text, tolerate=_tolerated(text), apart=True) for text in statements_for(role, change)]
        if "grantedTo" in paths:
            steps += [Sql(_grant_to(role, what, who), apart=True) for what, who in self._not_granted_to(obj, view)]
            steps += [Sql(_revoke_from(role, what, who), tolerate=GONE, apart=True) for what, who in self._no_longer_granted_to(obj, view)]
        # the comment last: it forgets what was to be taken back
        return [*steps, *self.alterations(obj, replace(seen, drift=()), view)]

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        if key.name.name.text == view.snapshot.role:
            raise Stalled(f"{key} is the role that this session uses: an administrator must drop it", "OwnRole")
        (drop,) = super().delete(key, view)
        rows = (view.snapshot.row(read, key.name) for read in self.inventory_reads() if view.snapshot.asked(read))
        owner = next((str(row.get("owner") or "") for row in rows if row is not None), "")
        if owner not in ("", view.snapshot.role) and view.snapshot.role not in ADMINISTRATORS:
            raise Stalled(f"role {owner} owns {key}, as it made it: have an administrator run {drop};", "NeedsAdministrator")
        return (drop,)

    # ---- differences ----

    def _difference(self, obj: DesiredObject, view: View) -> Difference:
        """Grants to give and to take back; none where the account did not say what the role holds."""
        read, future = _held_by(obj.key.name), _future_of(obj.key.name)
        if isinstance(view.snapshot.answers.get(read), Missing):
            return Difference()
        wanted = wanted_grants(obj)
        coming = view.snapshot.rows(future) if view.snapshot.asked(future) else ()
        held = held_grants(view.snapshot.rows(read), coming)
        if isinstance(view.snapshot.answers.get(future), Missing):
            wanted = frozenset(grant for grant in wanted if not grant.target.startswith(FUTURE))
        mark = self._own_mark(obj, view)
        if mark is None or obj.key.name.name.text == view.snapshot.role:  # of the session's own role, what it works with would be taken
            return difference(wanted, held, ours=False, given=())
        given = mark.attributes.get("given", "").split(",")
        return difference(wanted, held, ours=not _is_adopted(mark), given=given, elsewhere=_elsewhere(obj.key.name.name, view.graph))

    def _own_mark(self, obj: DesiredObject, view: View) -> Mark | None:
        """The mark, where it gives this project the right to take grants back."""
        row = self.row(obj, view)
        mark = mark_of(row)
        return mark if mark is not None and mark.project == view.project.name and manages_grants(view) else None

    def _not_granted_to(self, obj: DesiredObject, view: View) -> list[tuple[str, Identifier]]:
        """Roles and users of the manifest that do not have the role."""
        holders = self._holders(obj, view)
        return [] if holders is None else [one for one in wanted_holders(obj) if one not in holders]

    def _no_longer_granted_to(self, obj: DesiredObject, view: View) -> list[tuple[str, Identifier]]:
        """Those who got the role by an earlier manifest. Others who have it are left alone."""
        mark, holders = self._own_mark(obj, view), self._holders(obj, view)
        given = mark.attributes.get("given", "").split(",") if mark is not None else []
        return sorted(one for one in holders or () if _short(*one) in given and one not in wanted_holders(obj))

    @staticmethod
    def _holders(obj: DesiredObject, view: View) -> set[tuple[str, Identifier]] | None:
        """Who has the role; None where that may not be seen."""
        read = _holders_of(obj.key.name)
        if isinstance(view.snapshot.answers.get(read), Missing):
            return None
        rows = view.snapshot.rows(read)
        return {(str(row.get("granted_to", "")).upper(), Identifier(str(row.get("grantee_name", "")).strip('"'))) for row in rows}


def role_statements(obj: DesiredObject, view: View) -> list[Step]:
    """Everything that makes a role from nothing, safe to run again: for `create`, and for the administrator SQL of `snowcat bootstrap`.

    Privileges on objects of this project are left out: they do not exist yet, and who creates them owns them.
    """
    name, role = obj.key.name, obj.key.name.name
    known = ",".join(sorted(_short(what, who) for what, who in wanted_holders(obj)))
    comment = sql.equals("COMMENT", sql.text(marked_comment(obj, view, given=known)))
    grants = frozenset(grant for grant in wanted_grants(obj) if not _on_own(grant, obj, view))
    texts = [sql.create("ROLE", name, [comment], if_not_exists=True), *statements_for(role, Difference(missing=grants))]
    gives = [*texts[1:], *(_grant_to(role, what, who) for what, who in wanted_holders(obj))]
    return [Sql(texts[0]), *(Sql(text, apart=True) for text in gives)]


def _on_own(grant: Grant, obj: DesiredObject, view: View) -> bool:
    """Whether it is a grant on an object of this project, whose owner may give it."""
    own = (key.name.sql for key in view.graph.objects if key != obj.key)
    return any(grant.target.endswith(f" {name}") or f" {name}!" in grant.target for name in own)


def manages_grants(view: View) -> bool:
    """Whether the session's role may give privileges away: an administrator's, or one with MANAGE GRANTS."""
    role = view.snapshot.role
    if role in ADMINISTRATORS:
        return True
    read = _held_by(QualifiedName((Identifier(role),))) if role else None
    rows = view.snapshot.rows(read) if read is not None and read in view.snapshot.answers else ()
    return any(str(row.get("privilege", "")).upper() == "MANAGE GRANTS" for row in rows)


def wanted_holders(obj: DesiredObject) -> list[tuple[str, Identifier]]:
    """(`ROLE` or `USER`, name) of everyone who should have the role."""
    granted = obj.manifest.spec.granted_to
    keys = [obj.references.get(f"grantedTo.roles[{index}]") for index in range(len(granted.roles))]
    roles = [key.name.name if key is not None else Identifier.parse(text) for key, text in zip(keys, granted.roles, strict=True)]
    return [*(("ROLE", role) for role in roles), *(("USER", Identifier.parse(user)) for user in granted.users)]


def _grant_to(role: Identifier, what: str, who: Identifier) -> str:
    return sql.grant_role(role, to_role=who) if what == "ROLE" else sql.grant_role(role, to_user=who)


def _revoke_from(role: Identifier, what: str, who: Identifier) -> str:
    return sql.revoke_role(role, from_role=who) if what == "ROLE" else sql.revoke_role(role, from_user=who)


def _tolerated(text: str) -> frozenset[int]:
    """What a grant was on may be gone by now."""
    return GONE if text.startswith("REVOKE") else frozenset()


def _is_adopted(mark: Mark) -> bool:
    return mark.attributes.get("adopted") == "yes"


def _by_field(change: Difference) -> dict[str, Difference]:
    """What differs, by the field of the manifest that says it."""

    def part(grants: Iterable[Grant], field: str) -> frozenset[Grant]:
        return frozenset(grant for grant in grants if (grant.on == SERVICE_ROLE) == (field == "serviceRoles"))

    parts = {
        field: Difference(part(change.missing, field), part(change.extra, field), part(change.options, field))
        for field in ("privileges", "serviceRoles")
    }
    return {field: one for field, one in parts.items() if one}


def _elsewhere(role: Identifier, graph: Graph) -> Elsewhere:
    """What the manifests of the project's services and gateways give to a role. They have no say where they leave their usage to others."""
    given: set[Grant] = set()
    over: set[str] = set()
    for obj in graph:
        metadata = obj.manifest.metadata
        says = "usage" not in metadata.ignore and metadata.management_policy is not ManagementPolicy.OBSERVE
        if obj.key.kind == "Service":
            target = f"{SERVICE_ROLE} {obj.key.name.sql}"
            roles = [service_role for holder, service_role in users_of(obj) if holder == role]
            given |= {Grant(SERVICE_ROLE, f"{target}!{service_role.sql}", "USAGE") for service_role in roles}
            over |= {target} if says else set()
        elif obj.key.kind == "Gateway":
            target = sql.on_object(GATEWAY, obj.key.name)
            given |= {Grant(GATEWAY, target, "USAGE") for name in names_of(obj, "usage") if name.name == role}
            over |= {target} if says else set()
    return Elsewhere(frozenset(given), frozenset(over))


def _short(what: str, who: Identifier) -> str:
    """Six hex digits that stand for a holder in the mark."""
    return hashlib.sha256(f"{what} {who.text}".encode()).hexdigest()[:6]


def _told(holders: Iterable[tuple[str, Identifier]]) -> list[str]:
    return [f"{what} {who.text}" for what, who in holders]


def _future_of(name: QualifiedName) -> Show:
    return Show("FUTURE GRANTS", f"TO ROLE {name.sql}")


def _held_by(name: QualifiedName) -> Show:
    return Show("GRANTS", f"TO ROLE {name.sql}")


def _holders_of(name: QualifiedName) -> Show:
    return Show("GRANTS", f"OF ROLE {name.sql}")
