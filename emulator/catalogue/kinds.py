"""The kinds of object and what every one of them has in common: scope, words, privilege to create, privileges on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`word` is the kind in SQL; `scope` account, database or schema.

    `label` opens error and status texts (`Stage area X successfully created.` differs from `Stage 'X' does not exist`).
    `plain_names` kinds take only names that need no quotes.
    """

    word: str
    plural: str
    scope: str
    label: str
    create_label: str
    privileges: tuple[str, ...]
    creator: str | None = None
    plain_names: bool = False

    @property
    def create_privilege(self) -> str:
        return self.creator or f"CREATE {self.word}"


_TABLE = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES")

_KINDS = (
    Kind("DATABASE", "DATABASES", "account", "Database", "Database", ("USAGE", "MONITOR", "MODIFY", "CREATE SCHEMA")),
    Kind("WAREHOUSE", "WAREHOUSES", "account", "Warehouse", "Warehouse", ("USAGE", "OPERATE", "MONITOR", "MODIFY")),
    Kind("ROLE", "ROLES", "account", "Role", "Role", ("USAGE",)),
    Kind("USER", "USERS", "account", "User", "User", ("MONITOR",)),
    Kind("INTEGRATION", "INTEGRATIONS", "account", "Integration", "Integration", ("USAGE",)),
    Kind(
        "RESOURCE MONITOR",
        "RESOURCE MONITORS",
        "account",
        "Resource monitor",
        "Resource monitor",
        ("MONITOR", "MODIFY"),
        "CREATE WAREHOUSE",
    ),
    Kind(
        "COMPUTE POOL",
        "COMPUTE POOLS",
        "account",
        "Compute Pool",
        "Compute pool",
        ("USAGE", "OPERATE", "MONITOR", "MODIFY"),
        plain_names=True,
    ),
    Kind("SCHEMA", "SCHEMAS", "database", "Schema", "Schema", ("USAGE", "MONITOR", "MODIFY")),
    Kind("TABLE", "TABLES", "schema", "Table", "Table", _TABLE),
    Kind("VIEW", "VIEWS", "schema", "View", "View", ("SELECT", "REFERENCES")),
    Kind("STAGE", "STAGES", "schema", "Stage", "Stage area", ("USAGE", "READ", "WRITE")),
    Kind("FILE FORMAT", "FILE FORMATS", "schema", "File format", "File format", ("USAGE",)),
    Kind("SEQUENCE", "SEQUENCES", "schema", "Sequence", "Sequence", ("USAGE",)),
    Kind("SECRET", "SECRETS", "schema", "Secret", "Secret", ("USAGE", "READ")),
    Kind("NETWORK RULE", "NETWORK RULES", "schema", "Network rule", "Network rule", ("USAGE",)),
    Kind("FUNCTION", "FUNCTIONS", "schema", "Function", "Function", ("USAGE",)),
    Kind(
        "IMAGE REPOSITORY",
        "IMAGE REPOSITORIES",
        "schema",
        "Image Repository",
        "Image Repository",
        ("READ", "WRITE"),
        plain_names=True,
    ),
    Kind("GATEWAY", "GATEWAYS", "schema", "Gateway", "Gateway", ("USAGE", "MODIFY")),
    Kind("SERVICE", "SERVICES", "schema", "Service", "Service", ("USAGE", "OPERATE", "MONITOR"), plain_names=True),
)

KINDS: dict[str, Kind] = {kind.word: kind for kind in _KINDS}
PLURALS: dict[str, Kind] = {kind.plural: kind for kind in _KINDS}

GLOBAL_PRIVILEGES = (
    "APPLY TAG",
    "BIND SERVICE ENDPOINT",
    "CREATE COMPUTE POOL",
    "CREATE DATABASE",
    "CREATE INTEGRATION",
    "CREATE NETWORK POLICY",
    "CREATE ROLE",
    "CREATE SHARE",
    "CREATE USER",
    "CREATE WAREHOUSE",
    "EXECUTE MANAGED TASK",
    "EXECUTE TASK",
    "IMPORT SHARE",
    "MANAGE GRANTS",
    "MANAGE WAREHOUSES",
    "MONITOR EXECUTION",
    "MONITOR USAGE",
    "OVERRIDE SHARE RESTRICTIONS",
)

SCHEMA_PRIVILEGES = (
    "USAGE",
    "MONITOR",
    "MODIFY",
    "CREATE MODEL",
    "CREATE SNAPSHOT",
    "CREATE TAG",
    *tuple(f"CREATE {kind.word}" for kind in _KINDS if kind.scope == "schema"),
)


def privileges_on(word: str) -> tuple[str, ...]:
    """What can be granted on an object of the kind (without OWNERSHIP)."""
    if word == "ACCOUNT":
        return GLOBAL_PRIVILEGES
    if word == "SCHEMA":
        return SCHEMA_PRIVILEGES
    return KINDS[word].privileges
