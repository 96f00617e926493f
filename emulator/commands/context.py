"""What a command works with: the account, the session, and the steps that every kind repeats."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulator import errors
from emulator.catalogue.access import Access
from emulator.catalogue.kinds import KINDS
from emulator.catalogue.store import CatalogueObject, Store
from emulator.commands.registry import Modifiers
from emulator.results import ResultSet
from emulator.session import Session
from emulator.sql.names import QualifiedName, is_plain

if TYPE_CHECKING:
    from emulator.account import Account


@dataclass
class CommandContext:
    """One statement being run. `cancelled` is set by an abort: whoever waits must look at it (`check_cancelled`)."""

    account: Account
    session: Session
    query_id: str = ""
    text: str = ""
    modifiers: Modifiers = field(default_factory=Modifiers)
    cancelled: threading.Event = field(default_factory=threading.Event)
    on_cancel: list[Any] = field(default_factory=list)
    used_warehouse: bool = False
    result_id: str = ""
    past: Store | None = None  # what a late listing reads instead of today's catalogue

    @property
    def store(self) -> Store:
        return self.past or self.account.store

    @property
    def access(self) -> Access:
        return Access(self.past) if self.past is not None else self.account.access

    @property
    def roles(self) -> tuple[str, ...]:
        """The primary role, and with secondary roles ALL every other role of the user."""
        session = self.session
        if not session.secondary_roles:
            return (session.role,)
        others = [role for role in self.access.roles_of_user(session.user) if role != session.role]
        return (session.role, *others)

    def check_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise errors.canceled()

    # -- names

    def resolve(self, kind: str, name: QualifiedName) -> tuple[str, str, str]:
        """(database, schema, name) in stored form, '' where the kind has none. Raises 90105/90106 without a current one."""
        scope = KINDS[kind].scope
        parts = name.parts
        if scope == "account":
            if len(parts) != 1:
                raise errors.does_not_exist(KINDS[kind].label, str(name))
            return "", "", parts[0]
        if scope == "database":
            if len(parts) > 2:
                raise errors.does_not_exist(KINDS[kind].label, str(name))
            return (parts[0] if len(parts) == 2 else self.current_database()), "", parts[-1]
        if len(parts) == 3:
            return parts
        database = self.current_database()
        return database, (parts[0] if len(parts) == 2 else self.current_schema()), parts[-1]

    def current_database(self) -> str:
        if self.session.database is None:
            raise errors.no_database()
        return self.session.database

    def current_schema(self) -> str:
        if self.session.schema is None:
            raise errors.no_schema()
        return self.session.schema

    # -- finding

    def find(self, kind: str, name: QualifiedName) -> CatalogueObject | None:
        """The object if it exists, whatever the role may do with it."""
        return self.store.find(kind, *self.resolve(kind, name))

    def get(self, kind: str, name: QualifiedName, *privileges: str, anything: bool = False) -> CatalogueObject:
        """The object, checked: its owner or one of `privileges` (none given: owner only; `anything`: any privilege will do).

        Raises 2003 if it is missing or invisible, 3001 if the privilege is missing.
        """
        obj = self.find(kind, name)
        if obj is None:
            database, schema, last = self.resolve(kind, name)
            fqn = ".".join(part for part in (database, schema, last) if part)
            if kind in ("TABLE", "VIEW"):
                raise errors.SqlError(2003, "42S02", f"{errors.COMPILATION}{KINDS[kind].label} '{fqn}' does not exist or not authorized.")
            raise errors.does_not_exist(KINDS[kind].label, fqn)
        if anything:
            if not self.access.visible(self.roles, obj):
                self.access.require(self.roles, obj)
            return obj
        self.access.require(self.roles, obj, *privileges)
        return obj

    def get_if(self, kind: str, name: QualifiedName, *privileges: str) -> CatalogueObject | None:
        """As `get`, but None instead of an error for a missing object under IF EXISTS."""
        if self.modifiers.if_exists and self.find(kind, name) is None:
            return None
        return self.get(kind, name, *privileges)

    # -- changing

    def create(
        self,
        kind: str,
        name: QualifiedName,
        *,
        comment: str | None = None,
        props: dict[str, Any] | None = None,
        shown: str | None = None,
    ) -> tuple[CatalogueObject | None, ResultSet]:
        """Creates the object for the current role, with OR REPLACE and IF NOT EXISTS as given in `modifiers`.

        Gives the new object, or None if it was there already and IF NOT EXISTS said to keep it, and the status row.
        Raises 3001/2003 without the privilege, 2002 if the name is taken. `shown` is the name in the status text.
        """
        info = KINDS[kind]
        database, schema, last = self.resolve(kind, name)
        if info.plain_names and not all(is_plain(part) for part in (database, schema, last) if part):
            raise errors.compilation(f"{info.label} names must be unquoted identifiers, got '{last}'.")
        with self.store.transaction():
            self.access.require_create(self.session.role, kind, database, schema)
            existing = self.store.find(kind, database, schema, last)
            if existing is not None:
                if self.modifiers.if_not_exists:
                    return None, ResultSet.status(f"{last} already exists, statement succeeded.")
                if not self.modifiers.or_replace:
                    raise errors.already_exists(existing.fqn if info.scope == "schema" else last)
                self.access.require(self.roles, existing)
                self.account.drop(existing)
            obj = self.store.create(kind, database, schema, last, owner=self.session.role, comment=comment, props=props or {})
            self.access.apply_future_grants(obj)
        return obj, ResultSet.status(f"{info.create_label} {shown or last} successfully created.")

    def drop(self, kind: str, name: QualifiedName) -> ResultSet:
        """Drops the object (and what it contains). The role must own it."""
        obj = self.get_if(kind, name)
        if obj is None:
            return ResultSet.status(f"Drop statement executed successfully ({name.name} already dropped).")
        self.account.drop(obj)
        return ResultSet.status(f"{obj.name} successfully dropped.")
