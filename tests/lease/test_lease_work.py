"""What a worker does when who leads changes in the middle of its work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from controller.account.errors import Rejected, Transient
from controller.account.session import Session
from controller.reconcile.lead.leadership import Alone, NotLeading
from controller.reconcile.work.execute import LoggedSession


class Terms(Alone):
    """Leads in a term that the test moves on."""

    def __init__(self) -> None:
        self.term = 3
        self.given_up: list[Any] = []

    def unsure(self, session: Session) -> None:
        self.given_up.append(session.id)


def work(monkeypatch: pytest.MonkeyPatch, terms: Terms, answer: Exception | None = None) -> tuple[LoggedSession, list[str]]:
    sent: list[str] = []

    def send(self: Session, text: str, *_: object) -> Any:
        self.cleared()
        sent.append(text)
        if answer is not None:
            raise answer
        return SimpleNamespace(query_id="q", tolerated=None)

    monkeypatch.setattr(Session, "_send", send)
    return LoggedSession(SimpleNamespace(session_id=7), leadership=terms), sent


def test_a_change_that_was_begun_in_one_term_is_not_carried_on_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = Terms()
    session, sent = work(monkeypatch, terms)
    session.execute("ALTER STAGE A SET COMMENT = 'x'")
    terms.term = 5  # a command has led meanwhile
    with pytest.raises(NotLeading):
        session.execute("DROP STAGE A")
    assert sent == ["ALTER STAGE A SET COMMENT = 'x'"]


@pytest.mark.parametrize(
    ("error", "given_up", "reason"),
    [
        (Transient("no answer"), ["7"], "nobody knows whether it is still to come"),
        (Rejected("syntax error"), [], "it has ended, without effect"),
    ],
)
def test_who_leads_is_told_of_statements_that_were_given_up(
    monkeypatch: pytest.MonkeyPatch, error: Exception, given_up: list[str], reason: str
) -> None:
    terms = Terms()
    session, _ = work(monkeypatch, terms, error)
    with pytest.raises(type(error)):
        session.execute("ALTER STAGE A SET COMMENT = 'x'")
    assert terms.given_up == given_up, reason
