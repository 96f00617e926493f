"""Statements and queries over the wire: what they give, and how they fail."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import snowflake.connector

Connection = snowflake.connector.SnowflakeConnection

SETUP = (
    "CREATE TABLE t (a INT, b VARCHAR(10) DEFAULT 'x', v VARIANT, n NUMBER(10,2))",
    """INSERT INTO t SELECT 1, 'one', PARSE_JSON('{"s": "hello", "list": [5, 6], "Mixed": 3}'), 1.5""",
    "INSERT INTO t (a) VALUES (2), (3)",
)

QUERIES: list[tuple[str, Any, str]] = [
    ("SELECT COUNT(*), SUM(a) FROM t", [(3, 6)], "numbers arrive as numbers"),
    ("SELECT n FROM t WHERE a = 1", [(Decimal("1.50"),)], "a scale is kept"),
    ("SELECT b FROM t WHERE a = 2", [("x",)], "a default fills a column that INSERT leaves out"),
    ("SELECT v:s::VARCHAR, v:list[1]::INT, v:Mixed::INT FROM t WHERE a = 1", [("hello", 6, 3)], "paths keep their case"),
    ("SELECT a FROM t WHERE v:s = 'hello'", [(1,)], "a VARIANT compares with text"),
    ("SELECT v['list'][0]::INT, GET(v, 's')::STRING FROM t WHERE a = 1", [(5, "hello")], "brackets and GET"),
    ("SELECT SUM(f.value::INT) FROM t, LATERAL FLATTEN(input => v:list) f", [(11,)], "FLATTEN of an array"),
    (
        'SELECT v.value:containerName::VARCHAR FROM (SELECT PARSE_JSON(\'[{"containerName": "main"}]\') t), LATERAL FLATTEN(input => t) v',
        [("main",)],
        "the lab's query over a service's status",
    ),
    ("SELECT IFF(a > 2, 'big', 'small') FROM t ORDER BY a DESC LIMIT 1", [("big",)], "IFF"),
    ("SELECT TRY_PARSE_JSON('{bad') IS NULL", [(True,)], "TRY_PARSE_JSON gives NULL"),
    ("SELECT SHA2('a', 256)", [("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",)], "SHA2"),
    ("SELECT OBJECT_CONSTRUCT('k', 1, 'gone', NULL):k::INT", [(1,)], "OBJECT_CONSTRUCT drops NULL"),
    ("SELECT ARRAY_SIZE(ARRAY_AGG(a)) FROM t", [(3,)], "ARRAY_AGG is an array"),
    ("SELECT ARRAY_TO_STRING(ARRAY_CONSTRUCT('a', 'b'), '-')", [("a-b",)], "ARRAY_TO_STRING"),
    ("SELECT ARRAY_CONTAINS('a'::VARIANT, ARRAY_CONSTRUCT('a'))", [(True,)], "ARRAY_CONTAINS"),
    ("SELECT $2 FROM VALUES (1, 'a'), (2, 'b') WHERE $1 = 2", [("b",)], "columns by number"),
    ("WITH x AS (SELECT a FROM t WHERE a < 3) SELECT COUNT(*) FROM x", [(2,)], "a WITH query is no table"),
    ('SHOW TABLES ->> SELECT "name" FROM $1', [("T",)], "a chain reads what SHOW gave"),
    ("SELECT CURRENT_ROLE(), CURRENT_SCHEMA()", [("ACCOUNTADMIN", "PUBLIC")], "context functions"),
    ("SELECT table_name FROM information_schema.tables", [("T",)], "INFORMATION_SCHEMA"),
]


@pytest.fixture
def table(session: Connection) -> Connection:
    for statement in SETUP:
        session.cursor().execute(statement)
    return session


def test_queries_give_what_snowflake_gives(table: Connection) -> None:
    for statement, expected, reason in QUERIES:
        assert table.cursor().execute(statement).fetchall() == expected, f"{reason}: {statement}"


def test_columns_are_named_after_their_text(table: Connection) -> None:
    cursor = table.cursor().execute('SELECT a, a AS other, "A" "lower", COUNT(*), v:s::VARCHAR FROM t GROUP BY ALL')
    assert [d.name for d in cursor.description] == ["A", "OTHER", "lower", "COUNT(*)", "V:S::VARCHAR"]


FAILURES = [
    ("SELECT * FROM nope", 2003, "42S02", "a table that is not there"),
    ("SELECT nope FROM t", 904, "42000", "a column that is not there"),
    ("SELEC 1", 1003, "42000", "no statement"),
    ("SELECT FROM WHERE", 1003, "42000", "no query"),
    ("CREATE STAGE", 1003, "42000", "a name is missing"),
    ("SELECT no_such_function(1)", 1044, "42601", "an unknown function"),
    ("SELECT SYSTEM$NO_SUCH()", 1044, "42601", "an unknown system function"),
    ("SELECT 1 / 0", 100051, "22012", "division by zero"),
    ("SELECT 'abc'::INT", 100038, "22018", "text that is no number"),
    ("SELECT PARSE_JSON('{bad')", 100069, "22P02", "text that is no JSON"),
    ("INSERT INTO t SELECT 1", 2020, "21S01", "too few columns"),
    ("CREATE TABLE t (a INT)", 2002, "42710", "the name is taken"),
    ("DROP STAGE nope", 2003, "02000", "nothing to drop"),
    ("SHOW STAGES IN SCHEMA nope", 2043, "02000", "a scope that is not there"),
    ("USE WAREHOUSE nope", 2043, "02000", "no such warehouse"),
    ("CREATE WAREHOUSE w2 WAREHOUSE_SIZE = HUGE", 1422, "22023", "no such size"),
    ("CREATE WAREHOUSE w2 COLOUR = RED", 1420, "22023", "no such property"),
    ("CREATE SECRET s TYPE = GENERIC_STRING", 2029, "42601", "a value is missing"),
    ("CREATE OR REPLACE STAGE IF NOT EXISTS s", 1003, "42000", "the two exclude each other"),
    ("SELECT * FROM TABLE(RESULT_SCAN('no-such-id'))", 709, "02000", "a result that is not there"),
]


def test_failures_have_snowflakes_numbers(table: Connection) -> None:
    for statement, errno, sqlstate, reason in FAILURES:
        with pytest.raises(snowflake.connector.errors.Error) as caught:
            table.cursor().execute(statement)
        assert (caught.value.errno, caught.value.sqlstate) == (errno, sqlstate), f"{reason}: {statement}: {caught.value}"
        assert "duckdb" not in str(caught.value).lower(), statement


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("CREATE SEQUENCE numbers", "SEQUENCE"),
        ("create or replace sequence numbers start 1", "SEQUENCE"),
        ("ALTER SEQUENCE IF EXISTS numbers SET INCREMENT = 2", "SEQUENCE"),
        ("DROP SEQUENCE numbers", "SEQUENCE"),
        ("SHOW SHARES", "SHARES"),
        ("DESC SEQUENCE numbers", "SEQUENCE"),
        ("CREATE MATERIALIZED VIEW seen AS SELECT 1", "MATERIALIZED VIEW"),
        ("CREATE ROW ACCESS POLICY own AS (x VARCHAR) RETURNS BOOLEAN -> TRUE", "ROW ACCESS POLICY"),
        ("SHOW MASKING POLICIES", "MASKING POLICIES"),
        ("EXECUTE TASK nightly", "TASK"),
    ],
)
def test_a_kind_of_object_that_is_not_there_is_named(session: Connection, statement: str, kind: str) -> None:
    with pytest.raises(snowflake.connector.errors.ProgrammingError, match=f"Unsupported feature '{kind}'") as caught:
        session.cursor().execute(statement)
    assert (caught.value.errno, caught.value.sqlstate) == (2, "0A000")


def test_a_syntax_error_names_its_place(session: Connection) -> None:
    with pytest.raises(snowflake.connector.errors.ProgrammingError, match="line 2 at position 2 unexpected 'bogus'"):
        session.cursor().execute("CREATE STAGE s\n  bogus")


def test_dml_counts_its_rows(table: Connection) -> None:
    cursor = table.cursor()
    for statement, expected, count in (
        ("UPDATE t SET b = 'z' WHERE a > 1", [(2, 0)], 2),
        ("DELETE FROM t WHERE a = 3", [(1,)], 1),
        (
            "MERGE INTO t USING (SELECT 2 a, 'm' b UNION ALL SELECT 9, 'n') s ON t.a = s.a "
            "WHEN MATCHED THEN UPDATE SET b = s.b WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b)",
            [(1, 1)],
            2,
        ),
    ):
        found = cursor.execute(statement).fetchall()
        assert [row[: len(expected[0])] for row in found] == expected, statement
        assert cursor.rowcount == count, statement


def test_a_rollback_takes_rows_back_and_ddl_commits(table: Connection) -> None:
    cursor = table.cursor()
    cursor.execute("BEGIN")
    cursor.execute("INSERT INTO t (a) VALUES (100)")
    assert cursor.execute("SELECT COUNT(*) FROM t").fetchone() == (4,)
    cursor.execute("ROLLBACK")
    assert cursor.execute("SELECT COUNT(*) FROM t").fetchone() == (3,)
    cursor.execute("BEGIN")
    cursor.execute("DELETE FROM t")
    cursor.execute("CREATE TABLE other (x INT)")
    cursor.execute("ROLLBACK")
    assert cursor.execute("SELECT COUNT(*) FROM t").fetchone() == (0,)


def test_tables_change_shape(table: Connection) -> None:
    cursor = table.cursor()
    for statement in (
        "CREATE TABLE u AS SELECT a, COUNT(*) AS c FROM t GROUP BY a",
        "ALTER TABLE u ADD COLUMN note VARCHAR",
        "ALTER TABLE u RENAME COLUMN c TO amount",
        "ALTER TABLE u DROP COLUMN note",
        "COMMENT ON TABLE u IS 'hi'",
        "ALTER TABLE u SWAP WITH t",
        "CREATE VIEW w AS SELECT a FROM u",
        "ALTER TABLE t RENAME TO renamed",
    ):
        cursor.execute(statement)
    assert [r[0] for r in cursor.execute("DESCRIBE TABLE renamed").fetchall()] == ["A", "AMOUNT"]
    assert cursor.execute("SELECT COUNT(*) FROM w").fetchone() == (3,)
    assert {r[1]: r[5] for r in cursor.execute("SHOW TABLES").fetchall()} == {"RENAMED": "hi", "U": ""}


def test_the_change_token_moves_with_rows_only(table: Connection) -> None:
    def token() -> Any:
        return table.cursor().execute("SELECT SYSTEM$LAST_CHANGE_COMMIT_TIME('t')").fetchone()[0]

    first = token()
    table.cursor().execute("COMMENT ON TABLE t IS 'x'")
    assert token() == first
    table.cursor().execute("INSERT INTO t (a) VALUES (4)")
    assert token() > first


def test_a_query_on_a_table_needs_a_warehouse(table: Connection) -> None:
    cursor = table.cursor()
    cursor.execute("CREATE WAREHOUSE LAZY_WH INITIALLY_SUSPENDED = TRUE AUTO_RESUME = FALSE")
    with pytest.raises(snowflake.connector.errors.Error) as caught:
        cursor.execute("SELECT * FROM t")
    assert caught.value.errno == 606
    cursor.execute("ALTER WAREHOUSE LAZY_WH RESUME")
    with pytest.raises(snowflake.connector.errors.Error) as caught:
        cursor.execute("ALTER WAREHOUSE LAZY_WH RESUME")
    assert (caught.value.errno, caught.value.sqlstate) == (90063, "22000")
    cursor.execute("ALTER WAREHOUSE LAZY_WH RESUME IF SUSPENDED")
    assert cursor.execute("SELECT COUNT(*) FROM t").fetchone() == (3,)
    cursor.execute("ALTER WAREHOUSE LAZY_WH SUSPEND")
    with pytest.raises(snowflake.connector.errors.Error) as caught:
        cursor.execute("ALTER WAREHOUSE LAZY_WH SUSPEND")
    assert caught.value.errno == 90064
    cursor.execute("DROP WAREHOUSE LAZY_WH")
    assert cursor.execute("SHOW TABLES").fetchall(), "SHOW needs no warehouse"
    assert cursor.execute("SELECT 1").fetchone() == (1,), "nor does a constant"
    with pytest.raises(snowflake.connector.errors.Error) as caught:
        cursor.execute("SELECT * FROM t")
    assert (caught.value.errno, caught.value.sqlstate) == (606, "57P03")
