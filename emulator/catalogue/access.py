"""Who may do what: role hierarchy, ownership and privileges, with the errors that Snowflake gives.

Enforced: CREATE on account and schema, USAGE on what contains an object, and USAGE, OWNERSHIP or the named privilege on the
object. A role that has nothing at all on an object sees 2003 (missing and forbidden look the same); one that has some other
privilege sees 3001.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from emulator import errors
from emulator.catalogue.kinds import KINDS
from emulator.catalogue.store import CatalogueObject, Grant, Store

SYSTEM_ROLES = ("ACCOUNTADMIN", "SECURITYADMIN", "USERADMIN", "SYSADMIN", "PUBLIC")
_BUILT_IN_OWNER = "SNOWFLAKE"


class Access:
    """Decides over the catalogue; keeps no state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def inherited(self, role: str) -> frozenset[str]:
        """`role` and every role below it, PUBLIC included."""
        children: dict[str, list[str]] = {}
        for grant in self._store.role_grants():
            if grant.to_kind == "ROLE":
                children.setdefault(grant.to_name, []).append(grant.role)
        found: set[str] = set()
        todo = [role, "PUBLIC"]
        while todo:
            current = todo.pop()
            if current not in found:
                found.add(current)
                todo.extend(children.get(current, ()))
        return frozenset(found)

    def roles_of_user(self, user: str) -> list[str]:
        """Roles granted to the user directly, PUBLIC last."""
        roles = [grant.role for grant in self._store.role_grants(to=("USER", user))]
        return [*roles, "PUBLIC"] if "PUBLIC" not in roles else roles

    def may_use_role(self, user: str, role: str) -> bool:
        """Whether the user may activate the role (granted directly or through another role)."""
        return any(role in self.inherited(granted) for granted in self.roles_of_user(user))

    def privileges(self, roles: Iterable[str], obj: CatalogueObject) -> set[str]:
        """All privileges that the roles hold on the object; OWNERSHIP stands for every one of them."""
        held = self._inherited_all(roles)
        found = {g.privilege for g in self._store.grants_on(obj.kind, obj.database, obj.schema, obj.name) if g.role in held}
        if obj.owner in held:
            found.add("OWNERSHIP")
        return found

    def global_privileges(self, roles: Iterable[str]) -> set[str]:
        held = self._inherited_all(roles)
        return {g.privilege for g in self._store.grants_on("ACCOUNT", "", "", "") if g.role in held}

    def _inherited_all(self, roles: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for role in roles:
            found |= self.inherited(role)
        return found

    def has(self, roles: Iterable[str], obj: CatalogueObject, *privileges: str) -> bool:
        """Whether the roles own the object or hold one of the privileges on it."""
        found = self.privileges(roles, obj)
        return "OWNERSHIP" in found or any(privilege in found for privilege in privileges)

    def visible(self, roles: Iterable[str], obj: CatalogueObject) -> bool:
        """Whether SHOW lists the object: any privilege on it, or MANAGE GRANTS."""
        roles = tuple(roles)
        if obj.owner == _BUILT_IN_OWNER and obj.kind in ("DATABASE", "SCHEMA"):
            return bool(self.privileges(roles, obj)) or "MANAGE GRANTS" in self.global_privileges(roles)
        return bool(self.privileges(roles, obj)) or "MANAGE GRANTS" in self.global_privileges(roles)

    def require(self, roles: tuple[str, ...], obj: CatalogueObject, *privileges: str) -> None:
        """The roles must own `obj` or hold one of `privileges` on it, and USAGE on what contains it.

        `privileges` empty means OWNERSHIP. Raises 2003 when nothing is held, 3001 when something else is.
        """
        kind = KINDS[obj.kind]
        found = self.privileges(roles, obj)
        if not found or not self._may_enter(roles, obj):
            raise self._hidden(obj)
        if "OWNERSHIP" in found or any(privilege in found for privilege in privileges):
            return
        wanted = privileges[0] if privileges else "OWNERSHIP"
        raise errors.insufficient_privileges(kind.label, obj.name, roles[0], wanted)

    def _hidden(self, obj: CatalogueObject) -> errors.SqlError:
        if obj.kind in ("TABLE", "VIEW"):
            return errors.table_does_not_exist(obj.fqn)
        return errors.does_not_exist(KINDS[obj.kind].label, obj.fqn)

    def _may_enter(self, roles: tuple[str, ...], obj: CatalogueObject) -> bool:
        return all(self.privileges(roles, container) & {"USAGE", "OWNERSHIP"} for container in self._containers(obj))

    def _containers(self, obj: CatalogueObject) -> list[CatalogueObject]:
        found = []
        if obj.database:
            found.append(self._store.find("DATABASE", "", "", obj.database))
        if obj.schema:
            found.append(self._store.find("SCHEMA", obj.database, "", obj.schema))
        return [container for container in found if container is not None]

    def require_create(self, role: str, kind: str, database: str, schema: str) -> None:
        """The primary role must hold the CREATE privilege of the kind where the object will live. Raises 3001, or 2003 for
        a database or schema that is not there or not usable."""
        info = KINDS[kind]
        roles = (role,)
        if info.scope == "account":
            if info.create_privilege not in self.global_privileges(roles):
                raise errors.SqlError(
                    3001,
                    "42501",
                    f"{errors.ACCESS}Insufficient privileges to operate on account 'LOCAL'. "
                    f"Your primary role {role} must have {info.create_privilege} granted on ACCOUNT.",
                )
            return
        container = self._store.find("DATABASE", "", "", database)
        if container is None or not self.privileges(roles, container):
            raise errors.does_not_exist("Database", database)
        if info.scope == "schema":
            if not self.privileges(roles, container) & {"USAGE", "OWNERSHIP"}:
                raise errors.does_not_exist("Schema", f"{database}.{schema}")
            inner = self._store.find("SCHEMA", database, "", schema)
            if inner is None or not self.privileges(roles, inner):
                raise errors.does_not_exist("Schema", f"{database}.{schema}")
            container = inner
        if not self.has(roles, container, info.create_privilege):
            label = KINDS[container.kind].label
            raise errors.insufficient_privileges(label, container.name, role, info.create_privilege)

    def apply_future_grants(self, obj: CatalogueObject) -> None:
        """A new object gets the future grants of its schema, or else of its database."""
        inside = self._store.future_grants(obj.database, obj.schema) if obj.schema else []
        matching = [g for g in inside if g.kind == obj.kind]
        if not matching and obj.database:
            matching = [g for g in self._store.future_grants(obj.database, "") if g.kind == obj.kind]
        for grant in matching:
            if grant.privilege == "OWNERSHIP":
                obj.owner = grant.role
                self._store.update(obj)
                continue
            self._store.grant(
                Grant(
                    grant.privilege,
                    obj.kind,
                    obj.database,
                    obj.schema,
                    obj.name,
                    grant.role,
                    grant.grant_option,
                    grant.granted_by,
                    False,
                    time.time(),
                )
            )

    def may_grant(self, role: str, kind: str, obj: CatalogueObject | None, privilege: str) -> bool:
        """Whether the role may hand the privilege on: owner, MANAGE GRANTS, or the grant option."""
        roles = (role,)
        held = self.inherited(role)
        if "MANAGE GRANTS" in self.global_privileges(roles) and (kind != "ACCOUNT" or "ACCOUNTADMIN" in held):
            return True
        if obj is not None and obj.owner in held:
            return True
        key = ("", "", "") if obj is None else (obj.database, obj.schema, obj.name)
        grants = self._store.grants_on(kind, *key)
        return any(g.role in held and g.privilege == privilege and g.grant_option for g in grants)
