"""When to look again: at the latest after a resync, sooner while something is on its way. All times are on the loop's own clock."""

from __future__ import annotations

from dataclasses import dataclass

from controller.api.objects import ObjectKey
from controller.kinds.base import Health
from controller.reconcile.clock import Timing
from controller.reconcile.planning.change import Action, Block
from controller.reconcile.planning.prune import Absences
from controller.reconcile.report import Report
from controller.reconcile.work.failures import Failures

_JITTER = 0.1  # share of a resync


@dataclass
class Rest:
    """For one thread. `next_full` is when the next complete look is due; `poll` grows while nothing moves."""

    timing: Timing
    failures: Failures
    absences: Absences
    next_full: float = 0.0
    poll: float = 0.0

    def __post_init__(self) -> None:
        self.poll = self.timing.poll_first

    def full_look(self, now: float) -> None:
        """One begins; the next is due a resync later at the latest, and somewhat sooner, so that many daemons do not beat together."""
        self.next_full = now + self.timing.resync * (1 - _JITTER * self.failures.backoff.random())

    def full_look_due(self, at: float = 0.0) -> None:
        """The next look must be complete, from that time on."""
        self.next_full = min(self.next_full, at)

    def moved(self, something: bool) -> None:
        """Whether the last look showed a move."""
        self.poll = self.timing.poll_first if something else min(self.timing.poll_most, self.poll * self.timing.poll_factor)

    def next_look(self, report: Report, now: float, *, working: bool, silent: int) -> float:
        """When to look again if nothing else gives a reason. `silent`: questions that hung and are worth another try soon."""
        if report.standby:
            return now + self.timing.resync  # a change of who leads wakes the loop
        if report.error:
            return now + self.failures.backoff.delay(report.tries)
        times = [self.next_full]
        moving = any(s.health is Health.PROGRESSING for s in report.statuses) or silent
        if working or moving or self._waiting(report):
            times.append(now + self.poll)
        times += self.failures.next_tries(now + self.timing.poll_first)
        due = self.absences.next_due(now)
        if due is not None:
            self.full_look_due(now + due)
            times.append(self.next_full)
        return min(times)

    def _waiting(self, report: Report) -> bool:
        """Whether something waits for what only a look tells."""

        def ready_to_go(key: ObjectKey) -> bool:
            return key not in self.failures.known

        changes = report.plan.changes if report.plan else []
        return any(c.block is Block.WAITING or (c.runnable and c.action is not Action.DELETE and ready_to_go(c.key)) for c in changes)
