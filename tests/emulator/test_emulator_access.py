"""Roles, ownership and privileges: recorded, shown, and enforced."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import snowflake.connector

Connection = snowflake.connector.SnowflakeConnection


@pytest.fixture
def team(session: Connection) -> Iterator[Connection]:
    """A role TEAM with nothing but the session's warehouse."""
    cursor = session.cursor()
    cursor.execute("CREATE OR REPLACE ROLE team")
    cursor.execute("GRANT ROLE team TO USER admin")
    cursor.execute("GRANT USAGE ON WAREHOUSE test_wh TO ROLE team")
    yield session
    cursor.execute("USE ROLE ACCOUNTADMIN")
    cursor.execute("DROP ROLE team")


def _refused(connection: Connection, statement: str) -> tuple[int | None, str | None]:
    with pytest.raises(snowflake.connector.errors.Error) as caught:
        connection.cursor().execute(statement)
    return caught.value.errno, caught.value.sqlstate


def test_what_a_role_may_not_do(team: Connection) -> None:
    cursor = team.cursor()
    database = cursor.execute("SELECT CURRENT_DATABASE()").fetchone()[0]
    for statement in ("CREATE TABLE t (a INT)", "CREATE STAGE st", "CREATE ROLE other"):
        cursor.execute(statement.replace("CREATE ROLE", "CREATE OR REPLACE ROLE"))
    as_admin, as_team = "USE ROLE ACCOUNTADMIN", "USE ROLE team"
    steps: list[tuple[str, str | None, tuple[int, str] | None, str]] = [
        ("CREATE DATABASE x", None, (3001, "42501"), "no CREATE DATABASE on the account"),
        ("CREATE WAREHOUSE x", None, (3001, "42501"), "no CREATE WAREHOUSE on the account"),
        (f"USE DATABASE {database}", None, (2043, "02000"), "no USAGE: not even seen"),
        (f"SELECT * FROM {database}.PUBLIC.t", None, (2003, "42S02"), "a table in a database without USAGE"),
        (
            f"CREATE STAGE {database}.PUBLIC.x",
            f"GRANT USAGE ON DATABASE {database} TO ROLE team",
            (2003, "02000"),
            "no USAGE on the schema",
        ),
        (f"CREATE STAGE {database}.PUBLIC.x", f"GRANT USAGE ON SCHEMA {database}.PUBLIC TO ROLE team", (3001, "42501"), "no CREATE STAGE"),
        (f"CREATE STAGE {database}.PUBLIC.x", f"GRANT CREATE STAGE ON SCHEMA {database}.PUBLIC TO ROLE team", None, "now it may"),
        (f"DROP STAGE {database}.PUBLIC.st", None, (2003, "02000"), "another role's stage cannot be seen"),
        (f"DROP STAGE {database}.PUBLIC.st", f"GRANT READ ON STAGE {database}.PUBLIC.st TO ROLE team", (3001, "42501"), "seen, not owned"),
        (f"SELECT * FROM {database}.PUBLIC.t", f"GRANT SELECT ON TABLE {database}.PUBLIC.t TO ROLE team", None, "a granted table"),
        (f"DROP TABLE {database}.PUBLIC.t", None, (3001, "42501"), "reading is not owning"),
        ("GRANT ROLE other TO ROLE team", None, (3001, "42501"), "no MANAGE GRANTS"),
        (f"DROP STAGE {database}.PUBLIC.x", None, None, "its own stage"),
    ]
    for statement, grant, expected, reason in steps:
        if grant is not None:
            cursor.execute(as_admin)
            cursor.execute(grant)
        cursor.execute(as_team)
        if expected is None:
            cursor.execute(statement)
        else:
            assert _refused(team, statement) == expected, f"{reason}: {statement}"


def test_show_lists_what_the_role_may_see(team: Connection) -> None:
    cursor = team.cursor()
    cursor.execute("CREATE STAGE mine")
    cursor.execute("USE ROLE team")
    assert cursor.execute("SHOW STAGES IN ACCOUNT").fetchall() == []
    assert [row[0] for row in cursor.execute("SHOW WAREHOUSES").fetchall()] == ["TEST_WH"]


def test_a_role_that_is_not_granted(connect: Callable[..., Connection], session: Connection) -> None:
    cursor = session.cursor()
    cursor.execute("CREATE OR REPLACE ROLE lonely")
    assert _refused(session, "USE ROLE lonely") == (3013, "42501")
    assert _refused(session, "USE ROLE nobody_knows") == (2043, "02000")
    with pytest.raises(snowflake.connector.errors.Error):
        connect(role="lonely")


def test_grants_are_shown_one_by_one(team: Connection) -> None:
    cursor = team.cursor()
    cursor.execute("GRANT ALL PRIVILEGES ON WAREHOUSE test_wh TO ROLE team")
    cursor.execute("GRANT IMPORTED PRIVILEGES ON DATABASE SNOWFLAKE TO ROLE team")
    found = {(row[1], row[2], row[3]) for row in cursor.execute("SHOW GRANTS TO ROLE team").fetchall()}
    assert {(p, "WAREHOUSE", "TEST_WH") for p in ("USAGE", "OPERATE", "MONITOR", "MODIFY")} <= found
    assert ("USAGE", "DATABASE", "SNOWFLAKE") in found
    assert [row[3] for row in cursor.execute("SHOW GRANTS OF ROLE team").fetchall()] == ["ADMIN"]
    assert ("OWNERSHIP", "ACCOUNTADMIN") in {(row[1], row[5]) for row in cursor.execute("SHOW GRANTS ON WAREHOUSE test_wh").fetchall()}
    cursor.execute("REVOKE OPERATE ON WAREHOUSE test_wh FROM ROLE team")
    assert "OPERATE" not in {row[1] for row in cursor.execute("SHOW GRANTS TO ROLE team").fetchall()}


def test_grant_all_on_account_skips_what_cannot_be_granted(team: Connection) -> None:
    cursor = team.cursor()
    cursor.execute("USE ROLE SYSADMIN")
    found = cursor.execute("GRANT ALL ON ACCOUNT TO ROLE team").fetchone()[0]
    assert found.startswith("Grant partially executed: privileges [") and "MANAGE GRANTS" in found
    cursor.execute("USE ROLE ACCOUNTADMIN")
    held = {row[1] for row in cursor.execute("SHOW GRANTS TO ROLE team").fetchall() if row[2] == "ACCOUNT"}
    assert {"CREATE DATABASE", "CREATE WAREHOUSE", "CREATE COMPUTE POOL"} <= held and "MANAGE GRANTS" not in held


def test_future_grants_reach_new_objects(team: Connection) -> None:
    cursor = team.cursor()
    schema = ".".join(cursor.execute("SELECT CURRENT_DATABASE(), CURRENT_SCHEMA()").fetchone())
    cursor.execute(f"GRANT SELECT ON FUTURE TABLES IN SCHEMA {schema} TO ROLE team")
    cursor.execute("CREATE TABLE later (a INT)")
    assert ("SELECT", "TEAM") in {(row[1], row[5]) for row in cursor.execute("SHOW GRANTS ON TABLE later").fetchall()}
    assert cursor.execute(f"SHOW FUTURE GRANTS IN SCHEMA {schema}").fetchall()[0][1:4] == ("SELECT", "TABLE", f"{schema}.<TABLE>")


@pytest.mark.parametrize("what", ["SCHEMA", "DATABASE"])
def test_future_grants_go_with_what_they_are_in(team: Connection, what: str) -> None:
    cursor = team.cursor()
    for text in ("CREATE OR REPLACE DATABASE fading", "CREATE SCHEMA fading.inner_one"):
        cursor.execute(text)
    cursor.execute("GRANT SELECT ON FUTURE TABLES IN SCHEMA fading.inner_one TO ROLE team")
    name = "fading.inner_one" if what == "SCHEMA" else "fading"
    cursor.execute(f"DROP {what} {name}")
    cursor.execute(f"CREATE {what} {name}")
    assert not [row for row in cursor.execute("SHOW FUTURE GRANTS TO ROLE team").fetchall() if "FADING" in str(row)]
    cursor.execute("DROP DATABASE fading")


def test_a_cycle_of_roles_is_refused(team: Connection) -> None:
    team.cursor().execute("CREATE OR REPLACE ROLE child")
    team.cursor().execute("GRANT ROLE child TO ROLE team")
    assert _refused(team, "GRANT ROLE team TO ROLE child")[1] == "42501"
