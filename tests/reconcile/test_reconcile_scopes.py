"""Answers about a schema that stand in the one about the account, and DESCRIBEs that nobody need wait for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from controller.account.reader import SHOW_LIMIT
from controller.account.snapshot import Describe, Missing, Read, Row, Show
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.reconcile.look.deep import DeepReads
from controller.reconcile.look.scopes import derived, put_off

ACCOUNT, ONE, TWO = Show("STAGES", "ACCOUNT"), Show("STAGES", "SCHEMA DB.ONE"), Show("STAGES", 'SCHEMA DB."two"')


def row(schema: str, name: str = "A") -> Row:
    return {"name": name, "database_name": "DB", "schema_name": schema}


@pytest.mark.parametrize(
    ("answer", "wanted", "reason"),
    [
        ((row("ONE"), row("two"), row("ONE", "B")), {ONE: (row("ONE"), row("ONE", "B")), TWO: (row("two"),)}, "each schema its rows"),
        ((row("ONE"),), {ONE: (row("ONE"),)}, "nothing of a schema may mean that it is missing: it is asked for"),
        ((row("TWO"),), {}, "a quoted name keeps its case"),
        (Missing("no right"), {}, "no answer holds none"),
        ((row("ONE"),) * SHOW_LIMIT, {}, "a listing that may have been cut is no answer for its parts"),
        (({"name": "A"},), {}, "a listing without the columns is none either"),
    ],
)
def test_what_an_account_wide_answer_tells(answer: tuple[Row, ...] | Missing, wanted: dict[Read, object], reason: str) -> None:
    assert derived([ONE, TWO, Show("GRANTS", "SCHEMA DB.ONE")], {ACCOUNT: answer}) == wanted, reason


SCHEMAS = Show("SCHEMAS", "DATABASE DB")


@pytest.mark.parametrize(
    ("schemas", "missing", "reason"),
    [
        (({"name": "ONE"}, {"name": "two"}), [], "both are there, and may be empty or not to be seen"),
        (({"name": "ONE"}, {"name": "TWO"}), [TWO], "a quoted name keeps its case"),
        ((), [ONE, TWO], "neither is there"),
        (Missing("no database"), [ONE, TWO], "nothing is in a database that cannot be seen"),
        (({"name": "OTHER"},) * SHOW_LIMIT, [], "a listing that may have been cut"),
    ],
)
def test_nothing_is_asked_of_a_schema_that_is_not_there(schemas: tuple[Row, ...] | Missing, missing: list[Read], reason: str) -> None:
    found = derived([ONE, TWO], {ACCOUNT: (), SCHEMAS: schemas})
    assert list(found) == missing and all(isinstance(answer, Missing) for answer in found.values()), reason


def test_only_what_is_asked_more_widely_is_put_off() -> None:
    pools = Show("IMAGE REPOSITORIES", "SCHEMA DB.ONE")
    assert put_off([ONE, ACCOUNT, pools]) == [ONE]


KEYS = [ObjectKey("NetworkRule", QualifiedName.parse(f"db.s.r{n}")) for n in range(30)]
WANTED = {key: (Describe("NETWORK RULE", key.name.sql),) for key in KEYS}


class Account:
    """Answers DESCRIBEs and remembers them."""

    def __init__(self) -> None:
        self.asked: list[Read] = []

    def __call__(self, questions: Iterable[Read]) -> dict[Read, tuple[Row, ...] | Missing]:
        asked = list(questions)
        self.asked += asked
        return dict.fromkeys(asked, ())


def test_nobody_waits_for_the_details_of_what_was_just_changed() -> None:
    account, deep = Account(), DeepReads(budget=20)
    stamps = dict.fromkeys(KEYS, "a")
    for key in KEYS[:25]:
        deep.forget(key, done=True)
    deep.look(WANTED, stamps, account, full=False)
    assert account.asked == [WANTED[key][0] for key in KEYS[25:]], "a look that waits asks only for what somebody waits for"
    assert deep.unread == 0
    deep.look(WANTED, stamps, account, full=True)
    assert account.asked[5:] == [WANTED[key][0] for key in KEYS[:20]], "a full look reads them, before what was read already"
    deep.look(WANTED, stamps, account, full=True)
    assert {q for key in KEYS for q in WANTED[key]} == set(account.asked), "so all are read in the end"


def test_what_failed_or_was_moved_by_others_is_waited_for() -> None:
    account, deep = Account(), DeepReads(budget=20)
    deep.forget(KEYS[0], done=True)
    deep.forget(KEYS[0])
    deep.look(WANTED, dict.fromkeys(KEYS, "a"), account, full=False)
    assert deep.unread == 10, "a change that failed half-way has to be looked at"
    deep.look(WANTED, dict.fromkeys(KEYS, "a"), account, full=False)
    assert deep.unread == 0
    account.asked.clear()
    deep.look(WANTED, {**dict.fromkeys(KEYS, "a"), KEYS[7]: "b"}, account, full=False)
    assert account.asked == [WANTED[KEYS[7]][0]], "a row that moved is read at once"
