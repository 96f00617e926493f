"""What CREATE says is there, and no listing shows: made a moment ago, or another role's. The account is asked which, before anybody waits.

DESCRIBE finds an object by its name and not in a listing, so it is not late: what it finds is a late listing, what it does not find
this role may not see. Who owns it then, all roles of the user together may tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from controller.account.errors import AccountError, AlreadyExists, Denied, NotFound
from controller.account.pool import SessionPool
from controller.account.reader import read
from controller.account.session import Session
from controller.account.snapshot import Describe, Show, Snapshot
from controller.api.objects import ObjectKey

Questions = Callable[[ObjectKey], Iterable[Show]]
"""The SHOWs that list an object: `controller.reconcile.engine.Engine.questions`."""

_CREATE = re.compile(r"CREATE\s+(?:OR\s+REPLACE\s+)?(?P<what>[A-Z ]+?)\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>\S+)(?:\s|$)")
_DONE = (
    "choose another name; or have {owner} grant this role a privilege on it, and manage it with `metadata.adopt: true` once OWNERSHIP is"
    " granted too"
)


class ExistsUnseen(AlreadyExists):
    """It is there, and this role may not see it. `owner` is the role that has it, '' where nobody that the user can be sees it."""

    def __init__(self, error: AlreadyExists, owner: str) -> None:
        who = f"Role {owner} owns it, and this role cannot see it" if owner else "This role cannot see it, so another role owns it"
        advice = _DONE.format(owner=f"role {owner}" if owner else "its owner, or an administrator,")
        text = error.message.rstrip()
        super().__init__(f"{text} {who}: {advice}.", errno=error.errno, sqlstate=error.sqlstate, statement=error.statement)
        self.owner = owner


def judged(error: AlreadyExists, key: ObjectKey, session: Session, wide: SessionPool, questions: Questions) -> AlreadyExists:
    """The same error, or `ExistsUnseen` where it is certain that this role may not see the object."""
    match = _CREATE.match(error.statement or "")
    if match is None or match["name"] != key.name.sql:  # a part of it, made by a statement of its own
        return error
    try:
        session.execute(Describe(match["what"], key.name.sql).sql)
        return error
    except (NotFound, Denied):
        return ExistsUnseen(error, _owner(key, wide, questions))
    except AccountError:
        return error


def _owner(key: ObjectKey, wide: SessionPool, questions: Questions) -> str:
    asked = tuple(questions(key))
    try:
        found = Snapshot(read(wide, asked))
    except AccountError:
        return ""
    rows = (found.row(question, key.name) for question in asked if found.asked(question))
    return next((str(row.get("owner") or "") for row in rows if row), "")
