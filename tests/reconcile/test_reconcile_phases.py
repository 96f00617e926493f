"""Events of a job's phases: each once for an attempt, whoever looks and however often."""

from __future__ import annotations

from typing import Any

from reconcile_world import key

from controller.api.objects import ObjectKey
from controller.kinds.base import Health
from controller.reconcile import history
from controller.reconcile.events import EventType
from controller.reconcile.planning.change import Plan
from controller.reconcile.report import ObjectStatus, Sync
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
