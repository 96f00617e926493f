"""Statements that hang: cancelled after their time, and a hindrance to nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_account import RunningAccount, run_account
from fault_client import Faults
from reconcile_live import Live, eventually

from controller.account.connections import local_connection
from controller.account.errors import TimedOut
from controller.account.limits import Limits, Timeouts, TokenBucket
from controller.account.pool import SessionPool
from controller.account.reader import read
from controller.account.snapshot import Describe, Read, Show
from controller.reconcile.clock import Timing
from controller.reconcile.look.silent import Silent
from controller.reconcile.work.backoff import Backoff

SOON = Limits(Timeouts(read=1.0, change=1.0, transfer=5.0), TokenBucket())
WAREHOUSE = """
    kind: Warehouse
    metadata: {name: wh_@}
    spec: {size: xsmall, autoSuspend: 60}
"""


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    """One with faults."""
    yield from run_account(tmp_path_factory.mktemp("hang") / "state", "--time-scale", "0.01", "--faults")


@pytest.fixture
def faults(account: RunningAccount) -> Faults:
    return Faults(account.state)


@pytest.fixture
def live(account: RunningAccount, faults: Faults, tmp_path: Path) -> Iterator[Live]:
    project = Live.begin(account, tmp_path)
    project.pool.close()
    project.pool = SessionPool(local_connection(account.details), 12, role=project.text("worker@"), limits=SOON)
    yield project
    faults.clear()
    project.end()


def test_a_hanging_statement_is_cancelled_and_its_session_goes_on(live: Live, faults: Faults) -> None:
    faults.put({"match": "SHOW ROLES", "hang": True, "times": 1})
    with live.pool.session() as session:
        with pytest.raises(TimedOut, match="SHOW ROLES: cancelled after 1 seconds"):
            session.execute("SHOW ROLES")
        assert session.alive, "the account has answered that it is cancelled"
        assert session.execute("SHOW ROLES").rows


def test_a_session_that_nobody_answers_is_given_up_and_ended_by_the_next(
    live: Live, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a driver that cannot cancel, or an account that does not hear of it."""
    monkeypatch.setattr("controller.account.session.DRIVER_CANCELS", False)
    monkeypatch.setattr("controller.account.session._CANCEL", 0.2)
    faults.put({"match": "CREATE WAREHOUSE HUNG", "hang": True, "times": 1})
    with pytest.raises(TimedOut, match="no answer"), live.pool.session() as session:
        lost = session
        session.execute(live.text("CREATE WAREHOUSE hung_@"))
    assert not lost.alive
    with live.pool.session() as session:
        assert session is not lost and session.execute("SHOW ROLES").rows
    assert any("ABORT_SESSION" in entry["statement"] for entry in faults.statements()), "so that it cannot take effect later"
    eventually(lambda: live.pool.hung == 0, "its thread ends with it")
    assert not live.row("WAREHOUSES", "hung_@")


def test_a_show_that_hangs_costs_only_what_needs_it(live: Live, faults: Faults) -> None:
    faults.put({"match": "SHOW ROLES", "hang": True})
    answers = read(live.pool, [Show("ROLES"), Show("WAREHOUSES"), Show("DATABASES", "ACCOUNT")])
    assert set(answers) == {Show("WAREHOUSES"), Show("DATABASES", "ACCOUNT")}
    faults.put({"match": "SHOW", "hang": True})
    with pytest.raises(TimedOut):
        read(live.pool, [Show("ROLES"), Show("WAREHOUSES")])


def test_the_loop_goes_on_while_one_show_hangs_for_ever(live: Live, faults: Faults) -> None:
    live.write(a=WAREHOUSE, b="kind: ComputePool\nmetadata: {name: pool_@}\nspec: {instanceFamily: CPU_X64_XS}")
    faults.put({"match": "^SHOW COMPUTE POOLS", "hang": True})
    with live.daemon(timing=Timing(resync=2)) as loop:
        eventually(lambda: live.row("WAREHOUSES", "wh_@"), "what does not need it is made")
        live.write(a=WAREHOUSE.replace("60", "90"))
        loop.files_changed()
        eventually(lambda: (live.row("WAREHOUSES", "wh_@") or {}).get("auto_suspend") == 90, "and kept")
        pool = next(s for s in live.reports[-1].statuses if s.key.kind == "ComputePool")
        assert "the account did not answer SHOW COMPUTE POOLS" in pool.message
        faults.clear()
        loop.engine.silent.known.clear()  # a minute has passed
        loop.files_changed()
        eventually(lambda: live.row("COMPUTE POOLS", "pool_@"), "once it answers, the rest follows")


def test_apply_waits_for_a_question_that_was_silent_once(live: Live, faults: Faults) -> None:
    live.write(a=WAREHOUSE)
    faults.put({"match": "^SHOW WAREHOUSES", "hang": True, "times": 1})
    loop = live.reconciler()
    loop.engine.silent.backoff = Backoff(first=0.5)
    assert loop.run(until_settled=True, timeout=3000).ready


def test_a_hanging_change_is_tried_again_and_stops_no_other(live: Live, faults: Faults) -> None:
    live.write(a=WAREHOUSE, b=WAREHOUSE.replace("wh_@", "hung_@"))
    faults.put({"match": "CREATE WAREHOUSE HUNG", "hang": True, "times": 1})
    report = live.apply()
    assert report.ready, [status.as_dict() for status in report.failed]
    retried = [event for event in live.state.events() if event.reason == "Retrying"]
    assert len(retried) == 1 and "cancelled after 1 seconds" in retried[0].message
    failures = [entry for entry in faults.statements() if live.text("HUNG_@") in entry["statement"] and "CREATE" in entry["statement"]]
    assert len(failures) == 2, "once hung, once done"


def test_work_that_takes_too_long_in_all_is_ended_and_tried_again(live: Live, faults: Faults) -> None:
    live.pool.limits = Limits(Timeouts(read=600, change=600), TokenBucket())
    live.write(a=WAREHOUSE)
    faults.put({"match": "CREATE WAREHOUSE WH", "hang": True, "times": 1})
    with live.daemon(timing=Timing(work=20.0, grace=0.3)):
        eventually(lambda: live.row("WAREHOUSES", "wh_@"), "the second try makes it")
    retried = [event.message for event in live.state.events() if event.reason == "Retrying"]
    assert len(retried) == 1 and "took longer than `timeouts: {object}`" in retried[0]


def test_a_stop_in_the_middle_of_hanging_statements_is_quick(live: Live, faults: Faults) -> None:
    live.pool.limits = Limits(Timeouts(read=600, change=600), TokenBucket())
    live.write(a=WAREHOUSE)
    faults.put({"match": "CREATE WAREHOUSE|SHOW DATABASES", "hang": True})
    reconciler = live.reconciler(timing=Timing(grace=0.3))
    thread = threading.Thread(target=reconciler.run, daemon=True)
    thread.start()
    faults.await_held()
    reconciler.stop()
    eventually(lambda: not thread.is_alive(), "the loop ends")
    live.pool.break_off()
    eventually(lambda: not any(t.name.startswith(("look", "worker", "read")) for t in threading.enumerate()), "and nothing waits any more")


def test_many_details_that_all_hang_are_not_asked_twenty_at_each_look(live: Live, faults: Faults) -> None:
    database = "kind: Database\nmetadata: {name: db_@}\n---\nkind: Schema\nmetadata: {name: s, database: db_@}\n---\n"
    rule = "kind: NetworkRule\nmetadata: {{name: rule{n}, schema: db_@.s}}\nspec: {{values: [a{n}.example.com]}}"
    live.write(a=database + "\n---\n".join(rule.format(n=n) for n in range(60)))
    assert live.apply().ready
    faults.put({"match": "^DESCRIBE NETWORK RULE", "hang": True})
    since = max(entry["n"] for entry in faults.statements())

    def asked() -> int:
        return sum(entry["statement"].startswith("DESCRIBE NETWORK RULE") for entry in faults.statements(since))

    live.reports.clear()
    with live.daemon(timing=Timing(resync=2)) as loop:
        eventually(lambda: len(live.reports) >= 12, "looks go on")
        assert asked() <= 20 + 3, "twenty are asked before it is known that they hang; after that one, once in a while"
        faults.clear()
        loop.engine.silent.now = lambda: time.monotonic() + 3600
        loop.files_changed()
        eventually(lambda: asked() >= 20 + 60, "once one is answered, all are asked")
        eventually(lambda: live.reports[-1].settled and live.reports[-1].ready, "and nothing is left")


def test_a_kind_of_question_rests_where_half_of_it_hangs_and_one_answer_brings_it_back() -> None:
    time_ = [0.0]
    silent = Silent(Backoff(first=10.0, random=lambda: 0.0), now=lambda: time_[0])
    many = [Describe("SERVICE", f"S{number}") for number in range(8)] + [Describe("STAGE", "T")]

    def name(question: Read) -> str:
        return question.sql.split()[-1]

    def ask(answered: set[str]) -> tuple[list[str], set[str]]:
        asked = silent.paced(silent.without(many))
        silent.note(asked, [question for question in asked if name(question) in answered])
        return [name(question) for question in asked], silent.judge(asked)

    assert ask({"S0", "S1", "S2", "S3", "S4", "T"})[0] == [name(question) for question in many], "3 of 8: each is left alone by itself"
    assert ask({"S0", "T"})[0] == ["S0", "S1", "S2", "S3", "S4", "T"]
    assert ask({"T"}) == (["T"], set()), "4 of 5 hung: the kind rests"
    time_[0] = 10.0
    assert ask({"T"})[0] == ["S0", "T"], "one, to see"
    time_[0] = 20.0
    assert ask({"T"})[0] == ["T"], "longer each time"
    time_[0] = 30.0
    assert ask({"S0", "T"}) == (["S0", "T"], {"SERVICE"})
    assert {"S1", "S2", "T"} <= set(ask({name(question) for question in many})[0])
