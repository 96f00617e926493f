"""Simple kinds: the columns of SHOW and DESCRIBE, their NULLs, and what clients send."""

from __future__ import annotations

import pytest
import snowflake.connector

Connection = snowflake.connector.SnowflakeConnection

CREATES = (
    "CREATE STAGE st DIRECTORY = ( ENABLE = true ) ENCRYPTION = ( TYPE = 'SNOWFLAKE_SSE' )",
    "CREATE SECRET se TYPE = PASSWORD USERNAME = 'me' PASSWORD = 'pw'",
    "CREATE NETWORK RULE ru TYPE = HOST_PORT MODE = EGRESS VALUE_LIST = ('huggingface.co', 'cdn-lfs.hf.co:443')",
    "CREATE OR REPLACE EXTERNAL ACCESS INTEGRATION ea ALLOWED_NETWORK_RULES = (ru) ALLOWED_AUTHENTICATION_SECRETS = (se) ENABLED = TRUE",
)
SHOWN = {
    "SHOW STAGES": "created_on name database_name schema_name url has_credentials has_encryption_key owner comment region type cloud "
    "notification_channel storage_integration endpoint owner_role_type directory_enabled",
    "SHOW SECRETS": "created_on name schema_name database_name owner comment secret_type oauth_scopes owner_role_type",
    "DESC SECRET se": "created_on name schema_name database_name owner comment secret_type username oauth_access_token_expiry_time "
    "oauth_refresh_token_expiry_time oauth_scopes integration_name",
    "SHOW NETWORK RULES": "created_on name database_name schema_name owner comment type mode entries_in_valuelist owner_role_type",
    "DESC NETWORK RULE ru": "created_on name database_name schema_name owner comment type mode value_list",
    "SHOW EXTERNAL ACCESS INTEGRATIONS": "name type category enabled comment created_on",
    "DESC INTEGRATION ea": "property property_type property_value property_default",
    "SHOW ROLES": "created_on name is_default is_current is_inherited assigned_to_users granted_to_roles granted_roles owner comment",
    "SHOW GRANTS TO ROLE SYSADMIN": "created_on privilege granted_on name granted_to grantee_name grant_option granted_by",
}


@pytest.fixture
def objects(session: Connection) -> Connection:
    for statement in CREATES:
        session.cursor().execute(statement)
    return session


def test_columns_stand_in_the_documented_order(objects: Connection) -> None:
    for statement, names in SHOWN.items():
        cursor = objects.cursor().execute(statement)
        assert [d.name for d in cursor.description] == names.split(), statement


def test_values(objects: Connection) -> None:
    def row(statement: str) -> dict[str, object]:
        found: dict[str, object] = objects.cursor(snowflake.connector.DictCursor).execute(statement).fetchone()
        return found

    assert row("DESC NETWORK RULE ru")["value_list"] == "huggingface.co,cdn-lfs.hf.co:443"
    assert row("DESC SECRET se")["username"] == "me"
    assert "pw" not in str(row("DESC SECRET se")) + str(row("SHOW SECRETS"))
    assert row("SHOW STAGES")["directory_enabled"] == "Y"
    assert (row("SHOW STAGES")["comment"], row("SHOW SECRETS")["comment"]) == ("", None)
    warehouse = row("SHOW WAREHOUSES LIKE 'test_wh'")
    assert (warehouse["size"], warehouse["auto_resume"], warehouse["resource_monitor"]) == ("X-Small", "true", "null")


def test_show_filters(session: Connection) -> None:
    cursor = session.cursor()
    for name in ("A_1", "A_2", "AB2", "B1"):
        cursor.execute(f"CREATE STAGE {name}")
    for clause, expected, reason in (
        ("LIKE 'a%'", ["AB2", "A_1", "A_2"], "any case"),
        ("LIKE 'a\\\\_%'", ["A_1", "A_2"], "an escaped wildcard"),
        ("STARTS WITH 'A_'", ["A_1", "A_2"], "letter for letter"),
        ("STARTS WITH 'a_'", [], "letter for letter, case too"),
        ("LIMIT 2", ["AB2", "A_1"], "the first in name order"),
        ("LIMIT 2 FROM 'A_1'", ["A_2", "B1"], "those behind a name"),
        ("LIKE '%' IN SCHEMA PUBLIC LIMIT 1", ["AB2"], "a scope"),
    ):
        assert [row[1] for row in cursor.execute(f"SHOW STAGES {clause}").fetchall()] == expected, reason


def test_one_ingress_integration_only(session: Connection) -> None:
    cursor = session.cursor()
    create = "CREATE SECURITY INTEGRATION IF NOT EXISTS {} TYPE = oauth OAUTH_CLIENT = snowservices_ingress ENABLED = true"
    cursor.execute(create.format("ingress_one"))
    cursor.execute(create.format("ingress_one"))
    with pytest.raises(snowflake.connector.errors.Error) as caught:
        cursor.execute(create.format("ingress_two"))
    assert caught.value.errno == 390950
    assert cursor.execute("SHOW SECURITY INTEGRATIONS").fetchall()[0][:4] == (
        "INGRESS_ONE",
        "OAUTH - SNOWSERVICES_INGRESS",
        "SECURITY",
        "true",
    )
    cursor.execute("DROP SECURITY INTEGRATION ingress_one")


CLIENTS = (
    "show stages like '%%'",
    "SHOW STAGES IN ACCOUNT",
    "SHOW ROLES LIKE '%\\\\_\\\\_S\\\\_ROLE'",
    "CREATE SCHEMA \"S1\" WITH MANAGED ACCESS COMMENT = 'hi'",
    "CREATE STAGE IF NOT EXISTS S1.ST directory = (ENABLE = FALSE)",
    "alter session set query_tag = 'x', autocommit = true",
    "SELECT SYSTEM$CLIENT_VERSION_INFO()",
    "describe stage IDENTIFIER('S1.ST')",
    "drop stage IDENTIFIER('S1.ST')",
    "show parameters like 'QUERY_RESULT%' in session",
    "USE SECONDARY ROLES NONE",
    "USE SCHEMA snowflake_sample_data.tpch_sf1",
    "show terse schemas in database snowflake_sample_data",
)


def test_what_real_clients_send(session: Connection) -> None:
    for statement in CLIENTS:
        session.cursor().execute(statement)


def test_dropping_a_database_takes_its_contents(session: Connection) -> None:
    cursor = session.cursor()
    cursor.execute("CREATE DATABASE doomed")
    for statement in ("CREATE TABLE t (a INT)", "CREATE STAGE s", "CREATE SCHEMA inner_one", "CREATE TABLE t (a INT)"):
        cursor.execute(statement)
    cursor.execute("DROP DATABASE doomed")
    cursor.execute("CREATE DATABASE doomed")
    assert cursor.execute("SHOW TABLES IN DATABASE doomed").fetchall() == []
    assert cursor.execute("SHOW STAGES IN DATABASE doomed").fetchall() == []
    cursor.execute("DROP DATABASE doomed")


def test_a_renamed_database_keeps_what_is_inside(session: Connection) -> None:
    cursor = session.cursor()
    database = cursor.execute("SELECT CURRENT_DATABASE()").fetchone()[0]
    cursor.execute("CREATE TABLE t AS SELECT 7 AS a")
    cursor.execute("CREATE ROLE IF NOT EXISTS rename_reader")
    cursor.execute("GRANT SELECT ON TABLE t TO ROLE rename_reader")
    cursor.execute("ALTER SCHEMA public RENAME TO other")
    cursor.execute(f"ALTER DATABASE {database} RENAME TO {database}_new")
    try:
        assert cursor.execute("SELECT a FROM t").fetchall() == [(7,)], "the session follows"
        assert cursor.execute(f"SELECT a FROM {database}_new.other.t").fetchall() == [(7,)]
        granted = cursor.execute("SHOW GRANTS TO ROLE rename_reader").fetchall()
        assert any(f"{database}_NEW.OTHER.T" in row for row in granted)
        with pytest.raises(snowflake.connector.errors.Error):
            cursor.execute(f"SELECT a FROM {database}.public.t")
    finally:
        cursor.execute(f"DROP DATABASE {database}_new")
