"""Keeps Python's garbage collector from going through what is there to stay.

A project of thousands of objects is some hundred thousand Python objects, and a full collection goes through all of them: at 4,000 objects
that was half of a daemon's work. What a report was made from is set aside, and what has gone meanwhile is collected once whenever a plan
has stood for a whole look: then nobody is in the middle of saving files. In between Python goes through everything new ten times less often
than it would by itself, as no thread gets on meanwhile.
"""

from __future__ import annotations

import gc

from controller.reconcile.planning.change import Plan
from controller.reconcile.report import Listener, Report

_SELDOM = 100  # collections of what is younger for each full one; Python's own is 10


def at_rest() -> Listener:
    """A listener of a loop that runs for long."""
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _SELDOM)
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
