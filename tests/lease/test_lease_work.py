"""What a worker does when who leads changes in the middle of its work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.account.counters import Counters
from controller.account.errors import Denied, NotFound, Rejected, Transient
from controller.account.limits import Limits
from controller.account.pool import SessionPool
from controller.account.session import Session
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.kinds.base import Effect, EffectContext, Sql
from controller.reconcile.lead.leadership import Alone, NotLeading
from controller.reconcile.planning.change import Action, Change
from controller.reconcile.work.execute import Executor, LoggedSession


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


class _Pool:
    """Lends one session that only the test's `_send` answers."""

    @contextmanager
    def session(self, *, first: bool = False) -> Iterator[Any]:
        yield SimpleNamespace(driver=SimpleNamespace(session_id=7), counters=Counters(), line=None, limits=Limits(), alive=True)


class _Look(Effect):
    """As the one that comes before the DROP of a container."""

    def __str__(self) -> str:
        return "look once more"

    def run(self, context: EffectContext) -> None: ...


@pytest.mark.parametrize("before", [(), (_Look(),)], ids=["a drop alone", "a look before it"])
def test_a_drop_that_finds_nothing_is_no_success(before: tuple[Effect, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "_send", lambda *_: SimpleNamespace(query_id="q", tolerated=2003))
    drop = Sql("DROP DATABASE D", tolerate=frozenset({2003}))
    change = Change(ObjectKey("Database", QualifiedName.parse("d")), Action.DELETE, steps=(*before, drop))
    done = Executor(cast(SessionPool, _Pool())).run(change, lambda _: None)
    assert isinstance(done.error, NotFound) and "nothing to drop" in str(done.error)


def test_a_refused_grant_holds_up_no_other_grant_but_what_rests_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def send(self: Session, text: str, *_: object) -> Any:
        sent.append(text)
        if "REVOKE" in text:
            raise Denied(f"may not: {text}")
        return SimpleNamespace(query_id="q", tolerated=None)

    monkeypatch.setattr(Session, "_send", send)
    texts = ("GRANT A", "REVOKE B", "GRANT C", "REVOKE D", "GRANT E")
    steps = (Sql("ALTER ROLE R RENAME"), *(Sql(text, apart=True) for text in texts), Sql("ALTER ROLE R SET COMMENT"))
    change = Change(ObjectKey("Role", QualifiedName.parse("r")), Action.UPDATE, steps=steps)
    done = Executor(cast(SessionPool, _Pool())).run(change, lambda _: None)
    assert sent == ["ALTER ROLE R RENAME", *texts], "the comment still says what is to be taken back"
    assert str(done.error) == "may not: REVOKE B"
