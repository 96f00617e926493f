"""Looks at an account are the same though its leases are renewed all the time; any other comment counts."""

from __future__ import annotations

from controller.account.snapshot import Missing, Read, Row, Show
from controller.reconcile.look.still import Answer, still

STAGES, TABLES = Show("STAGES", "ACCOUNT"), Show("TABLES", "ACCOUNT")


def seen(question: Read, *comments: str | None) -> dict[Read, Answer]:
    rows: tuple[Row, ...] = tuple({"name": f"S{n}", "comment": comment} for n, comment in enumerate(comments))
    return still({question: rows})


def test_a_renewal_is_no_difference() -> None:
    assert seen(STAGES, "[snowcat-lease p renewals=1]", "x") == seen(STAGES, "[snowcat-lease p renewals=2]", "x")


def test_everything_else_is() -> None:
    assert seen(STAGES, "[snowcat-lease p]", "x") != seen(STAGES, "[snowcat-lease p]", "y")
    assert seen(STAGES, "[snowcat-lease p]") != seen(STAGES, None), "a lease is told from what is none"
    assert seen(STAGES, "[snowcat-lease p]") != seen(STAGES), "and is listed"
    assert seen(STAGES, "[snowcat-lease-role p] x") == seen(STAGES, "[snowcat-lease p]"), "the stage beside it too"
    assert seen(TABLES, "[snowcat-lease 1]") != seen(TABLES, "[snowcat-lease 2]"), "only a stage is a lease"
    assert still({STAGES: Missing("gone")}) == {STAGES: Missing("gone")}
