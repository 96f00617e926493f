"""How long an object is left alone after it failed, on virtual time."""

from __future__ import annotations

import pytest

from controller.account.errors import AlreadyExists, Denied, LoginFailed, NotFound, NoWarehouse, Rejected, TimedOut, Transient
from controller.kinds.base import KindError, Stalled, Waiting
from controller.reconcile.work.backoff import Backoff, Failure, FailureClass, classify

CLASSES = [
    ("the connection was lost", Transient("gone"), FailureClass.TRANSIENT, "Transient"),
    ("a statement hung", TimedOut("60 seconds"), FailureClass.TRANSIENT, "Timeout"),
    ("somebody was quicker; the next look sees it", AlreadyExists("there"), FailureClass.TRANSIENT, "AlreadyExists"),
    ("a privilege is missing", Denied("no"), FailureClass.STALLED, "Denied"),
    ("the text is wrong", Rejected("syntax"), FailureClass.STALLED, "Rejected"),
    ("no warehouse", NoWarehouse("606"), FailureClass.STALLED, "NoWarehouse"),
    ("what it needs is missing", NotFound("2003"), FailureClass.STALLED, "NotFound"),
    ("the login is wrong", LoginFailed("password"), FailureClass.STALLED, "LoginFailed"),
    ("a kind waits", Waiting("for a job"), FailureClass.WAITING, "Waiting"),
    ("a kind needs a person", Stalled("accept the licence", "Gated"), FailureClass.STALLED, "Gated"),
    ("a kind gives no class", KindError("?"), FailureClass.STALLED, "Stalled"),
    ("the disk was full", OSError(28, "No space left on device"), FailureClass.TRANSIENT, "LocalError"),
    ("a bug", ZeroDivisionError(), FailureClass.STALLED, "InternalError"),
]


@pytest.mark.parametrize(("because", "error", "kind", "reason"), CLASSES)
def test_errors_are_classed(because: str, error: Exception, kind: FailureClass, reason: str) -> None:
    assert classify(error) == (kind, reason), because


def test_delays_double_up_to_a_limit() -> None:
    calm = Backoff(first=1, factor=2, most=60, random=lambda: 0.0)
    assert [calm.delay(n) for n in (1, 2, 3, 7, 500)] == [1, 2, 4, 60, 60]


def test_jitter_only_shortens() -> None:
    assert Backoff(first=10, jitter=0.3, random=lambda: 1.0).delay(1) == pytest.approx(7.0)


def tries(backoff: Backoff, error: Exception, prints: list[str], **more: bool) -> list[Failure]:
    failures: list[Failure] = []
    for fingerprint in prints:
        failures.append(backoff.after(error, fingerprint, failures[-1] if failures else None, now=100.0, **more))
    return failures


def test_failures_in_a_row_wait_longer_and_another_change_starts_over() -> None:
    failures = tries(Backoff(random=lambda: 0.0), Transient("x"), ["a", "a", "a", "b"])
    assert [f.count for f in failures] == [1, 2, 3, 1]
    assert [f.not_before - 100 for f in failures] == [1, 2, 4, 1]


def test_what_needs_a_person_is_not_hot() -> None:
    (by_kind,), (by_account,) = tries(Backoff(), Stalled("x"), ["a"]), tries(Backoff(), Denied("x"), ["a"])
    assert by_kind.not_before == float("inf")
    assert by_account.not_before == 100 + 600, "a grant may come that no SHOW tells of"


def test_what_exists_and_is_never_listed_is_somebody_else_s() -> None:
    failures = tries(Backoff(random=lambda: 0.0), AlreadyExists("exists"), ["a"] * 7)
    assert {f.kind for f in failures[:6]} == {FailureClass.TRANSIENT}, "a listing may be late"
    assert (failures[6].kind, failures[6].reason) == (FailureClass.STALLED, "ExistsUnseen")
    assert "another role owns it" in failures[6].message


def test_a_refused_drop_is_tried_again() -> None:
    (failure,) = tries(Backoff(random=lambda: 0.0), Rejected("services are in it"), ["a"], deleting=True)
    assert failure.kind is FailureClass.TRANSIENT and failure.not_before == 101
