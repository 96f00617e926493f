"""What the answers to a lease's own statements mean."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from controller.account.errors import AccountError, Denied, NotFound, Rejected, Transient
from controller.api.names import QualifiedName
from controller.kinds.registry import KINDS
from controller.reconcile.lead.mark import LeaseMark, Mode
from controller.reconcile.lead.process import Holder
from controller.reconcile.lead.stage import LeaseStage


@pytest.mark.parametrize(
    ("answer", "ended", "reason"),
    [
        (None, True, "it was ended now"),
        (Rejected("Session 12 does not exist."), True, "it is gone"),
        (NotFound("SQL compilation error: Session '12' not found."), True, "it is gone"),
        (Rejected("session [12] is already terminated"), True, "it is gone"),
        (Rejected("Session '12' not found or not authorized."), False, "it may be there"),
        (NotFound("Session 12 does not exist, or the role lacks the privilege to see it"), False, "it may be there"),
        (Denied("Insufficient privileges to operate on session 12"), False, "it may not be ended"),
        (Rejected("Unknown function SYSTEM$ABORT_SESSION"), False, "nothing was ended"),
        (Transient("Session 12 no longer exists"), False, "that is about the session that it was sent in"),
    ],
)
def test_a_session_that_is_gone_has_ended(answer: AccountError | None, ended: bool, reason: str) -> None:
    def execute(text: str) -> Any:
        assert "ABORT_SESSION" in text
        if answer is not None:
            raise answer
        return SimpleNamespace(rows=())

    session: Any = SimpleNamespace(id="3", alive=True, execute=execute, break_off=lambda: None, close=lambda *_: None)
    stage = LeaseStage(QualifiedName.parse("d.s"), "lab", lambda: session)
    if ended:
        stage.abort("12")
    else:
        with pytest.raises(type(answer) if answer is not None else AccountError):
            stage.abort("12")


def test_the_stages_of_a_lease_are_nobody_s_stage() -> None:
    """`snowcat export` leaves both out: that of a term, and the one whose owner leads."""
    sent: list[str] = []
    session: Any = SimpleNamespace(id="3", alive=True, execute=lambda text: sent.append(text) or SimpleNamespace(rows=()))
    stage = LeaseStage(QualifiedName.parse("d.s"), "lab", lambda: session)
    holder = Holder("host", 1, "f00d", "machine", "1")
    assert stage.create(LeaseMark("lab", 1, holder, Mode.RUN, 0)) and stage.claim()
    comments = [re.search(r"COMMENT = '(.*)'", text, re.DOTALL) for text in sent]
    assert len(comments) == 2
    for comment in comments:
        assert comment is not None
        row = {"name": "ONE", "schema_name": "S", "database_name": "D", "type": "INTERNAL", "comment": comment[1]}
        assert KINDS["Stage"].exported_name(row) is None
    assert KINDS["Stage"].exported_name({**row, "comment": "files"}) is not None
