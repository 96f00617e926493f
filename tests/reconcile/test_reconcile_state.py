"""The project's local memory: what it keeps, for how long, and what a damaged file costs."""

from __future__ import annotations

import multiprocessing
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from reconcile_world import key

from controller.kinds.base import Health
from controller.reconcile.events import Reason
from controller.reconcile.report import Condition, ObjectStatus, Sync
from controller.reconcile.state import State
from controller.reconcile.work.backoff import Failure, FailureClass

POOL = key("ComputePool", "pool")


@dataclass
class Wall:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def ready(value: str, reason: str = "Running") -> ObjectStatus:
    return ObjectStatus(POOL, Sync.SYNCED, Health.HEALTHY, conditions=(Condition("Ready", value, reason, "", 1),))


def test_equal_events_are_counted_within_an_hour() -> None:
    wall = Wall()
    state = State(None, wall=wall)
    for _ in range(3):
        wall.now += 60
        state.event(POOL, Reason.RETRYING, "connection lost", generation=1)
    wall.now += 4000
    state.event(POOL, Reason.RETRYING, "connection lost", generation=1)
    state.event(POOL, Reason.RETRYING, "something else", generation=1)
    assert [(e.message, e.count) for e in state.events(POOL)] == [("connection lost", 3), ("connection lost", 1), ("something else", 1)]
    assert state.events(key("ComputePool", "other")) == []


def test_events_hold_no_secret() -> None:
    token = "hf_" + "a" * 30
    state = State(None)
    state.event(POOL, Reason.STALLED, f"token {token} was refused")
    assert token not in state.events()[0].message


def test_a_transition_time_moves_only_with_the_status() -> None:
    wall = Wall()
    state = State(None, wall=wall)

    def since(status: ObjectStatus) -> float:
        wall.now += 10
        (kept,) = state.transitions([status])
        moment = kept.conditions[0].last_transition
        assert moment is not None
        return moment.timestamp() - 1_000_000

    assert since(ready("False", "Starting")) == 10
    assert since(ready("False", "Resizing")) == 10
    assert since(ready("True")) == 30
    assert since(ready("True")) == 30


def test_a_command_beside_the_daemon_writes_no_history() -> None:
    state = State(None)
    state.transitions([ready("True")], keep=False)
    assert state.generations({POOL: "a"}, keep=False) == {POOL: 1}
    assert state.condition(POOL, "Ready") is None
    assert state.generations({POOL: "b"}) == {POOL: 1}


def test_generations_count_changes_of_the_specification(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    first = State(file)
    assert [first.generations({POOL: digest})[POOL] for digest in ("a", "a", "b")] == [1, 1, 2]
    first.close()
    assert State(file).generations({POOL: "b"}) == {POOL: 2}


def test_a_damaged_file_is_moved_aside(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    file.write_bytes(b"this is no database at all" * 100)
    state = State(file)
    state.remember("x", {"a": 1})
    assert state.recall("x") == {"a": 1}
    assert [p.name for p in tmp_path.glob("state.db.damaged-*")]


def test_a_file_cut_short_is_moved_aside(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    state = State(file)
    for number in range(500):
        state.remember(f"key {number}", "x" * 200)
    state.close()
    file.write_bytes(file.read_bytes()[:30_000])
    assert State(file).recall("key 1") is None


def test_only_the_user_may_read_it(tmp_path: Path) -> None:
    State(tmp_path / "state.db").remember("x", 1)
    assert stat.S_IMODE((tmp_path / "state.db").stat().st_mode) == 0o600


def _poke(file: str) -> None:
    State(Path(file)).poke("ComputePool/pool")


def test_requests_of_other_processes_are_taken_once(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    other = multiprocessing.get_context("spawn").Process(target=_poke, args=(str(tmp_path / "state.db"),))
    other.start()
    other.join()
    assert state.has_pokes()
    assert state.take_pokes() == ["ComputePool/pool"]
    assert state.take_pokes() == []


def test_readers_go_on_while_the_daemon_writes(tmp_path: Path) -> None:
    daemon, reader = State(tmp_path / "state.db"), State(tmp_path / "state.db")
    with daemon._write() as db:
        db.execute("INSERT INTO cache VALUES ('k', '1')")
        assert reader.recall("k") is None
    assert reader.recall("k") == 1


def test_the_last_failure_is_there_for_others(tmp_path: Path) -> None:
    failure = Failure(FailureClass.STALLED, "Denied", "no privilege", "f00", 3)
    State(tmp_path / "s.db").keep_failure(POOL, failure)
    other = State(tmp_path / "s.db")
    assert other.failures([POOL, key("ComputePool", "x")]) == {POOL: failure}
    other.keep_failure(POOL, None)
    assert other.failures([POOL]) == {}


def test_names_that_need_quotes_are_told_apart_and_read_back() -> None:
    state = State(None)
    one, other = key("Stage", '"a.b".c.d'), key("Stage", 'a."b.c".d')
    state.event(one, Reason.CREATED, "made")
    assert [event.object for event in state.events(one)] == ['Stage/"a.b".C.D']
    assert state.events(other) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(OSError, match=r"cannot be kept here.*state\.db"):
        State(tmp_path / "state.db")


def test_good_texts_are_read_once_and_again_when_another_process_has_written(tmp_path: Path) -> None:
    file, a, b = tmp_path / "state.db", Path("a.yaml"), Path("b.yaml")
    State(file).keep_good({a: "1", b: "1"}, complete=True)
    state, other, read = State(file), State(file), []
    state._db.set_trace_callback(lambda sql: read.append(sql) if "FROM manifests" in sql and "SELECT" in sql else None)
    assert state.last_good() == {a: "1", b: "1"}
    state.keep_good({a: "2"}, complete=False)
    assert state.last_good() == {a: "2", b: "1"}
    state.keep_good({a: "2"}, complete=True)
    assert state.last_good() == {a: "2"} and len(read) == 1
    other.keep_good({a: "3", b: "3"}, complete=True)
    assert state.last_good() == {a: "3", b: "3"} == State(file).last_good() and len(read) == 2


def test_good_texts_that_could_not_be_written_are_not_taken_for_kept(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    state.keep_good({Path("a.yaml"): "1"}, complete=True)
    state._db.execute("CREATE TRIGGER full BEFORE INSERT ON manifests BEGIN SELECT RAISE(ABORT, 'no room'); END")
    state.keep_good({Path("a.yaml"): "2"}, complete=True)
    assert state.last_good() == {Path("a.yaml"): "1"}


def test_what_is_asked_of_some_objects_reads_no_others() -> None:
    state, other, read = State(None), key("ComputePool", "other"), []
    state.transitions([ready("True"), replace(ready("True"), key=other)])
    assert state.generations({POOL: "a", other: "a"}) == {POOL: 1, other: 1}
    real = state._rows
    state._rows = lambda *asked: read.extend(found := real(*asked)) or found  # type: ignore[method-assign,func-returns-value]
    state.transitions([ready("False")])
    assert state.generations({POOL: "b"}) == {POOL: 2}
    assert {row[0] for row in read} == {"ComputePool/POOL"}
