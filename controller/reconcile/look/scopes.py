"""Answers about one schema taken from the answer about the whole account, which a full look asks for anyway to find leftovers.

So a full look of a project with many schemas sends one SHOW for a kind, and each row is read once. Only a listing that cannot have been cut
is used, and only where it has something of the schema: nothing may also mean that it is missing or may not be seen. That a schema is
missing its database's own listing tells; else a question of its own must.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from controller.account.reader import SHOW_LIMIT
from controller.account.snapshot import Missing, Read, Row, Show
from controller.api.names import QualifiedName

Answer = tuple[Row, ...] | Missing
_SCHEMA = "SCHEMA "
_ACCOUNT = "ACCOUNT"


def whole(question: Read) -> Show | None:
    """The question about the account that has the answer to one about a schema in it."""
    if isinstance(question, Show) and question.scope.startswith(_SCHEMA) and not question.what.startswith("GRANTS"):
        return Show(question.what, _ACCOUNT)
    return None


def put_off(questions: Collection[Read]) -> list[Read]:
    """Those that are asked for anyway in a wider scope: they can wait for its answer."""
    return [question for question in questions if whole(question) in questions]


def derived(questions: Iterable[Read], answers: Mapping[Read, Answer]) -> dict[Read, Answer]:
    """The answers that stand in wider ones."""
    rows_of: dict[Show, dict[tuple[str, str], list[Row]]] = {}
    found: dict[Read, Answer] = {}
    for question in questions:
        wide = whole(question)
        answer = answers.get(wide) if wide is not None else None
        if wide is None or not isinstance(question, Show) or not isinstance(answer, tuple) or len(answer) >= SHOW_LIMIT:
            continue
        if wide not in rows_of:
            rows_of[wide] = _by_schema(answer)
        schema = QualifiedName.parse(question.scope.removeprefix(_SCHEMA))
        if len(schema.parts) != 2:
            continue
        rows = rows_of[wide].get((schema.texts[0], schema.texts[1]))
        gone = _gone(schema, answers)
        if rows:
            found[question] = tuple(rows)
        elif gone is not None:
            found[question] = gone
    return found


def _gone(schema: QualifiedName, answers: Mapping[Read, Answer]) -> Missing | None:
    """What any question about a schema answers that is not there, if the listing of its database says so."""
    listing = answers.get(Show("SCHEMAS", f"DATABASE {schema.parts[0].sql}"))
    if listing is None or isinstance(listing, Missing):
        return listing
    listed = len(listing) >= SHOW_LIMIT or any(row.get("name") == schema.texts[1] for row in listing)
    return None if listed else Missing(f"schema {schema.sql} does not exist or not authorized")


def _by_schema(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((str(row.get("database_name")), str(row.get("schema_name"))), []).append(row)
    return found
