"""Rows out of values: FLATTEN in order, GENERATOR, columns by number."""

from __future__ import annotations

from typing import Any

import pytest
import snowflake.connector

Connection = snowflake.connector.SnowflakeConnection

SETUP = (
    "CREATE TABLE t (id INT, a VARIANT)",
    """INSERT INTO t SELECT 1, PARSE_JSON('[1,2,3]') UNION ALL SELECT 2, PARSE_JSON('[]')
       UNION ALL SELECT 3, PARSE_JSON('{"x":1,"y":2}')""",
)
_ALL = [(1, 0, None, "1"), (1, 1, None, "2"), (1, 2, None, "3"), (3, None, "x", "1"), (3, None, "y", "2")]
_OUTER = [*_ALL[:3], (2, None, None, None), *_ALL[3:]]
_SHOWN = "t.id, f.index, f.key, f.value"

QUERIES: list[tuple[str, list[Any], str]] = [
    (f"SELECT {_SHOWN} FROM t, LATERAL FLATTEN(input => t.a) f", _ALL, "items in order, rows in order"),
    (f"SELECT {_SHOWN} FROM t, TABLE(FLATTEN(t.a)) f", _ALL, "as a table function"),
    (f"SELECT {_SHOWN} FROM t, LATERAL FLATTEN(input => t.a, outer => TRUE) f", _OUTER, "OUTER keeps a row without items"),
    (f"SELECT {_SHOWN} FROM t LEFT JOIN LATERAL FLATTEN(t.a) f", _OUTER, "so does a LEFT JOIN"),
    (f"SELECT {_SHOWN} FROM t, LATERAL FLATTEN(t.a) f WHERE t.id = 1", _ALL[:3], "with a filter on the source"),
    (f"SELECT {_SHOWN} FROM t, LATERAL FLATTEN(t.a) f WHERE f.value > 1", [_ALL[1], _ALL[2], _ALL[4]], "with a filter on the items"),
    (f"SELECT {_SHOWN} FROM t, LATERAL FLATTEN(t.a) f ORDER BY t.id DESC, f.value DESC LIMIT 1", _ALL[4:], "an order of its own"),
    ("SELECT x.id, f.value FROM (SELECT id, a FROM t) x, LATERAL FLATTEN(x.a) f WHERE id = 3", [(3, "1"), (3, "2")], "a subquery"),
    ("WITH q AS (SELECT * FROM t) SELECT f.value FROM q, LATERAL FLATTEN(q.a) f WHERE q.id < 3", [("1",), ("2",), ("3",)], "WITH"),
    ("SELECT COUNT(*), SUM(f.value::INT) FROM t, LATERAL FLATTEN(t.a) f", [(5, 9)], "an aggregate"),
    ("SELECT * FROM TABLE(FLATTEN(PARSE_JSON('[7]')))", [(1, None, "[0]", 0, "7", "[\n  7\n]")], "all columns, of a constant"),
    (
        "SELECT f.* FROM t, LATERAL FLATTEN(t.a) f WHERE t.id = 3 AND f.key = 'y'",
        [(1, "y", "y", None, "2", '{\n  "x": 1,\n  "y": 2\n}')],
        "f.*",
    ),
    ("SELECT * EXCLUDE a FROM (SELECT t.id, f.index, a FROM t, LATERAL FLATTEN(t.a) f) WHERE id = 1", [(1, 0), (1, 1), (1, 2)], "inside"),
    ("SELECT g.value FROM TABLE(FLATTEN(PARSE_JSON('[[1,2],[3]]'))) f, LATERAL FLATTEN(f.value) g", [("1",), ("2",), ("3",)], "chained"),
    ('SELECT value:x::INT FROM TABLE(FLATTEN(PARSE_JSON(\'{"k":[{"x":1},{"x":2}]}\'), path => \'k\'))', [(1,), (2,)], "PATH"),
    ('SELECT v.value:n::INT FROM (SELECT PARSE_JSON(\'[{"n":1},{"n":2}]\')) s, LATERAL FLATTEN(s.$1) v', [(1,), (2,)], "by number"),
    ("SELECT x.$2, x.$1 + 1 FROM (SELECT 1, 'b') x", [("b", 2)], "columns by number"),
    ("SELECT SEQ4() AS n FROM TABLE(GENERATOR(ROWCOUNT => 3))", [(0,), (1,), (2,)], "a generator"),
    ("SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 1000)) g", [(1000,)], "a generator with a name"),
]


@pytest.fixture
def table(session: Connection) -> Connection:
    for statement in SETUP:
        session.cursor().execute(statement)
    return session


def test_rows(table: Connection) -> None:
    for statement, expected, reason in QUERIES:
        assert table.cursor().execute(statement).fetchall() == expected, reason


def test_many_rows_keep_their_order(session: Connection) -> None:
    cursor = session.cursor()
    cursor.execute("CREATE TABLE big AS SELECT SEQ4() AS id, PARSE_JSON('[0, 1, 2]') AS a FROM TABLE(GENERATOR(ROWCOUNT => 5000))")
    found = cursor.execute("SELECT big.id, f.index, f.value FROM big, LATERAL FLATTEN(big.a) f").fetchall()
    assert found == [(i, n, str(n)) for i in range(5000) for n in range(3)]
    assert len(cursor.execute("SELECT * FROM big, LATERAL FLATTEN(big.a) f LIMIT 1").fetchone()) == 8, "no column but those of both"
