"""Errors of an account, classed by what the loop should do about them.

    AccountError
    ├── Transient       back off and try again: connection lost, HTTP 429/5xx, session gone, an internal error (603)
    │   └── TimedOut    a statement that took longer than its class may; it was cancelled, or its session given up
    ├── NotFound        2003, 2043, 398529 (a gateway's service): missing, or this role may not see it; no proof of absence
    ├── AlreadyExists   2002, 1998, 3041
    ├── Denied          3001, 3011, 3013: a privilege is missing; a person must grant it
    ├── LoginFailed     wrong user, password, key, token or account; a person must mend the connection
    ├── NoWarehouse     606, or a suspended one that may not resume
    └── Rejected        anything else that the statement's text caused; the same text will fail again
        └── StageFull   an upload did not fit

Codes: errors are compared by errno and sqlstate, never by text, since drivers add ids to it.
"""

from __future__ import annotations

GRANTS = "'snowcat bootstrap' prints what an administrator must grant"
"""What to do where a privilege is missing."""


class AccountError(Exception):
    """`message` is the account's own text, without secrets; `statement` the display text of what was sent."""

    def __init__(self, message: str, *, errno: int | None = None, sqlstate: str | None = None, statement: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.errno = errno
        self.sqlstate = sqlstate
        self.statement = statement


class Transient(AccountError): ...


class TimedOut(Transient): ...


class NotFound(AccountError): ...


class AlreadyExists(AccountError): ...


class Denied(AccountError): ...


class LoginFailed(AccountError): ...


class NoWarehouse(AccountError): ...


class Rejected(AccountError): ...


class StageFull(Rejected): ...


_CLASSES: dict[int, type[AccountError]] = {
    **dict.fromkeys((2003, 2043, 398529), NotFound),
    **dict.fromkeys((2002, 1998, 3041), AlreadyExists),
    **dict.fromkeys((3001, 3011, 3013), Denied),
    **dict.fromkeys((390112, 390113, 390114, 390115, 390111, 603, 604, 630, 250001, 250002, 250003, 251011), Transient),
    606: NoWarehouse,
}
_LOGIN = (range(390100, 390500), range(394300, 394500))  # credentials, tokens, roles named at login
_HTTP = range(290400, 290600)  # the driver's own numbers: 290000 + HTTP status


def class_of(errno: int | None) -> type[AccountError]:
    """The class for a server or driver error number; unknown numbers are `Rejected`."""
    number = errno or 0
    if number in _CLASSES:
        return _CLASSES[number]
    if any(number in numbers for numbers in _LOGIN):
        return LoginFailed
    if number in _HTTP:
        return Transient if number in {290408, 290429} or number >= 290500 else Rejected
    return Rejected
