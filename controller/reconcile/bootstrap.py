"""The statements that only an administrator may run, once: the project's role, what it may do, who has it, and the `home` schema.

Rendered from `snowcat.yaml` and the Role manifests, safe to run again. `snowcat bootstrap` prints them; for the embedded account the
command line runs them itself. The daemon never works as an administrator.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from controller.account import statements as sql
from controller.account.redact import redact
from controller.account.session import Session
from controller.account.snapshot import Snapshot
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph
from controller.api.role import Role
from controller.kinds.base import Sql, View
from controller.kinds.role import role_statements
from controller.reconcile.look.files import Loaded

log = structlog.get_logger("snowcat.reconcile")

ROLES_BY = Identifier("SECURITYADMIN")
ACCOUNT_BY = Identifier("ACCOUNTADMIN")
USUAL_PRIVILEGES = ("CREATE DATABASE", "CREATE WAREHOUSE", "CREATE INTEGRATION", "CREATE COMPUTE POOL", "BIND SERVICE ENDPOINT")
"""For a project that declares no Role of its own."""


def bootstrap_statements(loaded: Loaded) -> list[Sql]:
    """All statements in order, with the USE ROLE that each part needs. The users get the role last: who has it may rely on the rest."""
    settings = loaded.settings
    role = Identifier.parse(settings.role)
    declared = [obj for obj in loaded.graph.of_kind("Role") if isinstance(obj.manifest, Role)]
    own = next((obj for obj in declared if obj.key.name.name == role), None)
    statements: list[Sql] = []
    if own is None:
        statements += [_use(ROLES_BY), *_plain_role(role), _use(ACCOUNT_BY), Sql(sql.grant(USUAL_PRIVILEGES, sql.on_account(), role))]
    for obj in declared:
        statements += _role(obj, loaded)
    statements += [_use(ACCOUNT_BY), *(_home(QualifiedName.parse(settings.home), role) if settings.home else [])]
    snowflake = sql.on_object("DATABASE", QualifiedName((Identifier("SNOWFLAKE"),)))
    statements.append(Sql(sql.grant(("IMPORTED PRIVILEGES",), snowflake, role)))
    users = _users(settings.users, own)
    for user in users:
        defaults = [sql.equals("DEFAULT_ROLE", role.sql)]
        if settings.warehouse:
            defaults.append(sql.equals("DEFAULT_WAREHOUSE", Identifier.parse(settings.warehouse).sql))
        statements.append(Sql(sql.alter_set("USER", QualifiedName((user,)), defaults)))
    to_users = [Sql(sql.grant_role(role, to_user=user)) for user in users]
    first = [statement for statement in statements if statement.text not in {grant.text for grant in to_users}]
    return _without_repeats([*first, *to_users])


def run_bootstrap(session: Session, statements: Iterable[Sql]) -> None:
    """Run them in one administrator's session.

    Raises:
        AccountError: a statement was refused; those before it stand, and all can be run again.
    """
    for statement in statements:
        result = session.execute(statement)
        log.info("bootstrap", sql=redact(str(statement)), statement_id=result.query_id)


def as_script(statements: Iterable[Sql]) -> str:
    """The statements as an administrator would paste them."""
    return "".join(f"{redact(str(statement))};\n" for statement in statements)


def _role(obj: DesiredObject, loaded: Loaded) -> list[Sql]:
    """A declared role: made by the one who manages roles, its privileges on the account given by the one who owns the account."""
    view = View(loaded.project, Graph(loaded.graph.objects), Snapshot(offline=True))
    steps = [step for step in role_statements(obj, view) if isinstance(step, Sql)]
    on_account = [step for step in steps if " ON " in step.text and step.text.startswith("GRANT ")]
    about_role = [step for step in steps if step not in on_account]
    return [_use(ROLES_BY), *about_role, *([_use(ACCOUNT_BY), *on_account] if on_account else [])]


def _plain_role(role: Identifier) -> list[Sql]:
    comment = sql.equals("COMMENT", sql.text("Role that Snowcat works as"))
    return [
        Sql(sql.create("ROLE", QualifiedName((role,)), [comment], if_not_exists=True)),
        Sql(sql.grant_role(role, to_role=Identifier("SYSADMIN"))),
    ]


def _home(home: QualifiedName, role: Identifier) -> list[Sql]:
    """The schema that is there before the project's own database, for what Snowcat itself keeps in the account."""
    database = QualifiedName(home.parts[:1])
    return [
        Sql(sql.create("DATABASE", database, if_not_exists=True)),
        Sql(sql.create("SCHEMA", home, if_not_exists=True)),
        Sql(sql.grant(("USAGE",), sql.on_object("DATABASE", database), role)),
        Sql(sql.grant(("USAGE", "CREATE STAGE"), sql.on_object("SCHEMA", home), role)),
    ]


def _users(named: Iterable[str], own: DesiredObject | None) -> list[Identifier]:
    """Who gets the role and its defaults: those that the role's manifest names, else those of the project file."""
    listed = own.manifest.spec.granted_to.users if own is not None else []
    return [Identifier.parse(user) for user in (listed or list(named))]


def _without_repeats(statements: Iterable[Sql]) -> list[Sql]:
    """No USE ROLE that changes nothing."""
    result: list[Sql] = []
    current = ""
    for statement in statements:
        if statement.text.startswith("USE ROLE "):
            if statement.text == current:
                continue
            current = statement.text
        result.append(statement)
    return result


def _use(role: Identifier) -> Sql:
    return Sql(sql.use("ROLE", role))
