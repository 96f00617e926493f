"""What went wrong with which object, and until when it is left alone. A failure stands only for the change that was tried."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from controller.account.errors import TimedOut
from controller.account.redact import redact
from controller.api.objects import ObjectKey
from controller.reconcile import history
from controller.reconcile.lead.leadership import Interrupted
from controller.reconcile.meter import Result
from controller.reconcile.planning.change import Action, Change, Plan
from controller.reconcile.state import State
from controller.reconcile.status import live_failure
from controller.reconcile.work.backoff import INTERNAL, STUCK, Backoff, Failure, FailureClass
from controller.reconcile.work.execute import Done

log = structlog.get_logger("snowcat.reconcile")


def outcome(done: Done, generation: int) -> dict[str, Any]:
    """The fields that the log promises on the line that ends a piece of work."""
    return {
        "object": done.change.key,
        "generation": generation,
        "action": done.change.action.value,
        "statement_id": done.statement_id,
        "duration": round(done.seconds, 3),
    }


@dataclass
class Failures:
    """The last failure of each object, kept in the state file too, for commands that run beside the daemon. For one thread."""

    state: State
    backoff: Backoff
    known: dict[ObjectKey, Failure] = field(default_factory=dict)

    @property
    def stalled(self) -> dict[ObjectKey, str]:
        """What a person must look at → fingerprint of the change that was tried."""
        return {key: failure.fingerprint for key, failure in self.known.items() if failure.kind is FailureClass.STALLED}

    def note(self, done: Done, error: Exception, generation: int, now: float) -> Failure:
        """Take in what a worker met. The reason, the class and the next try follow from the error."""
        key, change = done.change.key, done.change
        deleting = change.action is Action.DELETE
        failure = self.backoff.after(error, change.fingerprint, self.known.get(key), now, deleting=deleting)
        failure = replace(failure, message=redact(failure.message))
        self.known[key] = failure
        self.state.keep_failure(key, failure)
        history.failed(self.state, key, failure, generation)
        log.warning(
            "not done",
            **outcome(done, generation),
            failure=failure.kind.value,
            reason=failure.reason,
            error=failure.message,
        )
        return failure

    def wake_waiting(self) -> None:
        """Something became ready: what waited for it, or for anything else, may be tried again."""
        for key, failure in self.known.items():
            if failure.kind is FailureClass.WAITING:
                self.known[key] = replace(failure, not_before=0.0)

    def resting(self, change: Change, now: float) -> bool:
        """Whether this change failed before and is not to be tried again yet."""
        failure = self.known.get(change.key)
        return failure is not None and failure.fingerprint == change.fingerprint and now < failure.not_before

    def clear(self, key: ObjectKey) -> None:
        if self.known.pop(key, None):
            self.state.keep_failure(key, None)

    def forgive(self, target: str) -> None:
        """Somebody asked for another try: of one object (`Kind/name`), or of all ('')."""
        for key in [key for key in self.known if target in ("", str(key))]:
            self.clear(key)

    def compare(self, plan: Plan, busy: Collection[ObjectKey]) -> None:
        """Forget what was tried and would not be done any more."""
        for key in list(self.known):
            entry = plan.objects.get(key)
            if key not in busy and (entry is None or not live_failure(entry, self.known[key])):
                self.clear(key)

    def next_tries(self, earliest: float) -> list[float]:
        """When the objects that are tried again by themselves are due."""
        return [max(failure.not_before, earliest) for failure in self.known.values() if failure.kind is not FailureClass.STALLED]


def result_of(error: Exception | None, failure: Failure | None) -> Result:
    """How a piece of work ended, for whoever counts. No failure was kept for work that somebody else goes on with."""
    if error is None:
        return Result.SUCCESS
    if failure is None or isinstance(error, Interrupted):
        return Result.REQUEUE
    if isinstance(error, TimedOut) or failure.reason == STUCK:
        return Result.TIMEOUT
    if failure.kind is FailureClass.STALLED:
        return Result.PANIC if failure.reason == INTERNAL else Result.TERMINAL
    return Result.ERROR if failure.kind is FailureClass.TRANSIENT else Result.REQUEUE_AFTER
