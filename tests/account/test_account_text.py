"""SQL text from values, and text without secrets."""

from __future__ import annotations

import re

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from controller.account import statements as sql
from controller.account.counters import Counters, StatementClass, class_of_statement
from controller.account.driver import OperationalError
from controller.account.driver_errors import from_driver
from controller.account.errors import AlreadyExists, Denied, LoginFailed, NotFound, NoWarehouse, Rejected, Transient, class_of
from controller.account.redact import HIDDEN, Redactor
from controller.api.names import Identifier, QualifiedName

PUT_OPTIONS = "AUTO_COMPRESS = FALSE OVERWRITE = TRUE PARALLEL = 4"
NAME = QualifiedName.parse('db."Odd name".thing')
ANY_TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"))


@given(ANY_TEXT)
def test_a_text_survives_its_quotes(value: str) -> None:
    (token,) = sqlglot.tokenize(sql.text(value), read="snowflake")
    assert token.text == value or _unescaped(sql.text(value)) == value


def _unescaped(constant: str) -> str:
    """Snowflake's own reading of a constant: `''` is a quote, `\\\\` a backslash."""
    assert constant[0] == constant[-1] == "'"
    out, rest = "", constant[1:-1]
    while rest:
        assert not rest.startswith("'") or rest.startswith("''"), "a quote that ends the constant early"
        out, rest = (out + rest[1], rest[2:]) if rest[0] in "'\\" else (out + rest[0], rest[1:])
    return out


@given(ANY_TEXT)
def test_no_text_leaves_its_constant(value: str) -> None:
    assert _unescaped(sql.text(value)) == value


@given(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=40))
def test_a_name_is_one_name(written: str) -> None:
    tokens = sqlglot.tokenize(Identifier(written).sql, read="snowflake")
    assert len(tokens) == 1


REFUSED = [
    (sql.text, "a\0b"),
    (sql.dollar, "a $$ b"),
    (sql.dollar, "ends with $"),
    (sql.word, "GPU; DROP TABLE x"),
    (sql.word, ""),
    (sql.privilege, "USAGE ON ACCOUNT; --"),
    (sql.privilege, "'x'"),
]


@pytest.mark.parametrize(("render", "value"), REFUSED)
def test_what_cannot_stand_in_a_statement_is_refused(render: object, value: str) -> None:
    with pytest.raises(sql.NotSql):
        render(value)  # type: ignore[operator]


STATEMENTS = [
    (sql.create("STAGE", NAME, ["A = 1", "B = 2"]), 'CREATE STAGE DB."Odd name".THING\n  A = 1\n  B = 2'),
    (sql.create("ROLE", NAME, if_not_exists=True), 'CREATE ROLE IF NOT EXISTS DB."Odd name".THING'),
    (sql.alter_unset("SERVICE", NAME, ["A", "B"]), 'ALTER SERVICE DB."Odd name".THING UNSET A, B'),
    (sql.alter_set("SERVICE", NAME, ["A = 1", "B = 2"]), 'ALTER SERVICE DB."Odd name".THING SET A = 1 B = 2'),
    (
        sql.grant(["usage", "create  stage"], sql.on_object("schema", NAME), Identifier("R")),
        'GRANT USAGE, CREATE STAGE ON SCHEMA DB."Odd name".THING TO ROLE R',
    ),
    (sql.revoke(["x"], sql.on_account(), Identifier("r")), 'REVOKE X ON ACCOUNT FROM ROLE "r"'),
    (sql.put("/tmp/it's.txt", NAME, "/a/"), f"PUT 'file:///tmp/it''s.txt' '@DB.\"Odd name\".THING/a' {PUT_OPTIONS}"),
    (sql.get(NAME, "a/b", "/tmp/x"), "GET '@DB.\"Odd name\".THING/a/b' 'file:///tmp/x/' PARALLEL = 4"),
    (sql.comment("FUNCTION", NAME, "it's"), "COMMENT ON FUNCTION DB.\"Odd name\".THING IS 'it''s'"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "expected"), STATEMENTS)
def test_statements(made: str, expected: str) -> None:
    assert made == expected


CLASSES = [
    *((errno, NotFound) for errno in (2003, 2043)),
    *((errno, AlreadyExists) for errno in (2002, 1998, 3041)),
    *((errno, Denied) for errno in (3001, 3011, 3013)),
    *((errno, LoginFailed) for errno in (390100, 390144, 390189, 390318, 394304, 394400)),
    *((errno, Transient) for errno in (390112, 390114, 250001, 604, 630, 290503, 290429)),
    *((errno, Rejected) for errno in (290403, 1003, 395018, 424242, None)),
    (606, NoWarehouse),
]


@pytest.mark.parametrize(("errno", "expected"), CLASSES)
def test_classes_of_errors(errno: int | None, expected: type[Exception]) -> None:
    assert class_of(errno) is expected


KINDS_OF_STATEMENT = [
    ("show services in account", StatementClass.SHOW),
    ("  desc pool x", StatementClass.DESCRIBE),
    ("ALTER SESSION SET A = 1", StatementClass.SESSION),
    ("ALTER STAGE x SET A = 1", StatementClass.DDL),
    ("GRANT USAGE ON x TO ROLE y", StatementClass.GRANT),
    ("put file://x @y", StatementClass.FILES),
    ("COPY INTO t FROM @s", StatementClass.DML),
    ("with a as (select 1) select * from a", StatementClass.SELECT),
    ("EXECUTE JOB SERVICE IN COMPUTE POOL p", StatementClass.CALL),
    ("", StatementClass.OTHER),
]


@pytest.mark.parametrize(("text", "expected"), KINDS_OF_STATEMENT)
def test_classes_of_statements(text: str, expected: StatementClass) -> None:
    assert class_of_statement(text) is expected


def test_counts_add_up_in_the_pool_s_and_tell_a_warehouse() -> None:
    pool = Counters()
    one, two = pool.child(), pool.child()
    one.add("SHOW ROLES")
    two.with_warehouse = True
    two.add("SELECT 1")
    assert (pool.total, pool.in_warehouse, one.in_warehouse) == (2, 1, 0)
    assert pool.by_class == {StatementClass.SHOW: 1, StatementClass.SELECT: 1}


@given(st.text(st.characters(blacklist_categories=("Cs",)), min_size=4, max_size=30), ANY_TEXT, ANY_TEXT)
def test_a_known_value_never_comes_through(secret: str, before: str, after: str) -> None:
    redact = Redactor()
    redact.learn([secret])
    shown = redact(before + "\n" + secret + "\n" + after)
    assert secret not in shown or secret in HIDDEN


SHAPES = [
    "hf_" + "a1B2" * 8,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_well_known_tokens_are_hidden_untold(shape: str) -> None:
    assert shape not in Redactor()(f"error near {shape}: no")


def test_values_in_statements_are_hidden_untold() -> None:
    shown = Redactor()("ALTER SECRET x SET SECRET_STRING = 'it''s \\' mine' COMMENT = 'kept'")
    assert shown == f"ALTER SECRET x SET SECRET_STRING = '{HIDDEN}' COMMENT = 'kept'"


def test_short_values_would_hide_ordinary_words() -> None:
    redact = Redactor()
    redact.learn(["a", "", None])
    assert redact("a banana") == "a banana"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://b.s3.amazonaws.com/a/f?X-Amz-Credential=AK&X-Amz-Signature=5f", "GET https://b.s3.amazonaws.com/a/f?********"),
        ("'https://x.blob.core.windows.net/c/f?sv=2&sig=abc%3D' failed", "'https://x.blob.core.windows.net/c/f?********' failed"),
        ("see https://example.com/page?id=4&lang=en", "see https://example.com/page?id=4&lang=en"),
    ],
)
def test_signed_addresses_lose_what_signs_them(text: str, shown: str) -> None:
    assert Redactor()(text) == shown


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        ("PUT with url http://h:1/_stage/1?signature=5f failed for exceeding maximum retries.", "h:1, did not take the file"),
        ("HTTPError('403 Client Error: Forbidden for url: https://b.s3.aws.com/f?X-Amz-Signature=5f')", "b.s3.aws.com, answered HTTP 403"),
        ("no room", "did not take the file (no room)"),
    ],
)
def test_an_upload_that_fails_is_told_without_its_address(cause: str, says: str) -> None:
    text = f"While putting file(s) there was an error: '{cause}', this might be caused by your access to the blob storage provider."
    found = from_driver(OperationalError(msg=text), "PUT …")
    assert isinstance(found, Transient) and says in found.message
    assert not re.search("ignature|5f|url|putting", found.message)
