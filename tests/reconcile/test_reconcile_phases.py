"""Events of a job's phases: each once for an attempt, whoever looks and however often."""

from __future__ import annotations

from typing import Any

import pytest
from reconcile_world import key

from controller.api.objects import ObjectKey
from controller.kinds.base import FieldChange, Health
from controller.reconcile import history
from controller.reconcile.events import EventType
from controller.reconcile.planning.change import Action, Change, ObjectPlan, Plan
from controller.reconcile.report import Condition, ObjectStatus, Sync
from controller.reconcile.state import State

JOB = key("FineTuneJob", "db.sch.wishes")


def look(**observed: Any) -> ObjectStatus:
    return ObjectStatus(JOB, Sync.SYNCED, Health.PROGRESSING, observed=observed)


LOOKS = [
    look(job="WISHES_1", status="PENDING"),
    look(job="WISHES_1", phase="data"),
    look(job="WISHES_1", phase="eval", model="base", step=1),
    look(job="WISHES_1", phase="eval", model="base", step=2),
    look(job="WISHES_1", phase="train", step=1, loss=2.0),
    look(job="WISHES_1", phase="train", step=2, loss=1.0),
    look(job="WISHES_1", phase="eval", model="tuned"),
    look(job="WISHES_1", phase="save"),
    look(job="WISHES_1", phase="failed"),
    look(job="WISHES_2", phase="data"),
]
TOLD = [
    ("ReadingRows", "WISHES_1"),
    ("Evaluating", "WISHES_1: the base model"),
    ("Training", "WISHES_1"),
    ("Evaluating", "WISHES_1: the tuned model"),
    ("Saving", "WISHES_1"),
    ("ReadingRows", "WISHES_2"),
]


def test_each_phase_is_told_once() -> None:
    state, before = State(None), dict[ObjectKey, ObjectStatus]()
    for status in LOOKS:
        history.compare(state, Plan("proj", "local", {}), [status], before)
        before = {JOB: status}
    # another process, which saw nothing of it before
    history.compare(state, Plan("proj", "local", {}), [LOOKS[-1]], {})
    found = [event for event in state.events(JOB) if event.reason in {reason for reason, _ in TOLD}]
    assert [(event.reason, event.message) for event in found] == TOLD
    assert all(event.count == 1 and event.type == EventType.NORMAL for event in found)


def test_the_runs_of_a_sweep_tell_their_phases_each_for_itself() -> None:
    looks = [
        look(runs=[{"run": "a", "job": "A_1", "phase": "load"}, {"run": "b"}]),
        look(runs=[{"run": "a", "job": "A_1", "phase": "train"}, {"run": "b", "job": "B_1"}]),
        look(runs=[{"run": "a", "job": "A_1", "phase": "train"}, {"run": "b", "job": "B_1", "phase": "eval", "model": "base"}]),
        look(runs=[{"run": "a"}, {"run": "b", "job": "B_1", "phase": "train"}]),
    ]
    state, before = State(None), dict[ObjectKey, ObjectStatus]()
    for status in looks:
        history.compare(state, Plan("proj", "local", {}), [status], before)
        before = {JOB: status}
    found = [(event.reason, event.message, event.count) for event in state.events(JOB)]
    assert found == [("Loading", "A_1", 1), ("Training", "A_1", 1), ("Evaluating", "B_1: the base model", 1), ("Training", "B_1", 1)]


@pytest.mark.parametrize(
    ("own", "generation", "wanted", "reason"),
    [
        (True, 1, [], "the next run is due: that is progress"),
        (False, 1, ["DriftDetected"], "somebody changed the account"),
        (True, 2, ["ManifestChanged"], "the manifest asks for another run"),
    ],
)
def test_an_object_that_goes_on_with_its_work_is_not_said_to_drift(own: bool, generation: int, wanted: list[str], reason: str) -> None:
    def status(sync: Sync, generation: int) -> ObjectStatus:
        synced = Condition("Synced", "True" if sync is Sync.SYNCED else "False", "", "", generation)
        return ObjectStatus(JOB, sync, Health.PROGRESSING, conditions=(synced,), generation=generation)

    state = State(None)
    change = Change(JOB, Action.UPDATE, (FieldChange("runs", "1 of 2 started", "rank 8", own=own),))
    plan = Plan("proj", "local", {JOB: ObjectPlan(JOB, None, None, change)})
    history.compare(state, plan, [status(Sync.OUT_OF_SYNC, generation)], {JOB: status(Sync.SYNCED, 1)})
    assert [event.reason for event in state.events(JOB)] == wanted, reason
