"""A last look inside a container, in the moment before it is dropped.

The look that planned the drop may be seconds old, and `DROP DATABASE` takes along whatever somebody has made there since.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from controller.account.errors import AccountError, Denied, NotFound, Rejected
from controller.account.session import Session
from controller.account.snapshot import Missing, Read, Row, Snapshot
from controller.api.objects import Graph, ObjectKey
from controller.kinds.base import Effect, EffectContext, Kind, Project, Stalled, Step, View


def guarded(kind: Kind, key: ObjectKey, view: View) -> tuple[Step, ...]:
    """The steps that drop an object; a container is looked into once more before."""
    steps = tuple(kind.delete(key, view))
    container = any(True for _ in kind.drop_reads(key))
    return (LookAgain(key, kind, view.project), *steps) if steps and container else steps


@dataclass(frozen=True)
class LookAgain(Effect):
    """Refuses to go on when something is inside that this project did not make."""

    key: ObjectKey
    kind: Kind
    project: Project

    def __str__(self) -> str:
        return f"look once more that {self.key} holds nothing of others"

    def run(self, context: EffectContext) -> None:
        """
        Raises:
            Stalled: it does.
            AccountError: the account did not answer.
        """
        with _all_roles(context.session):
            asked = {read: _ask(context.session, read) for read in self.kind.drop_reads(self.key)}
        answers: dict[Read, tuple[Row, ...] | Missing] = {read: answer for read, answer in asked.items() if answer is not None}
        foreign = sorted(set(self.kind.foreign_inside(self.key, View(self.project, Graph({}), Snapshot(answers)))))
        if foreign:
            raise Stalled(f"{self.key} is not dropped because it holds {', '.join(foreign)}", "HoldsForeignObjects")


@contextlib.contextmanager
def _all_roles(session: Session) -> Iterator[None]:
    """Look with all roles of the user: the owner of a schema does not see what another role made in it."""
    with contextlib.suppress(Denied, Rejected):  # a policy of the account forbids it, or the session can have one role only
        session.execute("USE SECONDARY ROLES ALL")
    try:
        yield
    finally:
        with contextlib.suppress(AccountError):  # a session that cannot go back is closed by whoever meets its error next
            session.execute("USE SECONDARY ROLES NONE")


def _ask(session: Session, read: Read) -> tuple[Row, ...] | Missing | None:
    try:
        return session.execute(read.sql).rows
    except (NotFound, Denied) as error:
        return Missing(error.message)
    except Rejected:  # a kind of object that this account does not have
        return None
