"""Who may call a service: its service roles, and the roles that they are granted to.

Source: docs.snowflake.com, sql-reference/sql/grant-service-role, show-grants (OF SERVICE ROLE).
"""

from __future__ import annotations

from controller.account import statements as sql
from controller.account.snapshot import Show
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject
from controller.api.service import ServiceSpec
from controller.api.specification import ALL_ENDPOINTS
from controller.kinds.references import name_of
from controller.kinds.usage import Grant, Usage


def usage_of(obj: DesiredObject) -> Usage:
    """A service's entries: `ROLE` for all endpoints, `ROLE:SERVICE_ROLE` for some."""
    entries = [role.text if one.text == ALL_ENDPOINTS else f"{role.text}:{one.text}" for role, one in users_of(obj)]

    def grants(entry: str) -> list[Grant]:
        role, _, service_role = entry.partition(":")
        return [service_role_grant(obj.key.name, Identifier(role), Identifier(service_role or ALL_ENDPOINTS))]

    return Usage(entries, grants, left="usage" in obj.manifest.metadata.ignore)


def users_of(obj: DesiredObject) -> list[tuple[Identifier, Identifier]]:
    """(role, service role) of every entry of a service's manifest."""
    spec: ServiceSpec = obj.manifest.spec
    return [(name_of(obj, f"usage[{number}].role").name, Identifier(use.service_role.upper())) for number, use in enumerate(spec.usage)]


def service_role_grant(service: QualifiedName, role: Identifier, service_role: Identifier = Identifier(ALL_ENDPOINTS)) -> Grant:  # noqa: B008 (immutable)
    give, take = sql.grant_service_role(service, service_role, role), sql.revoke_service_role(service, service_role, role)
    return Grant(role, Show("GRANTS", f"OF SERVICE ROLE {service.sql}!{service_role.sql}"), give, take)
