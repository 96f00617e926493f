"""Several snowcats on one project, as processes, against an account that holds statements up at will."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import httpx
from lease_daemons import PERIOD, Process, Shared, entries, late, wait_for

LEADS, READY = '"event": "leading"', "all objects are ready"
STAGES = 6  # as many as a daemon works on at once
LEASE_MADE = re.compile(r"^CREATE STAGE \S+_LEASE_1\b")
LOOK = re.compile("^SHOW STAGES LIKE .* IN SCHEMA")
ALTER = "^ALTER STAGE (?!.*_LEASE_)"


def two_daemons(shared: Shared) -> tuple[Process, Process]:
    """One that leads and has made everything, and one that stands by."""
    first = shared.daemon()
    first.until(READY)
    second = shared.daemon("--listen", "127.0.0.1:0")
    second.until(f"(pid {first.pid})")
    return first, second


def renewals_of(shared: Shared, process: Process) -> list[dict[str, Any]]:
    return [e for e in shared.statements(process) if "SET COMMENT" in e["statement"] and "_LEASE_" in e["statement"]]


def test_one_leads_and_the_other_takes_over_at_once_when_it_is_killed(shared: Shared) -> None:
    first, second = two_daemons(shared)
    waiting = next(e for e in entries(second.text) if e["event"] == "standby" and "leads" in e["message"])
    assert f"'snowcat run' on {waiting['message'].split()[3]} (pid {first.pid}), since " in waiting["message"]
    url = next(e["url"] for e in entries(second.text) if e["event"] == "listening")
    page = httpx.get(f"{url}/readyz")
    assert page.status_code == 200 and "standby" in page.text, "it is ready to take over"
    shared.stages(1)
    first.until('"event": "Created"', count=3)
    assert not shared.changes(second), "who stands by changes nothing"
    assert LEADS not in second.text
    wait_for(lambda: len(renewals_of(shared, first)) > 6, "the lease is not renewed")
    looks = [e for e in shared.statements(first) if LOOK.search(e["statement"])]
    assert abs(len(looks) - len(renewals_of(shared, first))) <= 2, "a renewal is one ALTER and one SHOW"
    first.kill()
    second.until(LEADS)
    shared.stages(2)
    wait_for(lambda: shared.made() == 2, "the second stage is not made")
    polls = [e for e in shared.statements(second) if LOOK.search(e["statement"])]
    took = next(e for e in shared.statements(second) if "RENAME TO" in e["statement"])
    renewals = renewals_of(shared, first)
    since = [e for e in polls if renewals[-1]["n"] < e["n"] < took["n"]]
    assert len(since) <= 4, "the process is gone, so no period is waited: it looks every third of one"


def test_one_that_stands_still_is_taken_over_from_within_three_periods_and_then_stands_by(shared: Shared) -> None:
    first, second = two_daemons(shared)
    os.kill(first.pid, signal.SIGSTOP)
    second.until(LEADS)
    shared.stages(3)
    wait_for(lambda: shared.made() == 3, "the stages are not made")
    renewals = renewals_of(shared, first)
    looks = [e for e in shared.statements(second) if LOOK.search(e["statement"]) and e["n"] > renewals[-1]["n"]]
    took = next(e for e in shared.statements(second) if "RENAME TO" in e["statement"])
    assert len([e for e in looks if e["n"] < took["n"]]) <= 9, "three periods of three looks each"
    sent = len(shared.changes(first))
    os.kill(first.pid, signal.SIGCONT)
    first.until(f"(pid {second.pid})")
    assert len(shared.changes(first)) == sent
    assert not late(shared.changes(first), shared.changes(second))


PARTITIONS: list[tuple[dict[str, Any], str]] = [
    ({"hold": "before"}, "nothing of it arrives any more"),
    ({"drop": "before"}, "its connections break"),
    ({"hold": "after"}, "no answer reaches it any more"),
    ({"latency": 2.5 * PERIOD}, "everything is later than a period"),
]


def test_a_partition_leaves_no_late_statement_of_the_earlier_leader(shared: Shared, seed: int) -> None:
    partition, reason = PARTITIONS[seed % len(PARTITIONS)]
    shared.stages(STAGES)
    first, second = two_daemons(shared)
    shared.faults.put({"client": shared.client(first), "match": ALTER, "hold": "before"})
    shared.stages(STAGES, "second")
    shared.faults.await_held(STAGES)  # under way when the partition begins, and let go after the next has led for a while
    shared.faults.add({"client": shared.client(first), **partition})
    second.until(READY)
    assert shared.made("second") == STAGES
    shared.faults.clear()
    first.until(f"(pid {second.pid})")
    shared.stages(STAGES, "third")
    second.until('"event": "Updated"', count=2 * STAGES)
    assert shared.made("third") == STAGES
    assert not late(shared.changes(first), shared.changes(second)), reason
    assert not [e for e in shared.changes(first) if "second" in e["statement"]], reason


def test_without_the_right_to_end_sessions_one_more_lease_is_waited_and_the_risk_is_told(shared: Shared) -> None:
    shared.stages(STAGES)
    first, second = two_daemons(shared)
    refuse = {"match": r"SYSTEM\$ABORT_SESSION", "error": {"errno": 3001, "sqlstate": "42501", "message": "Insufficient privileges"}}
    shared.faults.put(refuse, {"client": shared.client(first), "match": ALTER, "hold": "before"})
    shared.stages(STAGES, "second")
    shared.faults.await_held(STAGES)
    shared.faults.add({"client": shared.client(first), "hold": "before"})
    second.until("cannot be ended: waiting one lease more")
    second.until(READY)
    changed = shared.changes(second)
    took = next(e for e in shared.statements(second) if "RENAME TO" in e["statement"])
    begun = min(e["startedAt"] for e in changed)
    assert begun - took["endedAt"] >= PERIOD
    shared.faults.clear()  # what was under way arrives now
    first.until(f"(pid {second.pid})")
    risk = late(shared.changes(first), changed)
    latest = max((e["endedAt"] for e in risk), default=begun) - begun
    print(f"{len(risk)} statements of the earlier term took effect up to {latest:.1f} s after the first of the later")
    assert len(risk) <= STAGES, "as the log had said; fewer where the earlier leader comes back in time to end its own sessions"
    assert not [e for e in shared.changes(first) if e["startedAt"] > begun], "nothing new was sent"


def test_a_daemon_gives_way_to_an_apply_and_comes_back_after_it(shared: Shared) -> None:
    daemon = shared.daemon()
    daemon.until(READY)
    shared.faults.put({"client": f"^snowcat {shared.name} [^ /]+/(?!{daemon.pid}/)", "match": "^CREATE STAGE", "hold": "before"})
    os.kill(daemon.pid, signal.SIGSTOP)  # so that the command, not the daemon, sees the file first
    shared.stages(2)
    command = shared.start("apply")
    shared.faults.await_held(2)
    os.kill(daemon.pid, signal.SIGCONT)
    standing_by = daemon.until(f"(pid {command.pid})")
    assert "'snowcat apply' on" in standing_by
    sent = len(shared.changes(daemon))
    shared.faults.clear()
    assert command.end() == 0, command.text
    assert len(shared.changes(daemon)) == sent
    daemon.until(LEADS, count=2)
    shared.stages(3)
    daemon.until('"event": "Created"', count=3)


def test_a_second_apply_waits_and_says_for_whom_and_goes_on_when_that_one_is_killed(shared: Shared) -> None:
    shared.stages(2)
    shared.faults.put({"client": f"^snowcat {shared.name} ", "match": "^CREATE STAGE (?!.*_LEASE_)", "hold": "before", "times": 2})
    first = shared.start("apply")
    shared.faults.await_held(2)
    second = shared.start("apply")
    says = second.until(f"(pid {first.pid}), since ")
    assert re.search(rf"waiting for the lease: 'snowcat apply' on \S+ \(pid {first.pid}\), since \d{{4}}-", says)
    assert not shared.changes(second)
    first.kill()
    assert second.end() == 0, second.text
    assert "all 4 objects are ready" in second.text
    assert not late(shared.changes(first), shared.changes(second))


def test_a_stop_releases_the_lease_and_destroy_takes_it_away(shared: Shared) -> None:
    shared.stages(1)
    daemon = shared.daemon()
    daemon.until(READY)
    plan = shared.start("plan")
    assert plan.end() == 0 and not [e for e in shared.statements(plan) if "_LEASE_" in e["statement"]], "who only looks takes none"
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.end() == 0
    ((name, comment),) = shared.lease()
    assert name == f"SNOWCAT_{shared.name.upper()}_LEASE_1" and "state=released" in comment and "sessions= " in comment
    assert shared.start("apply").end() == 0
    ((name, comment),) = shared.lease()
    assert name.endswith("_LEASE_2") and "state=released" in comment, "the lease is no leftover of the project"
    destroy = shared.start("destroy", "--yes")
    assert destroy.end() == 0, destroy.text
    assert shared.lease() == [] and not shared.anchored


def test_of_two_roles_on_one_project_one_leads(shared: Shared) -> None:
    """Neither sees the leases of the other: the one whose role owns the anchor leads, the other is told and changes nothing."""
    shared.stages(1)
    assert shared.start("apply").end() == 0 and shared.start("apply").end() == 0
    ((name, _),) = shared.lease()
    assert name.endswith("_LEASE_2"), "so that the other role could make a first lease of its own"
    settings = shared.folder / "snowcat.yaml"
    settings.write_text(settings.read_text().replace(f"role: worker_{shared.name}", f"role: other_{shared.name}"))
    other = shared.start("apply")
    assert other.end() == 1
    assert f"role WORKER_{shared.name.upper()} works on the project" in other.text and "Was `role` in snowcat.yaml changed?" in other.text
    assert shared.lease()[0][0] == name and not shared.changes(other)


def test_a_command_that_is_stopped_gives_the_lease_back_from_the_moment_it_has_it(shared: Shared) -> None:
    shared.stages(1)
    shared.faults.put({"match": "_LEASE_", "latency": 0.4})
    apply = shared.start("apply")
    wait_for(
        lambda: any(e["outcome"] == "done" and LEASE_MADE.search(e["statement"]) for e in shared.statements(apply)), "no lease is made"
    )
    os.kill(apply.pid, signal.SIGTERM)
    assert apply.end() == 130
    ((_, comment),) = shared.lease()
    assert "state=released" in comment and not shared.changes(apply)
    shared.faults.clear()
    assert shared.start("apply").end() == 0
    shared.faults.put({"match": "^DROP STAGE", "hold": "before", "times": 1})
    destroy = shared.start("destroy", "--yes")
    shared.faults.await_held()
    os.kill(destroy.pid, signal.SIGTERM)
    assert destroy.end() == 130
    ((_, comment),) = shared.lease()
    assert "state=released" in comment and "sessions= " not in comment, "what is under way is ended by whoever leads next"
    last = shared.start("destroy", "--yes")
    assert last.end() == 0, last.text
    assert not late(shared.changes(destroy), shared.changes(last))


def test_a_lease_can_be_switched_off_and_a_missing_home_is_told(shared: Shared) -> None:
    shared.settings(seconds=0)
    daemon = shared.daemon()
    daemon.until(READY)
    assert daemon.text.count('"event": "no lease') == 1 and shared.lease() == []
    daemon.kill()
    shared.settings("home: nowhere.control\n")
    refused = shared.start("apply")
    assert refused.end() == 1
    assert "schema NOWHERE.CONTROL (`home` in snowcat.yaml)" in refused.text and "snowcat bootstrap" in refused.text
    waiting = shared.daemon()
    waiting.until("NOWHERE.CONTROL")
    assert not shared.changes(waiting)


def test_a_session_that_may_have_ended_or_not_be_seen_counts_as_one_that_could_not_be_ended(shared: Shared) -> None:
    assert shared.start("apply").end() == 0
    ((name, comment),) = shared.lease()
    with shared.account.connect(role="ACCOUNTADMIN") as connection, connection.cursor() as cursor:
        left = comment.replace("sessions= ", "sessions=77 ")
        assert left != comment
        cursor.execute(f"ALTER STAGE SNOWCAT.CONTROL.{name} SET COMMENT = '{left}'")
    shared.stages(1)
    second = shared.start("apply")
    assert second.end() == 0, second.text
    answer = next(e for e in shared.statements(second) if "ABORT_SESSION(77)" in e["statement"])
    assert answer["outcome"].startswith("error"), "the account says that it is not found or not authorized"
    took = next(e for e in shared.statements(second) if "RENAME TO" in e["statement"])
    assert min(e["startedAt"] for e in shared.changes(second)) - took["endedAt"] >= PERIOD


def test_two_homes_of_one_project_do_not_both_lead(shared: Shared) -> None:
    shared.stages(1)
    daemon = shared.daemon()
    daemon.until(READY)
    with shared.account.connect(role="ACCOUNTADMIN") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA SNOWCAT.{shared.name}_HOME")
        cursor.execute(f"GRANT USAGE, CREATE STAGE ON SCHEMA SNOWCAT.{shared.name}_HOME TO ROLE worker_{shared.name}")
    shared.settings(f"home: snowcat.{shared.name}_home\n")
    shared.stages(2)
    daemon.until('"event": "Created"', count=4)
    other = shared.start("apply", "--timeout", "3")
    assert other.end() == 1
    assert f"(pid {daemon.pid}), since" in other.text and "in another schema than `home` says here" in other.text
    assert not shared.changes(other)
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.end() == 0
    again = shared.start("apply")
    assert again.end() == 0, "the other lease is released"
