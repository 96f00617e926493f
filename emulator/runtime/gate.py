"""Who may use the registry and the public endpoints: the account's logins and privileges, seen from HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from emulator.catalogue.store import CatalogueObject
from emulator.registry.app import Principal
from emulator.registry.images import RepositoryKey
from emulator.wire.login import LoginError, log_in

if TYPE_CHECKING:
    from emulator.account import Account

SESSION_TOKEN_USER = "0sessiontoken"  # noqa: S105 - the user name that says a token follows


class AccountGate:
    """Implements `RegistryGate`, and the same for ingress."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def login(self, user: str, password: str) -> Principal | None:
        """A user's password or programmatic token, or `0sessiontoken` with `{"token": …}` as the driver's tools send it."""
        if user == SESSION_TOKEN_USER:
            try:
                token = json.loads(password)["token"]
            except (ValueError, KeyError, TypeError):
                return None
            return self.session(str(token))
        try:
            session = log_in(self._account, {"LOGIN_NAME": user, "PASSWORD": password}, {})
        except LoginError:
            return None
        return Principal(session.user, session.role)

    def session(self, token: str) -> Principal | None:
        """A session token, or a login token (programmatic, OAuth, a container's)."""
        session = self._account.tokens.session(token)
        if session is not None:
            return Principal(session.user, session.role)
        bearer = self._account.tokens.bearer(token)
        if bearer is None:
            return None
        role = bearer.role or self.default_role(bearer.user)
        return Principal(bearer.user, role)

    def default_role(self, user: str) -> str:
        record = self._account.store.find("USER", "", "", user)
        return str((record.props.get("default_role") if record else None) or "PUBLIC")

    def repository(self, key: RepositoryKey) -> bool:
        return self._account.store.find("IMAGE REPOSITORY", key.database, key.schema, key.name) is not None

    def may(self, principal: Principal, key: RepositoryKey, *, write: bool) -> bool:
        obj = self._account.store.find("IMAGE REPOSITORY", key.database, key.schema, key.name)
        privileges = ("WRITE",) if write else ("READ", "WRITE")
        return obj is not None and self._account.access.has((principal.role,), obj, *privileges)

    def roles(self, principal: Principal) -> tuple[str, ...]:
        """Every role that the user could act as, the principal's own first."""
        return (principal.role, *self._account.access.roles_of_user(principal.user))

    def may_use(self, roles: tuple[str, ...], gateway: CatalogueObject) -> bool:
        """Owner of the gateway, or USAGE on it."""
        return self._account.access.has(roles, gateway, "USAGE", "MODIFY")

    def may_call(self, roles: tuple[str, ...], service: CatalogueObject, endpoint: str) -> bool:
        """Owner of the service, or a service role that holds the endpoint was granted to one of the roles."""
        access = self._account.access
        if access.has(roles, service):
            return True
        endpoints = {str(role["name"]).upper(): role["endpoints"] for role in service.props["spec"].get("serviceRoles", [])}
        for privilege in access.privileges(roles, service):
            service_role = privilege.removeprefix("SERVICE ROLE ")
            if service_role == "ALL_ENDPOINTS_USAGE" or endpoint in endpoints.get(service_role, []):
                return True
        return False
