"""What the loop tells whoever counts: one method for each thing that happens, named for it. Here they all do nothing.

`controller.dashboard` has the implementation that Prometheus reads. So the loop knows no metrics library, and costs nothing where nobody
listens. Every method may be called from any thread, returns at once and never raises. What a report tells is not told here again.
"""

from __future__ import annotations

from enum import StrEnum

from controller.api.objects import ObjectKey


class Result(StrEnum):
    """How one piece of work on one object ended. The first four names are controller-runtime's."""

    SUCCESS = "success"
    ERROR = "error"  # transient: tried again after a back-off
    REQUEUE = "requeue"  # interrupted or overtaken: tried again at once
    REQUEUE_AFTER = "requeue_after"  # it waits for something else, which is no error
    TERMINAL = "terminal"  # stalled: a person must act
    TIMEOUT = "timeout"  # cancelled because it took too long
    PANIC = "panic"  # a mistake in a kind, not an answer of the account


class Meter:
    """Does nothing."""

    def workers(self, size: int) -> None:
        """The largest number of objects worked on at once."""

    # ---- the queue: one entry is one object ------------------------------------------------------------------------------------------

    def queued(self, key: ObjectKey) -> None:
        """An object was put into the queue. Not called when its entry there is only replaced by a newer one."""

    def dropped(self, key: ObjectKey) -> None:
        """An object left the queue without being worked on."""

    def retried(self, key: ObjectKey) -> None:
        """Work on an object failed and will be tried again."""

    def worker_started(self, key: ObjectKey) -> None:
        """A worker took an object out of the queue."""

    def worker_ended(self, key: ObjectKey) -> None:
        """The worker is free again."""

    def reconciled(self, key: ObjectKey, result: Result, seconds: float) -> None:
        """How the work on one object ended, and how long it took."""

    # ---- the loop ----------------------------------------------------------------------------------------------------------------------

    def cycled(self, seconds: float) -> None:
        """A cycle ended, whatever came of it: the loop turns."""

    def account_answers(self, answers: bool) -> None:
        """Whether anything comes from the account at all; told when that changes."""

    def leads(self, leader: bool) -> None:
        """Whether this daemon may change the account, or stands by while another one does."""
