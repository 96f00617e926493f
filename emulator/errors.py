"""SQL errors as the account reports them.

Clients decide by number and SQLSTATE, never by text, so every error that the account raises is made here, with the pair that
Snowflake uses (sources: error table of the SPCS reference; driver sources).
"""

from __future__ import annotations

COMPILATION = "SQL compilation error:\n"
ACCESS = "SQL access control error:\n"


class SqlError(Exception):
    """A statement failed. `errno` and `sqlstate` are what the client sees; `message` is for people."""

    def __init__(self, errno: int, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.errno = errno
        self.sqlstate = sqlstate
        self.message = message

    def __str__(self) -> str:
        return f"{self.errno:06d} ({self.sqlstate}): {self.message}"


def unsupported(feature: str) -> SqlError:
    return SqlError(2, "0A000", f"Unsupported feature '{feature}'.")


def canceled() -> SqlError:
    return SqlError(604, "57014", "SQL execution canceled")


def no_warehouse() -> SqlError:
    return SqlError(
        606,
        "57P03",
        "No active warehouse selected in the current session.  Select an active warehouse with the 'use warehouse' command.",
    )


def warehouse_suspended(name: str) -> SqlError:
    return SqlError(606, "57P03", f"Warehouse '{name}' is suspended and AUTO_RESUME is FALSE. Run ALTER WAREHOUSE {name} RESUME first.")


def statement_timeout(seconds: int) -> SqlError:
    return SqlError(630, "57014", f"Statement reached its statement or warehouse timeout of {seconds} second(s) and was canceled.")


def statement_not_found(query_id: str) -> SqlError:
    return SqlError(709, "02000", f"Statement {query_id} not found")


def empty_statement() -> SqlError:
    return SqlError(900, "42000", COMPILATION + "Empty SQL statement.")


def invalid_identifier(name: str, line: int = 1, position: int = 0) -> SqlError:
    return SqlError(904, "42000", f"SQL compilation error: error line {line} at position {position}\ninvalid identifier '{name}'")


def syntax_error(token: str, line: int, position: int) -> SqlError:
    """`token` is the unexpected text; the end of the statement is given as '<EOF>'."""
    return SqlError(1003, "42000", f"{COMPILATION}syntax error line {line} at position {position} unexpected '{token}'.")


def compilation(message: str) -> SqlError:
    """A statement that parses but cannot be compiled, where no better number is known."""
    return SqlError(1003, "42000", COMPILATION + message)


def invalid_parameter(value: object, parameter: str) -> SqlError:
    return SqlError(1008, "22023", f"{COMPILATION}invalid value [{value}] for parameter '{parameter}'")


def invalid_property(value: object, name: str) -> SqlError:
    return SqlError(1422, "22023", f"{COMPILATION}invalid value '{value}' for property '{name}'")


def invalid_option(name: str, kind: str) -> SqlError:
    return SqlError(1420, "22023", f"{COMPILATION}invalid property '{name}' for '{kind}'")


def unknown_function(name: str) -> SqlError:
    return SqlError(1044, "42601", f"{COMPILATION}Unknown function {name}")


def unknown_table_function(name: str) -> SqlError:
    return SqlError(2143, "42601", f"{COMPILATION}Unknown user-defined table function {name}")


def already_exists(name: str, kind: str = "Object") -> SqlError:
    return SqlError(2002, "42710", f"{COMPILATION}{kind} '{name}' already exists.")


def does_not_exist(kind: str, name: str) -> SqlError:
    """Missing, or not visible for the role: the two cannot be told apart by design."""
    return SqlError(2003, "02000", f"{COMPILATION}{kind} '{name}' does not exist or not authorized.")


def table_does_not_exist(name: str) -> SqlError:
    return SqlError(2003, "42S02", f"{COMPILATION}Object '{name}' does not exist or not authorized.")


def cannot_operate() -> SqlError:
    return SqlError(2043, "02000", COMPILATION + "Object does not exist, or operation cannot be performed.")


def missing_option(*options: str) -> SqlError:
    return SqlError(2029, "42601", f"{COMPILATION}Missing option(s): {', '.join(options)}")


def not_empty(kind: str, name: str) -> SqlError:
    return SqlError(2041, "2BP01", f"{COMPILATION}Cannot drop {kind} '{name}': it is not empty. Use CASCADE.")


def insufficient_privileges(kind: str, name: str, role: str | None = None, privilege: str | None = None) -> SqlError:
    """`role` and `privilege` add the newer sentence that says what is missing."""
    hint = ""
    if role and privilege:
        hint = f" Your primary role {role} must have {privilege} granted on {kind.upper()} {name}."
    return SqlError(3001, "42501", f"{ACCESS}Insufficient privileges to operate on {kind.lower()} '{name}'.{hint}")


def partial_grant(privileges: list[str]) -> SqlError:
    return SqlError(3011, "42501", f"Grant partially executed: privileges [{', '.join(privileges)}] not granted.")


def role_not_assigned(role: str) -> SqlError:
    return SqlError(
        3013,
        "42501",
        f"{ACCESS}Requested role '{role}' is not assigned to the executing user. Specify another role to activate.",
    )


def grant_not_executed(message: str) -> SqlError:
    return SqlError(3008, "42501", ACCESS + message)


def warehouse_not_suspended(name: str) -> SqlError:
    return SqlError(90063, "22000", f"Invalid state. Warehouse '{name}' cannot be resumed because it is not suspended.")


def warehouse_already_suspended(name: str) -> SqlError:
    return SqlError(90064, "22000", f"Invalid state. Warehouse '{name}' cannot be suspended.")


def no_database() -> SqlError:
    return SqlError(
        90105,
        "22000",
        "Cannot perform operation. This session does not have a current database. Call 'USE DATABASE', or use a qualified name.",
    )


def no_schema() -> SqlError:
    return SqlError(
        90106,
        "22000",
        "Cannot perform operation. This session does not have a current schema. Call 'USE SCHEMA', or use a qualified name.",
    )


def ingress_integration_exists(name: str) -> SqlError:
    return SqlError(390950, "42710", f"A security integration for SNOWSERVICES_INGRESS already exists in this account: '{name}'.")


def invalid_spec(message: str) -> SqlError:
    return SqlError(395018, "22023", f"Invalid spec: {message}.")


def template_error(message: str) -> SqlError:
    return SqlError(395069, "23001", f"Unable to render service spec from given template: {message}")


def stage_full(used: int, quota: int) -> SqlError:
    """The account's total stage quota (bytes) would be passed by the upload."""
    return SqlError(253003, "53100", f"Stage storage is full: {used} of {quota} bytes are used. Remove files with REMOVE @stage/path.")


def division_by_zero() -> SqlError:
    return SqlError(100051, "22012", "Division by zero")


def bad_cast(message: str) -> SqlError:
    return SqlError(100038, "22018", message)


def bad_json(message: str) -> SqlError:
    return SqlError(100069, "22P02", f"Error parsing JSON: {message}")


def file_not_found(path: str) -> SqlError:
    return SqlError(100080, "02000", f"Remote file '{path}' was not found.")


def function_failed(message: str) -> SqlError:
    """A service function's request failed for good."""
    return SqlError(100351, "P0001", f"Request failed for external function: {message}")


def execution(message: str) -> SqlError:
    """A failure while running, where no better number is known."""
    return SqlError(100132, "P0000", message)


def internal(message: str) -> SqlError:
    """A defect of the account itself. Still HTTP 200 on the wire: a 5xx would make drivers send the statement again."""
    return SqlError(300010, "XX000", f"Processing aborted by error 300010: {message}")
