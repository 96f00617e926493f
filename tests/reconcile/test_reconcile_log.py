"""The log for people: one line for a decision, with what matters first."""

from __future__ import annotations

import io

import pytest
import structlog

from controller.reconcile.log import configure


@pytest.mark.parametrize(
    ("level", "event", "fields", "wanted", "reason"),
    [
        (
            "info",
            "change",
            {"object": "ComputePool/p", "action": "update", "reason": "maxNodes differs"},
            "ComputePool/p  change  (update: maxNodes differs)",
            "a decision reads as a sentence",
        ),
        ("warning", "NotReady", {"object": "Stage/s", "message": ""}, "WARNING  Stage/s  NotReady", "nothing empty is shown"),
        (
            "info",
            "statement",
            {"sql": "SHOW\n  ROLES"},
            "statement  sql=SHOW ROLES",
            "a statement of several lines stays one line of the log",
        ),
        ("info", "stopped", {"project": "lab", "seconds": 3}, "stopped  seconds=3", "what is left comes last"),
    ],
)
def test_lines_for_people(level: str, event: str, fields: dict[str, object], wanted: str, reason: str) -> None:
    out = io.StringIO()
    before = structlog.get_config()
    try:
        configure(as_json=False, stream=out)
        getattr(structlog.get_logger(), level)(event, **fields)
    finally:
        structlog.configure(**before)
    moment, _, rest = out.getvalue().rstrip("\n").partition("  ")
    assert len(moment) == len("12:34:56")
    assert rest == wanted, reason
