"""What a process without the lease does next, as a table; and the comment and the process identity that this is decided by."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from controller.api.names import QualifiedName
from controller.kinds.mark import split_comment
from controller.reconcile.lead.election import Do, Watch
from controller.reconcile.lead.mark import Found, LeaseMark, LeaseState, Mode, lease_name, parse, term_of
from controller.reconcile.lead.process import Holder, gone, this_process

ME = Holder("here", 1, "aaaa", "machine", "10")
OTHER = Holder("there", 2, "bbbb", "elsewhere", "20")
DEAD = Holder("here", 3, "cccc", "machine", "30")
MARK = LeaseMark("lab", 7, OTHER, Mode.RUN, 1_790_000_000, frozenset({"12", "5"}), frozenset(), 41)


def lease(mark: LeaseMark, term: int | None = None) -> Found:
    return Found(term or mark.term, mark, str(mark))


HELD = lease(MARK)


@pytest.mark.parametrize(
    ("found", "mode", "do", "reason"),
    [
        ([], Mode.RUN, Do.CREATE, "nobody has ever led"),
        ([HELD], Mode.RUN, Do.WAIT, "it is held, and has been seen once only"),
        ([HELD], Mode.APPLY, Do.TAKE, "a daemon gives way to a command"),
        ([lease(replace(MARK, mode=Mode.APPLY))], Mode.APPLY, Do.WAIT, "a command gives way to nobody"),
        ([lease(replace(MARK, mode=Mode.APPLY))], Mode.RUN, Do.WAIT, "a daemon stands by while a command works"),
        ([lease(replace(MARK, state=LeaseState.RELEASED))], Mode.RUN, Do.TAKE, "it was given up"),
        ([lease(replace(MARK, holder=DEAD))], Mode.RUN, Do.TAKE, "its process on this machine is gone"),
        ([lease(replace(MARK, holder=DEAD, mode=Mode.APPLY))], Mode.APPLY, Do.TAKE, "a command that was killed holds nothing up"),
        ([lease(replace(MARK, holder=ME))], Mode.RUN, Do.TAKE, "it was ours, ran out, and nobody took it"),
        ([lease(MARK, 8)], Mode.APPLY, Do.WAIT, "somebody has just taken term 8: the comment tells nothing of him"),
        ([lease(replace(MARK, holder=DEAD), 8)], Mode.RUN, Do.WAIT, "the holder of term 7 is gone, not that of term 8"),
        ([lease(replace(MARK, state=LeaseState.RELEASED), 8)], Mode.RUN, Do.WAIT, "term 7 was released, and taken since"),
        ([lease(replace(MARK, term=3, holder=DEAD)), HELD], Mode.RUN, Do.WAIT, "only the newest counts"),
        ([Found(7, None, "mine, keep off")], Mode.APPLY, Do.STOP, "what has no mark of ours is not touched"),
    ],
)
def test_what_to_do_at_the_first_sight(found: Sequence[Found], mode: Mode, do: Do, reason: str) -> None:
    watch = Watch(15.0, ME, mode, lambda holder: holder == DEAD)
    assert watch.decide(found, 100.0).do is do, reason


@pytest.mark.parametrize(
    ("sights", "do", "reason"),
    [
        ([(0, HELD), (14.9, HELD)], Do.WAIT, "less than one period"),
        ([(0, HELD), (15, HELD)], Do.TAKE, "a whole period without a move"),
        ([(0, HELD), (10, lease(replace(MARK, renewals=42))), (20, lease(replace(MARK, renewals=42)))], Do.WAIT, "it was renewed at 10"),
        ([(0, HELD), (10, lease(replace(MARK, renewals=42))), (25, lease(replace(MARK, renewals=42)))], Do.TAKE, "and no more after that"),
        ([(0, HELD), (10, lease(MARK, 8)), (20, lease(MARK, 8))], Do.WAIT, "a new term is a move, whatever its comment says"),
        ([(0, HELD), (10, lease(MARK, 8)), (25, lease(MARK, 8))], Do.TAKE, "who took it has died before he could write"),
        ([(0, HELD), (10, None), (12, HELD), (20, HELD)], Do.WAIT, "a lease that was away is watched anew"),
    ],
)
def test_when_a_lease_counts_as_deserted(sights: Sequence[tuple[float, Found | None]], do: Do, reason: str) -> None:
    watch = Watch(15.0, ME, Mode.RUN, lambda _: False)
    decisions = [watch.decide([found] if found else [], at) for at, found in sights]
    assert decisions[-1].do is do, reason


def test_who_is_waited_for_is_told_with_host_pid_and_time() -> None:
    decision = Watch(15.0, ME, Mode.APPLY, lambda _: False).decide([lease(replace(MARK, mode=Mode.APPLY))], 0.0)
    assert decision.message == "'snowcat apply' on there (pid 2), since 2026-09-21 14:13:20 UTC"
    assert decision.seconds == 15.0


@pytest.mark.parametrize("mark", [MARK, replace(MARK, sessions=frozenset(), before=frozenset({"9"}), state=LeaseState.RELEASED)])
def test_a_comment_is_read_as_it_was_written(mark: LeaseMark) -> None:
    assert parse(str(mark)) == mark


@pytest.mark.parametrize(
    "comment",
    [
        "",
        None,
        "a stage of mine",
        str(MARK) + " and more",
        str(MARK).replace("term=7", "term=x"),
        str(MARK).replace("holder=there/2/bbbb", "holder=there"),
    ],
)
def test_what_is_no_lease_is_not_read_as_one(comment: str | None) -> None:
    assert parse(comment) is None


def test_no_kind_takes_a_lease_for_an_object_of_the_project() -> None:
    assert split_comment(str(MARK)) == (str(MARK), None)


@pytest.mark.parametrize(
    ("project", "name", "term"),
    [
        ("lab", "SNOWCAT_LAB_LEASE_7", 7),
        ("lab", "SNOWCAT_LABXLEASE_7", None),
        ("lab", "SNOWCAT_LAB_LEASE_07", None),
        ("lab", "SNOWCAT_LAB_LEASE_7_OLD", None),
        ("lab", "SNOWCAT_LAB_LEASE_1_LEASE_7", None),
        ("lab_lease_1", "SNOWCAT_LAB_LEASE_1_LEASE_7", 7),
        ("two-words", "SNOWCAT_TWO-WORDS_LEASE_7", 7),
        ("two_words", "SNOWCAT_TWO-WORDS_LEASE_7", None),
    ],
)
def test_only_the_leases_of_the_project_itself_are_its_leases(project: str, name: str, term: int | None) -> None:
    assert term_of(project, name) == term


def test_the_name_of_a_lease_is_quoted_where_the_project_needs_it() -> None:
    home = QualifiedName.parse("snowcat.control")
    assert lease_name(home, "lab", 7).sql == "SNOWCAT.CONTROL.SNOWCAT_LAB_LEASE_7"
    assert lease_name(home, "two-words", 7).sql == 'SNOWCAT.CONTROL."SNOWCAT_TWO-WORDS_LEASE_7"'


def test_a_process_is_gone_when_it_was_killed_or_its_pid_is_another_s() -> None:
    script = "from controller.reconcile.lead.process import this_process as p; h = p(); print(h.machine, h.started, flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    machine, started = child.stdout.readline().split()
    holder = Holder("anything", child.pid, "dddd", machine, started)
    try:
        assert not gone(holder)
        assert gone(replace(holder, started=str(int(started) + 1))), "the pid is in use again"
        assert not gone(replace(holder, machine="elsewhere")), "of another machine nothing is known"
        assert not gone(replace(holder, machine="")) and not gone(replace(holder, started=""))
    finally:
        child.kill()
    while not gone(holder):  # before anybody has collected it, too
        pass
    child.wait()
    assert gone(holder)


def test_this_process_is_not_gone_and_no_two_holders_are_the_same() -> None:
    first, second = this_process(), this_process()
    assert not gone(first)
    assert first.nonce != second.nonce or first == second
