"""Every field of every simple kind, over the wire: set by its manifest, changed by hand, left to others, taken out again.

The rows come from the kinds' own tables of properties: a new property fails here until `kinds_cases` has a second value for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kinds_account import until
from kinds_cases import CASES, Case
from kinds_round_trip import Trip, told, trip

from controller.account.connections import Connection
from controller.kinds.properties import TableKind
from controller.kinds.registry import KINDS
from controller.reconcile.planning.change import Action, Block, Change, Plan

ROWS = [(case, path) for case in CASES for path in case.other]
IDS = [f"{case.kind}-{path}" for case, path in ROWS]


@pytest.mark.parametrize("kind", sorted({case.kind for case in CASES}))
def test_no_field_is_forgotten(kind: str) -> None:
    table = KINDS[kind]
    assert isinstance(table, TableKind)
    compared = {prop.path for prop in table.properties if prop.column is not None}
    assert compared == {path for case in CASES if case.kind == kind for path in case.other}


@pytest.fixture(scope="module")
def project(account: Connection) -> Iterator[Trip]:
    with trip(account) as one:
        one.by_hand(
            "CREATE SECURITY INTEGRATION IF NOT EXISTS AUTH2 TYPE = API_AUTHENTICATION AUTH_TYPE = OAUTH2 ENABLED = TRUE",
            "CREATE RESOURCE MONITOR IF NOT EXISTS LIMITS2",
        )
        yield one


@pytest.fixture
def made(project: Trip) -> Iterator[Trip]:
    yield project
    project.clear()


@pytest.mark.parametrize(("case", "path"), ROWS, ids=IDS)
def test_a_field(case: Case, path: str, made: Trip) -> None:
    def write(metadata: Mapping[str, Any] | None = None, **changes: Any) -> None:
        made.write([*case.needs, case.document(metadata, **changes)])

    def settle() -> None:
        plan = made.apply()
        assert plan.empty, told(plan)

    write()
    settle()
    if not case.prop(path).mutable:
        _refused_then_replaced(case, path, made)
        return

    _change_by_hand(case, path, made)
    write({"managementPolicy": "observe"})
    change = _only(made.apply(), case)
    assert path in {f.path for f in change.fields}, "seen in one look"
    assert (change.action, change.block, made.sent) == (Action.BLOCKED, Block.HELD, []), "only reported"
    write({"ignore": [path]})
    assert path not in {f.path for f in _only(made.plan(), case).fields}, "left to others"
    write()
    settle()
    assert (case.kind, path) in made.mended, "put back"

    write(**{path: case.other[path]})
    settle()
    assert (case.kind, path) in made.mended, "changed by the manifest"
    if path not in case.fixed:
        write(**{path: None})
        settle()


def _change_by_hand(case: Case, path: str, made: Trip) -> None:
    prop = case.prop(path)
    (obj,) = (o for o in _graph_of(made, case.document(**{path: case.other[path]}), case) if o.key.name.name.text == "THING")
    value = prop.value(obj)
    actions = case.by_hand.get(path) or (prop.action(value) if prop.action is not None else f"SET {prop.clause_for(value)}",)
    if path == "type":
        actions = ("SUSPEND", *actions)
    for action in actions:
        made.by_hand(f"ALTER {case.table.what} {obj.key.name.sql} {action}")
        if action == "SUSPEND" and case.kind == "ComputePool":
            until(lambda: made.by_hand("SHOW COMPUTE POOLS LIKE 'THING'")[0]["state"] == "SUSPENDED")


def _graph_of(made: Trip, document: Mapping[str, Any], case: Case) -> Any:
    kept = (made.folder / "objects.yaml").read_text()
    made.write([*case.needs, document])
    graph = made.plan().graph
    (made.folder / "objects.yaml").write_text(kept)
    return graph


def _refused_then_replaced(case: Case, path: str, made: Trip) -> None:
    other = case.other[path]
    changes = other if isinstance(other, dict) else {path: other}
    made.write([*case.needs, case.document(**changes)])
    change = _only(made.apply(until=lambda plan: True), case)
    assert (change.action, change.block, made.sent) == (Action.BLOCKED, Block.STALLED, []), "never dropped silently"
    assert path in change.reason
    assert "put the old" in change.reason, "the way out is told"
    made.write([*case.needs, case.document({"replace": "allowed", "deletionPolicy": "delete"}, **changes)])
    assert _only(made.plan(), case).action is Action.REPLACE
    plan = made.apply()
    assert plan.empty, told(plan)


def _only(plan: Plan, case: Case) -> Change:
    (change,) = (c for c in plan.changes if c.key.kind == case.kind and c.key.name.name.text == "THING")
    return change
