"""Keeps Python's garbage collector from going through what is there to stay.

A project of thousands of objects is some hundred thousand Python objects, and a full collection goes through all of them: at 4,000 objects
that was half of a daemon's work. What a report was made from is set aside, and what has gone meanwhile is collected once whenever a plan
has stood for a whole look: then nobody is in the middle of saving files.
"""

from __future__ import annotations

import gc

from controller.reconcile.planning.change import Plan
from controller.reconcile.report import Listener, Report


def at_rest() -> Listener:
    """A listener of a loop that runs for long."""
    kept: Plan | None = None
    last: Plan | None = None

    def listen(report: Report) -> None:
        nonlocal kept, last
        stood, last = report.plan is last, report.plan
        if report.plan is None or report.plan is kept or not (kept is None or (stood and report.settled)):
            return
        kept = report.plan
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    return listen
