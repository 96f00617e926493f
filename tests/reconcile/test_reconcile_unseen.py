"""Objects that CREATE says exist and no listing shows: another role's, or listed late."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from reconcile_live import Live

from controller.account.errors import AccountError, AlreadyExists, Denied, NotFound, Rejected, Transient
from controller.account.snapshot import Show
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.reconcile.work.backoff import Backoff, FailureClass
from controller.reconcile.work.unseen import ExistsUnseen, judged

WAREHOUSE = "kind: Warehouse\nmetadata: {name: wh_@}\n"


def tries(live: Live) -> int:
    """How often the statement was sent."""
    return sum(event.count for event in live.state.events() if event.reason in ("Retrying", "Stalled"))


def test_another_role_s_object_that_the_user_can_see_is_stalled_at_once_with_its_owner(live: Live) -> None:
    live.sql("CREATE WAREHOUSE wh_@")
    live.sql("GRANT OWNERSHIP ON WAREHOUSE wh_@ TO ROLE SYSADMIN")
    live.write(wh=WAREHOUSE)
    report = live.apply()
    (status,) = report.statuses
    assert status.stalled and tries(live) == 1
    for words in ("already exists", "Role SYSADMIN owns it", "choose another name", "grant this role", "`metadata.adopt: true`"):
        assert words in status.message
    live.sql("GRANT OWNERSHIP ON WAREHOUSE wh_@ TO ROLE worker@")
    (status,) = live.apply().statuses
    assert "already exists" not in status.message and "adopt" in status.message, "it is seen now, and not ours"


KEY = ObjectKey("Stage", QualifiedName.parse("d.s.files"))
EXISTS = AlreadyExists("Object 'FILES' already exists.", errno=2002, statement="CREATE STAGE D.S.FILES COMMENT = 'x'")


@pytest.mark.parametrize(
    ("answer", "error", "classes", "reason"),
    [
        (None, EXISTS, "tttttt", "DESCRIBE finds it: the listing is late"),
        (NotFound("does not exist or not authorized", errno=2003), EXISTS, "tss", "twice it is there, and may not be seen"),
        (Denied("insufficient privileges", errno=3001), EXISTS, "tss", "the same"),
        (Transient("no answer"), EXISTS, "tttttts", "it could not be told"),
        (Rejected("syntax error", errno=1003), EXISTS, "tttttts", "a kind that cannot be described"),
        (NotFound("gone"), AlreadyExists("exists", statement="CREATE FUNCTION D.S.F() …"), "tttttts", "another object than the one meant"),
    ],
)
def test_what_describe_says_decides(answer: AccountError | None, error: AlreadyExists, classes: str, reason: str) -> None:
    def execute(text: str) -> None:
        assert text == "DESCRIBE STAGE D.S.FILES"
        if answer is not None:
            raise answer

    @contextmanager
    def lend(**_: Any) -> Any:
        yield SimpleNamespace(execute=lambda _: SimpleNamespace(rows=()))

    session: Any = SimpleNamespace(execute=execute)
    wide: Any = SimpleNamespace(session=lend, size=2)
    backoff, failure, told = Backoff(), None, ""
    for now in itertools.islice(itertools.count(0), len(classes)):
        found = judged(error, KEY, session, wide, lambda _: [Show("STAGES", "SCHEMA D.S")])
        failure = backoff.after(found, "same", failure, float(now))
        told += {FailureClass.TRANSIENT: "t", FailureClass.STALLED: "s", FailureClass.WAITING: "w"}[failure.kind]
    assert told == classes, reason
    assert failure is not None and (failure.reason == "ExistsUnseen") is told.endswith("s")


def test_an_owner_that_is_known_needs_no_second_time() -> None:
    failure = Backoff().after(ExistsUnseen(EXISTS, "OTHERS"), "same", None, 0.0)
    assert failure.kind is FailureClass.STALLED and "role OTHERS grant" in failure.message
