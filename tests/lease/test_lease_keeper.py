"""One process and its lease, step by step on virtual time."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from lease_world import ANCHOR, PERIOD, stage

from controller.account.errors import AccountError, Denied, LoginFailed, NotFound, Transient
from controller.reconcile.lead.leadership import NotLeading
from controller.reconcile.lead.lease import Lease
from controller.reconcile.lead.mark import LeaseMark, LeaseState, Mode, parse
from controller.reconcile.lead.process import Holder

OTHER = LeaseMark("lab", 7, Holder("there", 2, "bbbb"), Mode.RUN, 0, frozenset({"12", "13"}), frozenset({"5"}), 41)


class Account:
    """What Stage needs of a world, without other processes. `refuse` is what the next statements are answered with."""

    def __init__(self) -> None:
        self.now, self.leases, self.statements = 0.0, dict[int, str](), 0
        self.anchor: str | None = None
        self.chances = SimpleNamespace(abort=True)
        self.dead: set[str] = set()
        self.open: list[Any] = []  # sessions of the process's pool
        self.refuse: AccountError | None = None
        self._ids = iter(range(100, 10_000))

    def session(self) -> str:
        return str(next(self._ids))

    def send(self, session: str, effect: Any) -> Any:
        self.statements += 1
        if self.refuse is not None:
            raise self.refuse
        return effect()

    def change(self, leases: dict[int, str]) -> None:
        self.leases = leases

    def listing(self) -> dict[int, str]:
        return self.leases

    @property
    def mark(self) -> LeaseMark:
        (term,) = self.leases
        mark = parse(self.leases[term])
        assert mark is not None and mark.term == term
        return mark


@pytest.fixture
def account() -> Account:
    return Account()


def process(account: Account, mode: Mode = Mode.RUN, number: int = 1, most_open: int = 10, role: str = "worker") -> Lease:
    clock = SimpleNamespace(now=lambda: account.now)
    holder = Holder(f"h{number}", number, f"{number:04}")
    sessions = lambda: [one.id for one in account.open]  # noqa: E731
    return Lease(
        stage(account, role),
        holder,
        mode,
        PERIOD,
        clock=clock,  # type: ignore[arg-type]
        is_gone=lambda _: False,
        sessions=sessions,
        most_open=most_open,
    )


def steps(account: Account, lease: Lease, seconds: float) -> None:
    """Let the keeper work for so long."""
    end = account.now + seconds
    while account.now <= end:
        account.now += max(lease.step(), 0.01)


def session(number: int) -> Any:
    return SimpleNamespace(id=str(number))


def test_the_first_one_leads_at_once_and_its_sessions_are_known_before_they_change_anything(account: Account) -> None:
    lease = process(account)
    with pytest.raises(NotLeading):
        lease.admit(session(7))
    steps(account, lease, 0.1)
    assert lease.standing().leads and account.mark.term == 1
    lease.admit(session(7))
    assert "7" in account.mark.sessions
    sent = account.statements
    lease.admit(session(7))
    assert account.statements == sent, "once is enough"


def test_sessions_that_are_open_when_a_term_begins_need_no_statement_of_their_own(account: Account) -> None:
    account.open = [session(number) for number in range(20, 28)]
    lease = process(account)
    steps(account, lease, 0.1)
    assert {one.id for one in account.open} <= account.mark.sessions
    sent = account.statements
    for one in account.open:
        lease.admit(one)
    assert account.statements == sent


def test_one_renewal_admits_all_sessions_that_were_opened_since(account: Account) -> None:
    lease = process(account)
    steps(account, lease, 0.1)
    account.open = [session(number) for number in range(20, 28)]
    sent = account.statements
    for one in account.open:
        lease.admit(one)
    assert account.statements == sent + 2, "one ALTER and one SHOW for all eight"
    assert {one.id for one in account.open} <= account.mark.sessions


def test_a_session_that_is_open_is_never_ended_for_being_idle(account: Account) -> None:
    account.open = [session(20)]
    lease = process(account)
    steps(account, lease, 0.1)
    for number in range(1000, 1100):
        account.now += 0.001
        lease.admit(session(number))
    assert "20" not in account.dead and "20" in account.mark.sessions


@pytest.mark.parametrize("size", [1, 10, 60])
def test_no_open_session_of_a_pool_of_any_size_is_ended_and_long_closed_ones_are(account: Account, size: int) -> None:
    lease = process(account, most_open=size)
    for round_ in range(1, 8):
        account.open = [session(10_000 * round_ + number) for number in range(size)]
        steps(account, lease, PERIOD)
        assert not account.dead & {one.id for one in account.open}
    assert account.dead and len(account.mark.sessions) <= 4 * size


def test_a_first_term_begins_with_one_renewal(account: Account) -> None:
    lease = process(account)
    lease.step()
    lease.step()
    assert lease.may_mutate()
    assert account.statements == 7, "two looks, two stages, a look, and one renewal of two statements: there is nobody to be ended"


def test_a_successor_ends_all_sessions_of_its_predecessors_before_it_leads(account: Account) -> None:
    account.leases = {7: str(OTHER), 2: str(replace(OTHER, term=2, sessions=frozenset({"3"})))}
    lease = process(account, Mode.APPLY)
    steps(account, lease, 0.1)
    assert lease.may_mutate()
    assert account.dead == {"12", "13", "5", "3"}
    assert account.mark.term == 8 and not account.mark.before and account.mark.mode is Mode.APPLY


def test_a_successor_that_stops_before_it_has_read_leaves_the_sessions_of_its_predecessor_to_the_next(account: Account) -> None:
    account.leases = {7: str(OTHER)}
    first = process(account, Mode.APPLY, 1)
    first.step()  # it has renamed the stage, no more
    assert first.term == 8
    first.release()
    second = process(account, Mode.APPLY, 2)
    steps(account, second, 3 * PERIOD)
    assert second.may_mutate() and {"12", "13", "5"} <= account.dead


def test_a_successor_that_dies_halfway_leaves_its_own_successor_all_that_is_to_be_ended(account: Account) -> None:
    account.leases = {7: str(OTHER)}
    first = process(account, Mode.APPLY, 1)
    account.chances.abort = False
    steps(account, first, 0.1)  # it cannot end them, and waits
    assert not first.may_mutate() and account.mark.before == {"12", "13", "5"}
    account.chances.abort = True
    second = process(account, Mode.RUN, 2)
    steps(account, second, 3 * PERIOD)
    assert second.may_mutate() and {"12", "13", "5"} <= account.dead


def test_where_sessions_cannot_be_ended_one_more_lease_is_waited_and_the_risk_is_logged(account: Account) -> None:
    account.leases = {7: str(OTHER)}
    account.chances.abort = False
    lease = process(account, Mode.APPLY)
    with structlog.testing.capture_logs() as logs:
        steps(account, lease, PERIOD * 0.9)
        assert not lease.may_mutate()
        steps(account, lease, PERIOD * 0.2)
    assert lease.may_mutate()
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert len(warnings) == 1 and "may yet take effect" in warnings[0]["event"]


def test_a_renewal_that_fails_stops_all_changes_until_one_succeeds(account: Account) -> None:
    lease = process(account)
    steps(account, lease, 0.1)
    account.refuse = Transient("no answer")
    steps(account, lease, PERIOD / 2)
    assert not lease.may_mutate() and "could not be renewed" in lease.standing().message
    account.refuse = None
    steps(account, lease, PERIOD / 12)
    assert lease.standing().leads and account.mark.term == 1, "it was in time: the term goes on"


def test_a_renewal_that_is_late_by_a_lease_ends_the_term(account: Account) -> None:
    lost: list[bool] = []
    lease = process(account)
    lease.lost = lambda: lost.append(True)
    steps(account, lease, 0.1)
    account.now += PERIOD  # the machine slept
    assert not lease.may_mutate() and not lease.standing().leads
    steps(account, lease, 0.1)
    assert lost and account.mark.term == 2, "nobody had taken it, so it is taken up again, in a new term"


def test_who_is_overtaken_sends_nothing_more(account: Account) -> None:
    daemon, command = process(account, Mode.RUN, 1), process(account, Mode.APPLY, 2)
    steps(account, daemon, 0.1)
    daemon.admit(session(7))
    steps(account, command, 0.1)
    assert command.may_mutate() and "7" in account.dead
    with pytest.raises(NotLeading):
        daemon.admit(session(8))  # a session that is new to the lease is refused at once
    assert not daemon.may_mutate()
    steps(account, daemon, PERIOD / 3)
    assert "'snowcat apply' on h2 (pid 2)" in daemon.standing().message and daemon.standing().waits
    command.release()
    steps(account, daemon, PERIOD / 3)
    assert daemon.may_mutate() and account.mark.term == 3


@pytest.mark.parametrize(("quiet", "sessions"), [(True, False), (False, True)])
def test_a_release_leaves_sessions_to_be_ended_only_where_something_is_under_way(account: Account, quiet: bool, sessions: bool) -> None:
    lease = process(account)
    steps(account, lease, 0.1)
    lease.admit(session(7))
    lease.release(quiet=quiet)
    assert account.mark.state is LeaseState.RELEASED
    assert ("7" in account.mark.sessions) is sessions
    with pytest.raises(NotLeading):
        lease.admit(session(7))


def test_a_release_ends_sessions_in_which_a_statement_was_given_up(account: Account) -> None:
    lease = process(account)
    steps(account, lease, 0.1)
    lease.admit(session(7))
    lease.admit(session(8))
    lease.unsure(session(7))
    lease.release()
    assert "7" in account.dead and "8" not in account.dead
    assert account.mark.state is LeaseState.RELEASED and not account.mark.sessions


def test_a_statement_of_the_lease_that_was_given_up_cannot_come_after_the_next(account: Account) -> None:
    lease = process(account)
    steps(account, lease, 0.1)
    (first,) = account.mark.sessions
    account.refuse = Transient("no answer")
    lease.step()
    account.refuse = None
    lease.step()
    assert first in account.dead


def test_the_lease_stays_while_the_daemon_that_gave_way_waits_for_it(account: Account) -> None:
    daemon, command = process(account, Mode.RUN, 1), process(account, Mode.APPLY, 2)
    steps(account, daemon, 0.1)
    steps(account, command, 0.1)
    command.release(drop=True)
    assert account.mark.state is LeaseState.RELEASED and account.mark.term == 2


def test_the_lease_goes_with_the_last_of_the_project(account: Account) -> None:
    lease = process(account)
    steps(account, lease, 0.1)
    lease.release(drop=True)
    assert account.leases == {}


@pytest.mark.parametrize(
    ("error", "words", "hopeless"),
    [
        (NotFound("Schema 'SNOWCAT.CONTROL' does not exist or not authorized."), "snowcat bootstrap", False),
        (Denied("Insufficient privileges to operate on schema 'CONTROL'."), "snowcat bootstrap", False),
        (LoginFailed("Incorrect username or password."), "Incorrect username", True),
        (Transient("the account did not answer"), "did not answer", False),
    ],
)
def test_why_there_is_no_lease_is_said_and_what_to_do(account: Account, error: AccountError, words: str, hopeless: bool) -> None:
    account.refuse = error
    lease = process(account, Mode.APPLY)
    lease.step()
    assert words in lease.standing().message and lease.standing().hopeless is hopeless
    steps(account, lease, 60)
    assert lease.standing().hopeless, "a command does not wait for ever"
    account.refuse = None
    steps(account, lease, PERIOD)
    assert lease.may_mutate(), "a daemon goes on trying"


def test_a_home_that_was_made_just_now_may_be_listed_late(account: Account) -> None:
    account.refuse = NotFound("Schema 'SNOWCAT.CONTROL' does not exist or not authorized.")
    lease = process(account, Mode.APPLY)
    steps(account, lease, 6)
    assert not lease.standing().hopeless
    account.refuse = None
    steps(account, lease, PERIOD / 6)
    assert lease.may_mutate()


def test_a_lease_that_another_role_owns_is_told(account: Account) -> None:
    account.leases = {1: str(replace(OTHER, term=1))}
    account.listing = dict  # type: ignore[method-assign]
    lease = process(account, Mode.APPLY)
    lease.step()
    assert "does not see it" in lease.standing().message and not lease.standing().hopeless, "a listing may be late"
    steps(account, lease, 60)
    assert lease.standing().hopeless and "`role` in snowcat.yaml" in lease.standing().message, "a command does not wait for ever"


def test_a_first_term_does_not_trust_a_listing_of_another_first_term(account: Account) -> None:
    """The other one was created, listed, and taken over, all within the time that listings are late."""
    lease, now = process(account), account.listing
    account.listing = dict  # type: ignore[method-assign]
    lease.step()
    account.leases = {**account.leases, 2: str(replace(OTHER, term=2))}
    account.listing = lambda: {1: str(replace(OTHER, term=1))}  # type: ignore[method-assign]
    steps(account, lease, PERIOD / 3)
    assert not lease.may_mutate()
    account.listing = now  # type: ignore[method-assign]
    steps(account, lease, PERIOD / 3)
    assert not lease.may_mutate() and set(account.leases) == {2}


def test_what_is_not_ours_under_the_name_of_a_lease_is_not_touched(account: Account) -> None:
    account.leases = {7: "a stage of mine"}
    lease = process(account, Mode.APPLY)
    steps(account, lease, 3 * PERIOD)
    assert account.leases == {7: "a stage of mine"}
    assert lease.standing().hopeless and "LEASE_7" in lease.standing().message


def test_sessions_that_were_replaced_long_since_do_not_fill_the_comment(account: Account) -> None:
    lease = process(account)
    steps(account, lease, 0.1)
    for number in range(1000, 1100):
        account.now += 0.001
        lease.admit(session(number))
    assert len(account.mark.sessions) <= 42
    assert {str(number) for number in range(1080, 1100)} <= account.mark.sessions
    assert "1000" in account.dead, "what is not in the comment any more can change nothing any more"


def test_of_two_roles_one_leads_and_the_other_is_told_though_neither_sees_the_leases_of_the_other(account: Account) -> None:
    """The leases of another role may have any number, so a first one of our own can be made beside them."""
    first = process(account, number=1)
    steps(account, first, 0.1)
    assert first.may_mutate() and account.anchor == "worker"
    first.stage.take(1)  # it is in a later term by now
    seen, account.listing = dict(account.leases), dict  # type: ignore[method-assign]
    second = process(account, Mode.APPLY, 2, role="other")
    second.stage.wide = lambda text: [{"name": ANCHOR, "owner": "WORKER"}] if ANCHOR in text else []
    steps(account, second, 60)
    assert account.leases == seen, "no lease was made"
    standing = second.standing()
    assert not second.may_mutate() and standing.hopeless and "role WORKER works on the project" in standing.message
    assert "set it to WORKER" in standing.message and ANCHOR in standing.message


def test_a_leader_whose_anchor_another_role_has_taken_stops(account: Account) -> None:
    lease = process(account)
    steps(account, lease, 0.1)
    account.anchor = None  # dropped by hand
    steps(account, lease, PERIOD / 3)
    assert lease.may_mutate() and account.anchor == "worker", "it is made again"
    account.anchor = "other"  # dropped by hand, and another role was faster
    steps(account, lease, PERIOD / 3)
    assert not lease.may_mutate() and "does not see it" in lease.standing().message


def test_the_anchor_goes_with_the_lease(account: Account) -> None:
    lease = process(account)
    steps(account, lease, 0.1)
    lease.release(drop=True)
    assert account.anchor is None and not account.leases


def test_a_lease_of_the_project_in_another_schema_is_waited_for_as_long_as_it_is_renewed(account: Account) -> None:
    lease = process(account)
    elsewhere = {"OPS.CONTROL.SNOWCAT_LAB_LEASE_7": OTHER}
    lease.stage.elsewhere = lambda: dict(elsewhere)  # type: ignore[method-assign]
    for renewals in range(60):
        elsewhere["OPS.CONTROL.SNOWCAT_LAB_LEASE_7"] = replace(OTHER, renewals=renewals)
        steps(account, lease, PERIOD / 3)
    assert not lease.may_mutate() and not account.leases
    standing = lease.standing()
    assert standing.waits and "'snowcat run' on there (pid 2)" in standing.message
    assert "stage OPS.CONTROL.SNOWCAT_LAB_LEASE_7" in standing.message and "SNOWCAT.CONTROL" in standing.message
    steps(account, lease, 60 + PERIOD / 3)
    assert lease.may_mutate(), "nobody renews it any more"
