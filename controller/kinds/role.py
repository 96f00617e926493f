"""Roles with their grants.

Snowcat works as a role that should not manage grants, so a Role is as a rule only observed: what is missing is said, and `snowcat
bootstrap` prints the statements for an administrator. Where the session's role does manage grants, the role is kept like any other object;
the one that the session itself uses is never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Missing, Read, Row, Show, Snapshot
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.api.role import Role
from controller.kinds.base import FieldChange, Health, Observation, Sql, Stalled, Step, View
from controller.kinds.comments import marked_comment
from controller.kinds.exporting import name_text
from controller.kinds.grants import Grant, held_grants, statements_for, surplus, wanted_grants, written_grants
from controller.kinds.mark import split_comment
from controller.kinds.properties import TableKind, Verdict, as_upper

ADMINISTRATORS = frozenset({"ACCOUNTADMIN", "SECURITYADMIN"})
SYSTEM = ADMINISTRATORS | {"ORGADMIN", "GLOBALORGADMIN", "SYSADMIN", "USERADMIN", "PUBLIC"}
BOOTSTRAP = "run `snowcat bootstrap` and have an administrator run what it prints"


class RoleKind(TableKind):
    name: ClassVar[str] = "Role"
    manifest: ClassVar[type[Role]] = Role
    what: ClassVar[str] = "ROLE"
    plural: ClassVar[str] = "ROLES"

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (Show(self.plural), _held_by(obj.key.name), _holders_of(obj.key.name))

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        seen = super().observe(obj, view)
        if not seen.exists or manages_grants(view):
            return seen
        # not ours to change: neither mark nor comment matter, and what the role holds beyond the manifest is the administrators' affair
        drift = tuple(change for change in seen.drift if change.path in {"privileges", "grantedTo"})
        return Observation(True, seen.health, seen.message, seen.reason, drift, markable=False, owner=seen.owner)

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        missing, extra = self._difference(obj, view)
        if missing or extra:
            yield FieldChange("privileges", sorted(map(str, extra)) or "missing", sorted(map(str, missing)) or "taken back")
        if lacking := self._not_granted_to(obj, view):
            yield FieldChange("grantedTo", "missing", [f"{what} {who.text}" for what, who in lacking])

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        missing, _ = self._difference(obj, view)
        lacking = [f"the grant to {what.lower()} {who.text}" for what, who in self._not_granted_to(obj, view)]
        texts = [str(grant) for grant in sorted(missing)] + lacking
        if not texts:
            return Verdict(Health.HEALTHY, "", "Present")
        way_out = "" if manages_grants(view) else f"; {BOOTSTRAP}"
        return Verdict(Health.DEGRADED, f"lacks {', '.join(texts)}{way_out}", "MissingGrants")

    # ---- export ----

    def exported_name(self, row: Row) -> QualifiedName | None:
        """None of Snowflake's own roles."""
        return None if str(row.get("name")) in SYSTEM else super().exported_name(row)

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
        """Nothing, where this role may not: the plan then shows the message that `observe` gave."""
        if not manages_grants(view):
            return ()
        missing, extra = self._difference(obj, view)
        role = obj.key.name.name
        steps: list[Step] = [
            Sql(sql.alter_set(self.what, obj.key.name, [sql.equals("COMMENT", sql.text(comment))]))
            for comment in self.due_comment(obj, view)
        ]
        paths = {change.path for change in seen.drift}
        if "privileges" in paths:
            steps += [Sql(text) for text in statements_for(role, missing, extra)]
        if "grantedTo" in paths:
            steps += [Sql(_grant_to(role, what, who)) for what, who in self._not_granted_to(obj, view)]
        return steps

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        if key.name.name.text == view.snapshot.role:
            raise Stalled(f"{key} is the role that this session uses: an administrator must drop it", "OwnRole")
        if not view.snapshot.offline and not manages_grants(view):
            raise Stalled(f"this role may not drop {key}: an administrator must", "NeedsAdministrator")
        return super().delete(key, view)

    # ---- differences ----

    def _difference(self, obj: DesiredObject, view: View) -> tuple[frozenset[Grant], frozenset[Grant]]:
        """Grants to give and to take back; none where the account did not say what the role holds."""
        read = _held_by(obj.key.name)
        if isinstance(view.snapshot.answers.get(read), Missing):
            return frozenset(), frozenset()
        wanted, held = wanted_grants(obj), held_grants(view.snapshot.rows(read))
        row = self.row(obj, view)
        mark = split_comment(row.get("comment"))[1] if row is not None else None
        ours = mark is not None and mark.project == view.project.name and manages_grants(view)
        return wanted - held, surplus(held, wanted, ours=ours)

    def _not_granted_to(self, obj: DesiredObject, view: View) -> list[tuple[str, Identifier]]:
        """Roles and users of the manifest that do not have the role. Others who have it are left alone."""
        read = _holders_of(obj.key.name)
        if isinstance(view.snapshot.answers.get(read), Missing):
            return []
        rows = view.snapshot.rows(read)
        holders = {(str(row.get("granted_to", "")).upper(), str(row.get("grantee_name", "")).strip('"')) for row in rows}
        return [(what, who) for what, who in wanted_holders(obj) if (what, who.text) not in holders]


def role_statements(obj: DesiredObject, view: View) -> list[Step]:
    """Everything that makes a role from nothing, safe to run again: for `create`, and for the administrator SQL of `snowcat bootstrap`.

    Privileges on objects of this project are left out: they do not exist yet, and who creates them owns them.
    """
    name, role = obj.key.name, obj.key.name.name
    comment = sql.equals("COMMENT", sql.text(marked_comment(obj, view)))
    own = {key.name.sql for key in view.graph.objects if key != obj.key}
    grants = [grant for grant in wanted_grants(obj) if grant.name not in own]
    texts = [sql.create("ROLE", name, [comment], if_not_exists=True), *statements_for(role, grants, ())]
    return [*map(Sql, texts), *(Sql(_grant_to(role, what, who)) for what, who in wanted_holders(obj))]


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


def _held_by(name: QualifiedName) -> Show:
    return Show("GRANTS", f"TO ROLE {name.sql}")


def _holders_of(name: QualifiedName) -> Show:
    return Show("GRANTS", f"OF ROLE {name.sql}")
