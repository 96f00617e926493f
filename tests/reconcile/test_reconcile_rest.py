"""When the loop looks again, what wakes who waits, and which questions are left alone for a while."""

from __future__ import annotations

from typing import Any

import pytest
from reconcile_world import key

from controller.account.errors import Denied, TimedOut, Transient
from controller.account.snapshot import Show
from controller.kinds.base import Stalled, Waiting
from controller.reconcile.clock import Timing
from controller.reconcile.lead.leadership import Interrupted
from controller.reconcile.look.facts import batched
from controller.reconcile.look.silent import Silent
from controller.reconcile.meter import Result
from controller.reconcile.planning.change import Action, Change
from controller.reconcile.planning.prune import Absences
from controller.reconcile.report import Report
from controller.reconcile.rest import Rest
from controller.reconcile.state import State
from controller.reconcile.work.backoff import STUCK, Backoff, FailureClass
from controller.reconcile.work.execute import Done
from controller.reconcile.work.failures import Failures, result_of


def rest(jitter: float = 0.0) -> Rest:
    failures = Failures(State(None), Backoff(random=lambda: jitter))
    return Rest(Timing(resync=30.0), failures, Absences())


@pytest.mark.parametrize(("jitter", "due"), [(0.0, 130.0), (1.0, 127.0)])
def test_many_daemons_do_not_resync_together(jitter: float, due: float) -> None:
    resting = rest(jitter)
    resting.full_look(100.0)
    assert resting.next_look(Report("p"), 100.0, working=False, silent=0) == pytest.approx(due)


def change(name: str = "wh") -> Change:
    return Change(key("Warehouse", name), Action.CREATE)


def test_who_waits_is_woken_when_something_becomes_ready_and_not_by_time_alone() -> None:
    resting = rest()
    resting.full_look(0.0)
    waiting = Done(change(), Waiting("for a job"))
    resting.failures.note(waiting, Waiting("for a job"), 1, 0.0)
    assert resting.failures.resting(change(), 0.5)
    resting.failures.wake_waiting()
    assert not resting.failures.resting(change(), 0.5)
    assert resting.next_look(Report("p"), 0.5, working=False, silent=0) == pytest.approx(0.5 + resting.timing.poll_first)


def test_what_failed_for_another_reason_is_not_woken() -> None:
    failures = rest().failures
    failures.note(Done(change()), Transient("gone"), 1, 0.0)
    failures.wake_waiting()
    assert failures.resting(change(), 0.5)


RESULTS = [
    ("done", None, Result.SUCCESS),
    ("left between two statements", Interrupted("stopped"), Result.REQUEUE),
    ("it hung", TimedOut("no answer"), Result.TIMEOUT),
    ("its thread did not come back", Stalled("given up", STUCK), Result.TIMEOUT),
    ("the network", Transient("gone"), Result.ERROR),
    ("it waits", Waiting("for a job"), Result.REQUEUE_AFTER),
    ("a person must act", Denied("no"), Result.TERMINAL),
    ("a mistake in a kind", ZeroDivisionError(), Result.PANIC),
]


@pytest.mark.parametrize(("because", "error", "result"), RESULTS, ids=[row[0] for row in RESULTS])
def test_results_for_whoever_counts(because: str, error: Exception | None, result: Result) -> None:
    failures = rest().failures
    failure = None if error is None or isinstance(error, Interrupted) else failures.note(Done(change(), error), error, 1, 0.0)
    assert result_of(error, failure) is result, because


def test_a_timed_out_change_is_tried_again_by_itself() -> None:
    failure = rest().failures.note(Done(change()), TimedOut("SHOW X: no answer in 60 seconds"), 3, 0.0)
    assert (failure.kind, failure.reason) == (FailureClass.TRANSIENT, "Timeout")


def test_a_question_that_hung_is_left_alone_longer_each_time() -> None:
    now = [0.0]
    silent = Silent(Backoff(first=60, most=900, random=lambda: 0.0), lambda: now[0])
    hung, fine = Show("COMPUTE POOLS"), Show("WAREHOUSES")
    silent.note([hung, fine], {fine})
    assert silent.without([hung, fine]) == [fine]
    now[0] = 60.0
    assert silent.without([hung, fine]) == [hung, fine]
    silent.note([hung, fine], {fine})
    now[0] = 179.0
    assert silent.without([hung]) == []
    now[0] = 180.0
    silent.note([hung], {hung})
    assert silent.known == {}


@pytest.mark.parametrize(
    ("count", "sizes", "reason"),
    [(1, [1], "one"), (5, [2, 2, 1], "few: shared out"), (120, [30] * 4, "among all"), (450, [50] * 9, "many")],
)
def test_facts_are_gathered_in_batches(count: int, sizes: list[int], reason: str) -> None:
    objects: list[Any] = list(range(count))
    batches = list(batched(objects))
    assert [len(batch) for batch in batches] == sizes, reason
    assert [one for batch in batches for one in batch] == objects
