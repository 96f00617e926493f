"""The only place where SQL text is made from values.

Every value has one function that renders it (`text`, `flag`, `names`, …) and every verb one that puts rendered clauses together (`create`,
`alter_set`, `drop`, `grant`, …). A name is a `QualifiedName` and quotes itself; a word of the grammar is checked. Nothing else in the
controller writes a quote into SQL.

Source: docs.snowflake.com, sql-reference/data-types-text (string constants: `''` for a quote, `\\` as escape character).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from controller.api.names import Identifier, QualifiedName

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_GRAMMAR = re.compile(r"[A-Za-z][A-Za-z0-9_]*( [A-Za-z][A-Za-z0-9_]*)*")


class NotSql(ValueError):
    """A value that cannot stand in a statement. The message names it and says what would do."""


# ---- values ---------------------------------------------------------------------------------------------------------------------------


def text(value: str) -> str:
    """A string constant.

    Raises:
        NotSql: the value holds a NUL character, which Snowflake cannot store.
    """
    if "\0" in value:
        raise NotSql("a text with a NUL character cannot be stored")
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def texts(values: Iterable[str]) -> str:
    """A list of string constants in brackets."""
    return "(" + ", ".join(text(value) for value in values) + ")"


def dollar(value: str) -> str:
    """A `$$` constant, for documents that a person should be able to read in the statement.

    Raises:
        NotSql: the value holds `$$` or ends in `$`, which would end the constant early.
    """
    if "$$" in value or value.endswith("$"):
        raise NotSql("a document in a statement cannot hold '$$' or end with '$'")
    return f"$${value}$$"


def flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def number(value: int) -> str:
    return str(int(value))


def word(value: str) -> str:
    """A bare word of the grammar in upper case, such as an instance family or a size.

    Raises:
        NotSql: the value is not one word of letters, digits and '_'.
    """
    if not _WORD.fullmatch(value):
        raise NotSql(f"{value!r} is not a word of letters, digits and '_'")
    return value.upper()


def privilege(value: str) -> str:
    """A privilege or kind of object in upper case: one or more words.

    Raises:
        NotSql: the value holds something else than words of letters, digits and '_'.
    """
    spaced = " ".join(value.split())
    if not _GRAMMAR.fullmatch(spaced):
        raise NotSql(f"{value!r} is not made of words of letters, digits and '_'")
    return spaced.upper()


def names(values: Iterable[QualifiedName | Identifier]) -> str:
    """A list of names in brackets."""
    return "(" + ", ".join(value.sql for value in values) + ")"


def equals(key: str, rendered: str) -> str:
    """One clause, `KEY = value`, from a rendered value."""
    return f"{key} = {rendered}"


# ---- statements -----------------------------------------------------------------------------------------------------------------------


def create(what: str, name: QualifiedName, clauses: Sequence[str] = (), *, or_replace: bool = False, if_not_exists: bool = False) -> str:
    """CREATE, one clause a line.

    Without IF NOT EXISTS as a rule: an object that appeared meanwhile is somebody's, and error 2002 says so.
    """
    before, after = "OR REPLACE " if or_replace else "", "IF NOT EXISTS " if if_not_exists else ""
    return "\n  ".join((f"CREATE {before}{what} {after}{name.sql}", *clauses))


def alter(what: str, name: QualifiedName, action: str) -> str:
    """ALTER with a bare action such as `SUSPEND`."""
    return f"ALTER {what} {name.sql} {action}"


def alter_set(what: str, name: QualifiedName, clauses: Sequence[str]) -> str:
    return f"ALTER {what} {name.sql} SET {' '.join(clauses)}"


def alter_unset(what: str, name: QualifiedName, keys: Sequence[str]) -> str:
    return f"ALTER {what} {name.sql} UNSET {', '.join(keys)}"


def comment(what: str, name: QualifiedName, value: str) -> str:
    """COMMENT ON, which every kind of object takes whose ALTER is short of SET COMMENT."""
    return f"COMMENT ON {what} {name.sql} IS {text(value)}"


def drop(what: str, name: QualifiedName) -> str:
    return f"DROP {what} {name.sql}"


def describe(what: str, name: QualifiedName) -> str:
    return f"DESCRIBE {what} {name.sql}"


def grant(privileges: Iterable[str], target: str, role: Identifier, *, option: bool = False) -> str:
    """GRANT on a target made by `on_account`, `on_object` or `on_future`; with `option` the role may pass them on."""
    more = " WITH GRANT OPTION" if option else ""
    return f"GRANT {', '.join(privilege(p) for p in privileges)} ON {target} TO ROLE {role.sql}{more}"


def revoke(privileges: Iterable[str], target: str, role: Identifier, *, only_option: bool = False) -> str:
    """REVOKE of the privileges, or of the right to pass them on alone."""
    before = "GRANT OPTION FOR " if only_option else ""
    return f"REVOKE {before}{', '.join(privilege(p) for p in privileges)} ON {target} FROM ROLE {role.sql}"


def on_account() -> str:
    return "ACCOUNT"


def on_object(what: str, name: QualifiedName) -> str:
    return f"{privilege(what)} {name.sql}"


def on_function(name: QualifiedName, types: Sequence[str]) -> str:
    return f"FUNCTION {name.sql}({', '.join(word(one) for one in types)})"


def on_future(plural: str, container: str, name: QualifiedName) -> str:
    """Objects that are yet to be made: `FUTURE SERVICES IN SCHEMA D.S`."""
    return f"FUTURE {privilege(plural)} IN {privilege(container)} {name.sql}"


def grant_role(role: Identifier, *, to_role: Identifier | None = None, to_user: Identifier | None = None) -> str:
    """GRANT ROLE to exactly one of a role and a user."""
    return f"GRANT ROLE {role.sql} TO {_grantee(to_role, to_user)}"


def revoke_role(role: Identifier, *, from_role: Identifier | None = None, from_user: Identifier | None = None) -> str:
    return f"REVOKE ROLE {role.sql} FROM {_grantee(from_role, from_user)}"


def grant_service_role(service: QualifiedName, service_role: Identifier, role: Identifier) -> str:
    """GRANT SERVICE ROLE: the endpoints that a service role stands for may be called by a role."""
    return f"GRANT SERVICE ROLE {service.sql}!{service_role.sql} TO ROLE {role.sql}"


def revoke_service_role(service: QualifiedName, service_role: Identifier, role: Identifier) -> str:
    return f"REVOKE SERVICE ROLE {service.sql}!{service_role.sql} FROM ROLE {role.sql}"


def _grantee(role: Identifier | None, user: Identifier | None) -> str:
    if role is not None:
        return f"ROLE {role.sql}"
    if user is not None:
        return f"USER {user.sql}"
    raise NotSql("a role is granted to a role or to a user")


def use(what: str, name: QualifiedName | Identifier) -> str:
    return f"USE {what} {name.sql}"


def call_system(function: str, *arguments: str | int | bool) -> str:
    """A system function that needs no warehouse: `SELECT SYSTEM$GET_SERVICE_LOGS('D.S.SVC', '0', 'main', 50)`."""
    rendered = [text(v) if isinstance(v, str) else flag(v) if isinstance(v, bool) else number(v) for v in arguments]
    return f"SELECT SYSTEM${word(function)}({', '.join(rendered)})"


# ---- stages ---------------------------------------------------------------------------------------------------------------------------


def stage_path(stage: QualifiedName, path: str = "") -> str:
    """A place on a named stage as a quoted constant: `'@DB.S.ST/folder/file'`."""
    return text("@" + stage.sql + ("/" + path.strip("/") if path.strip("/") else ""))


def put(local: str, stage: QualifiedName, folder: str = "", *, overwrite: bool = True, compress: bool = False, parallel: int = 4) -> str:
    """PUT of one local file, or of a pattern, into a folder of a stage."""
    options = f"AUTO_COMPRESS = {flag(compress)} OVERWRITE = {flag(overwrite)} PARALLEL = {number(parallel)}"
    return f"PUT {_file_url(local)} {stage_path(stage, folder)} {options}"


def get(stage: QualifiedName, path: str, local_folder: str, *, parallel: int = 4) -> str:
    return f"GET {stage_path(stage, path)} {_file_url(local_folder.rstrip('/') + '/')} PARALLEL = {number(parallel)}"


def list_stage(stage: QualifiedName, path: str = "", pattern: str = "") -> str:
    """`pattern` is a regular expression over whole paths."""
    return f"LIST {stage_path(stage, path)}" + (f" PATTERN = {text(pattern)}" if pattern else "")


def remove(stage: QualifiedName, path: str) -> str:
    return f"REMOVE {stage_path(stage, path)}"


def _file_url(local: str) -> str:
    return text("file://" + local)
