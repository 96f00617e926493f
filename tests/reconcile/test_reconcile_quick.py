"""What was just saved goes first, and a plan is kept only as long as all that it was made from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from reconcile_live import Live, eventually
from reconcile_world import write

from controller.account.errors import Transient
from controller.account.snapshot import Show, Snapshot
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.kinds.base import View
from controller.kinds.registry import KINDS
from controller.manifests.watch import Watcher
from controller.reconcile.clock import Timing
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import Loaded, loader
from controller.reconcile.look.quick import MOST, simple
from controller.reconcile.loop import Reconciler
from controller.reconcile.report import Report
from controller.reconcile.state import State

PROJECT = "apiVersion: snowcat/v1\nkind: Project\nproject: p\nrole: r\n"
WAREHOUSE = "kind: Warehouse\nmetadata: {name: wh_@}\nspec: {autoSuspend: 60}\n"
OTHER = "kind: Warehouse\nmetadata: {name: other_@}\nspec: {autoSuspend: 60}\n"


class HeldEngine(Engine):
    """An engine whose looks wait while `free` is not set; glances do not."""

    free: threading.Event
    let_pass: int = 0  # looks that do not wait
    begun: int = 0

    def look(self, loaded: Loaded, *, full: bool = True, dropping: bool = False) -> View:
        self.begun += 1
        assert self.begun <= self.let_pass or self.free.wait(60)
        return super().look(loaded, full=full, dropping=dropping)


@pytest.fixture
def held(live: Live, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Whether the daemon's full looks go on."""
    free = threading.Event()
    free.set()

    def engine() -> Engine:
        made = HeldEngine(loader(live.folder), live.kinds, live.state, live.pool, account="local", local=True)
        made.free = free
        return made

    monkeypatch.setattr(live, "engine", engine)
    return free


def suspend_after(live: Live, name: str) -> object:
    return (live.row("WAREHOUSES", name) or {}).get("auto_suspend")


def test_a_saved_change_does_not_wait_for_the_look_at_everything(live: Live, held: threading.Event) -> None:
    live.write(a=WAREHOUSE, b=OTHER)
    live.apply()
    live.reports.clear()
    with live.daemon() as loop:
        watcher = Watcher([live.folder], loop.files_changed)
        watcher.start()
        try:
            eventually(lambda: live.reports and live.reports[-1].ready, "the project was ready before")
            held.clear()
            live.by_hand("ALTER WAREHOUSE other_@ SET AUTO_SUSPEND = 7")
            live.write(a=WAREHOUSE.replace("60", "120"))
            eventually(lambda: suspend_after(live, "wh_@") == 120, "the saved field is set while the full look is held up")
            assert suspend_after(live, "other_@") == 7, "and nothing else is touched before the account was looked at"
        finally:
            held.set()
            watcher.stop()
        eventually(lambda: suspend_after(live, "other_@") == 60, "the full look follows")
        eventually(lambda: ("Warehouse/WH_@", "Updated") in live.happened(), "the work is in the history")
    assert live.happened().count(("Warehouse/WH_@", "ManifestChanged")) == 1, "told once"


def test_a_file_that_is_saved_during_a_look_does_not_wait_for_it(live: Live, held: threading.Event) -> None:
    live.write(a=WAREHOUSE, b=OTHER)
    live.apply()
    live.reports.clear()
    with live.daemon() as loop:
        eventually(lambda: live.reports and live.reports[-1].ready, "the project was ready before")
        held.clear()
        looks, reports = begun(loop), len(live.reports)
        loop.files_changed()
        eventually(lambda: begun(loop) > looks, "a look is under way")
        live.write(a=WAREHOUSE.replace("60", "120"))
        loop.files_changed()
        eventually(lambda: suspend_after(live, "wh_@") == 120, "the saved field is set during the look")
        live.write(b=OTHER.replace("60", "90"))
        loop.files_changed()
        eventually(lambda: suspend_after(live, "other_@") == 90, "and another one")
        assert begun(loop) == looks + 1, "it is still the same look"
        held.set()
        eventually(lambda: len(live.reports) > reports and live.reports[-1].ready, "the files are looked at as they are now")
        eventually(lambda: ("Warehouse/OTHER_@", "Updated") in live.happened(), "the work is in the history")
    assert (suspend_after(live, "wh_@"), suspend_after(live, "other_@")) == (120, 90), "the look with the older files sets nothing back"
    assert [reason for _, reason in live.happened()].count("ManifestChanged") == 2, "each told once"
    assert not [reason for _, reason in live.happened() if reason == "Drifted"]


def test_a_chain_is_made_link_by_link_without_a_look_at_everything(
    live: Live, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeldEngine, "let_pass", 1)
    live.write(
        a="kind: Database\nmetadata: {name: db_@, deletionPolicy: delete}",
        b="kind: Schema\nmetadata: {name: s, database: db_@, deletionPolicy: delete}",
        c="kind: Stage\nmetadata: {name: st_@, schema: db_@.s, deletionPolicy: delete}",
    )
    held.clear()
    with live.daemon() as loop:
        eventually(lambda: live.row("STAGES IN ACCOUNT", "st_@"), "the last link is made while no look comes back")
        assert begun(loop) <= 2
        held.set()
        eventually(lambda: live.reports and live.reports[-1].ready, "and the next look finds all of it")


def test_a_stop_during_a_glance_between_two_looks_ends_as_any_other(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    glancing, free = threading.Event(), threading.Event()

    def hang(*_: object) -> View:
        glancing.set()
        assert free.wait(60)
        raise Transient("away")

    monkeypatch.setattr(Engine, "glance", hang)
    live.write(
        a="kind: Database\nmetadata: {name: db_@, deletionPolicy: delete}",
        b="kind: Schema\nmetadata: {name: s, database: db_@, deletionPolicy: delete}",
    )
    loop = Reconciler(live.engine(), [live.reports.append], Timing(grace=0.4, poll_first=60, poll_most=60))
    ended: list[Report] = []
    thread = threading.Thread(target=lambda: ended.append(loop.run()), daemon=True)
    thread.start()
    eventually(glancing.is_set, "what follows from the database is glanced at")
    loop.stop()
    eventually(lambda: not thread.is_alive(), "the loop ends")
    free.set()
    assert loop.abandoned and ended == live.reports[-1:], "with the last report"


def begun(loop: Reconciler) -> int:
    assert isinstance(loop.engine, HeldEngine)
    return loop.engine.begun


def test_only_what_was_edited_is_glanced_at(live: Live, held: threading.Event) -> None:
    """A person edits one of many objects in a file."""
    many = "\n---\n".join(WAREHOUSE.replace("wh_@", f"wh{n}_@") for n in range(MOST + 2))
    live.write(a=many)
    live.apply()
    live.reports.clear()
    with live.daemon() as loop:
        eventually(lambda: live.reports and live.reports[-1].ready, "the project was ready before")
        held.clear()
        live.write(a="# a line more\n" + many.replace("60", "120", 1))
        loop.files_changed()
        eventually(lambda: suspend_after(live, "wh0_@") == 120, "lines that moved do not make it too many")
        held.set()


def test_what_is_not_ours_any_more_is_not_touched_by_a_glance(live: Live, held: threading.Event) -> None:
    live.write(a=WAREHOUSE, b=OTHER)
    live.apply()
    live.reports.clear()
    with live.daemon() as loop:
        eventually(lambda: live.reports and live.reports[-1].ready, "the project was ready before")
        held.clear()
        live.by_hand("ALTER WAREHOUSE wh_@ SET COMMENT = '[snowcat somebody/Warehouse/wh_@ delete=yes]'")
        live.write(a=WAREHOUSE.replace("60", "120"), b=OTHER.replace("60", "120"))
        loop.files_changed()
        eventually(lambda: suspend_after(live, "other_@") == 120, "the one that is ours is changed")
        assert suspend_after(live, "wh_@") == 60, "the rows of now decide, not those of the last look"
        held.set()
        eventually(lambda: any(s.stalled for s in live.reports[-1].statuses), "and the full look says why")


@pytest.mark.parametrize(
    ("kind", "wanted", "reason"),
    [
        ("Warehouse", True, "stands for itself"),
        ("Stage", True, "stands for itself"),
        ("NetworkRule", True, "stands for itself"),
        ("ModelDeployment", False, "has children"),
        ("Workspace", False, "has children"),
        ("ComputePool", False, "gives room to others"),
        ("Service", False, "takes room on a pool"),
        ("FineTuneJob", False, "takes room on a pool"),
    ],
)
def test_which_kinds_are_simple(kind: str, wanted: bool, reason: str) -> None:
    assert simple(KINDS[kind]) is wanted, reason


# ---- a plan is kept ----------------------------------------------------------------------------------------------------------------------

KEY = ObjectKey("Warehouse", QualifiedName.parse("wh"))
QUESTION = Show("WAREHOUSES")
Inputs = tuple[Engine, Loaded, View, dict[ObjectKey, str]]


def rows(view: View, *found: dict[str, str]) -> View:
    return replace(view, snapshot=Snapshot({QUESTION: found}, "R"))


def allow(inputs: Inputs) -> Inputs:
    inputs[0].allow_prune = 3
    return inputs


def permit(inputs: Inputs) -> Inputs:
    inputs[0].permit = lambda change, obj: "not now"
    return inputs


CHANGES: list[tuple[Callable[[Inputs], Inputs], str]] = [
    (lambda i: (i[0], i[1], rows(i[2], {"name": "OTHER"}), i[3]), "other rows"),
    (lambda i: (i[0], i[1], replace(i[2], snapshot=Snapshot({}, "R")), i[3]), "a question without an answer"),
    (lambda i: (i[0], i[1], replace(i[2], snapshot=Snapshot(dict(i[2].snapshot.answers), "S")), i[3]), "another role"),
    (lambda i: (i[0], i[1], replace(i[2], facts={KEY: "x"}), i[3]), "another fact"),
    (lambda i: (i[0], i[1], replace(i[2], births={KEY: "x"}), i[3]), "another birth"),
    (lambda i: (i[0], i[1], replace(i[2], graph=i[2].graph.with_objects([])), i[3]), "another graph"),
    (lambda i: (i[0], replace(i[1], problems=(PROBLEM,)), i[2], i[3]), "a file with a problem"),
    (lambda i: (i[0], i[1], i[2], {KEY: "f"}), "a change that stalled"),
    (allow, "more may be pruned"),
    (permit, "less may be done"),
]


def _problem() -> object:
    from controller.api.objects import Location
    from controller.manifests.problems import Problem

    return Problem(Location(Path("a.yaml"), 1), "wrong")


PROBLEM = _problem()


@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=[reason for _, reason in CHANGES])
def test_a_plan_is_made_anew_when_anything_it_rests_on_has_moved(tmp_path: Path, change: Callable[[Inputs], Inputs], reason: str) -> None:
    (tmp_path / "snowcat.yaml").write_text(PROJECT)
    write(tmp_path, a=WAREHOUSE.replace("_@", ""))
    engine = Engine(loader(tmp_path), KINDS, State(None), None)
    loaded = engine.load()
    view = rows(engine.look(loaded), {"name": "WH", "comment": ""})
    first = engine.plan(loaded, view, {})
    same = rows(engine.look(engine.load()), {"name": "WH", "comment": ""})
    assert engine.plan(engine.load(), same, {}) is first, "the same look gives the same plan"
    inputs = change((engine, loaded, same, {}))
    assert inputs[0].plan(*inputs[1:]) is not first, reason
