"""An account and processes in memory, on virtual time, where every statement may meet every other in any order.

Each process is a real `Lease` with a keeper and workers. They run as threads of which one at a time moves, from one statement to the next;
who moves next, what is late, lost or stopped is drawn from a seed, so that a schedule that fails can be run again.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from controller.account.errors import AccountError, AlreadyExists, Denied, NotFound, Transient
from controller.api.names import QualifiedName
from controller.reconcile.lead.leadership import NotLeading
from controller.reconcile.lead.lease import Lease
from controller.reconcile.lead.mark import Mode
from controller.reconcile.lead.process import Holder
from controller.reconcile.lead.stage import LeaseStage, Lost

PERIOD = 9.0
ANCHOR = "SNOWCAT_LAB_LEASE_ROLE"


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


@dataclass(frozen=True)
class Chances:
    """How often a statement is lost before or after its effect, comes late, or its process stands still; and what the account allows."""

    lost: float = 0.0
    late: float = 0.0
    stopped: float = 0.0
    stale: float = 0.0
    abort: bool = True


@dataclass
class Effect:
    """A change of the account by a worker. `sent` and `at` in virtual seconds."""

    term: int
    node: int
    sent: float
    at: float


@dataclass
class Actor:
    """A thread of a process. `until`: it does not move before that time."""

    name: str
    node: Node
    work: Callable[[], None]
    until: float = 0.0
    ended: bool = False
    baton: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class World:
    """The account, the time and the scheduler."""

    def __init__(self, seed: int, chances: Chances) -> None:
        self.random = random.Random(seed)
        self.chances = chances
        self.now = 0.0
        self.leases: dict[int, str] = {}
        self.anchor: str | None = None  # the role that owns it
        self.past: list[tuple[float, dict[int, str]]] = [(0.0, {})]
        self.dead: set[str] = set()
        self.effects: list[Effect] = []
        self.statements = 0
        self.late: list[tuple[float, str, Callable[[], Any]]] = []
        self.actors: list[Actor] = []
        self._back = threading.Semaphore(0)
        self._running: Actor | None = None
        self._ids = iter(range(101, 10_000_000))

    def session(self) -> str:
        return str(next(self._ids))

    # -- moving

    def spawn(self, node: Node, name: str, work: Callable[[], None]) -> None:
        actor = Actor(name, node, work)
        self.actors.append(actor)
        threading.Thread(target=self._run, args=(actor,), daemon=True).start()

    def _run(self, actor: Actor) -> None:
        actor.baton.acquire()
        try:
            actor.work()
        except Killed:
            pass
        finally:
            actor.ended = True
            self._back.release()

    def pause(self, seconds: float = 0.0) -> None:
        """Let others move; come back no sooner than after so many seconds."""
        actor = self._running
        assert actor is not None
        if self.chances.stopped and self.random.random() < self.chances.stopped:
            seconds += self.random.uniform(0, 4 * PERIOD)
        actor.until = self.now + seconds
        self._back.release()
        actor.baton.acquire()
        if actor.node.killed:
            raise Killed

    def go(self, seconds: float) -> None:
        """Move on for so long."""
        end = self.now + seconds
        while True:
            waiting = [actor for actor in self.actors if not actor.ended]
            due = [actor for actor in waiting if actor.until <= self.now]
            self._settle()
            if not due:
                times = [a.until for a in waiting] + [at for at, _, _ in self.late]
                if not times or min(times) > end:
                    self.now = end
                    return
                self.now = max(self.now, min(times))
                continue
            self._running = self.random.choice(due)
            self._running.baton.release()
            self._back.acquire()

    def _settle(self) -> None:
        """What came late takes effect now, unless its session was ended."""
        for entry in [entry for entry in self.late if entry[0] <= self.now]:
            self.late.remove(entry)
            if entry[1] not in self.dead:
                with contextlib.suppress(AccountError, Lost):  # nobody hears of it
                    entry[2]()

    # -- statements

    def send(self, session: str, effect: Callable[[], Any]) -> Any:
        """A statement from a process: it travels, has its effect if its session lives, and the answer travels back."""
        self.statements += 1
        self.pause(self.random.uniform(0, 0.2))
        lot = self.random.random()
        if lot < self.chances.late:
            self.late.append((self.now + self.random.uniform(0, 5 * PERIOD), session, effect))
            self.pause(self.random.uniform(0, PERIOD))
            raise Transient("no answer came")
        lot -= self.chances.late
        if lot < self.chances.lost / 2:
            raise Transient("lost before")
        if session in self.dead:
            raise Transient("session gone", errno=390114)
        answer = effect()
        self.pause(self.random.uniform(0, 0.2))
        if lot < self.chances.lost:
            raise Transient("lost after")
        return answer

    def change(self, leases: dict[int, str]) -> None:
        self.leases = leases
        self.past.append((self.now, dict(leases)))

    def listing(self) -> dict[int, str]:
        """What SHOW says: now, or as it was a while ago."""
        if self.chances.stale and self.random.random() < self.chances.stale:
            since = self.now - self.random.uniform(0, PERIOD / 2)
            return next(leases for at, leases in reversed(self.past) if at <= max(since, 0.0))
        return self.leases


class FakeSession:
    """A session with the account; knows the statements of a lease."""

    def __init__(self, world: Any, role: str = "worker") -> None:
        self._world = world
        self.role = role
        self.id: str = world.session()
        self.alive = True

    def execute(self, statement: str) -> SimpleNamespace:
        rows = self._world.send(self.id, lambda: self._effect(statement))
        return SimpleNamespace(rows=rows or ())

    def break_off(self) -> None:
        self.alive = False

    def close(self, seconds: float = 0.0) -> None:
        self.alive = False

    def _anchor(self, verb: str) -> list[dict[str, str]]:
        world = self._world
        if verb == "CREATE":
            if world.anchor is not None:
                raise AlreadyExists("taken", errno=2002)
            world.anchor = self.role
        elif world.anchor != self.role:
            raise NotFound("missing", errno=2003)
        elif verb == "DROP":
            world.anchor = None
        return []

    def _effect(self, statement: str) -> list[dict[str, str]]:
        world, leases = self._world, dict(self._world.leases)
        if statement.startswith("SHOW STAGES"):
            anchor = [{"name": ANCHOR, "comment": ""}] if world.anchor == self.role else []
            return [{"name": f"SNOWCAT_LAB_LEASE_{term}", "comment": comment} for term, comment in world.listing().items()] + anchor
        if match := re.search(r"ABORT_SESSION\((\d+)\)", statement):
            if not world.chances.abort:
                raise Denied("not authorized")
            world.dead.add(match[1])
            return []
        if "_LEASE_ROLE" in statement:
            return self._anchor(statement.split()[0])
        term, *more = map(int, re.findall(r"_LEASE_(\d+)", statement))
        if statement.startswith("CREATE") == (term in leases):
            raise AlreadyExists("taken", errno=2002) if term in leases else NotFound("missing", errno=2003)
        if more:
            if more[0] in leases:
                raise AlreadyExists("taken", errno=2002)
            leases[more[0]] = leases.pop(term)
        elif statement.startswith("DROP"):
            del leases[term]
        else:
            comment = re.search(r"COMMENT = '(.*)'", statement)
            assert comment is not None, statement
            leases[term] = comment[1]
        world.change(leases)
        return []


def stage(world: Any, role: str = "worker") -> LeaseStage:
    return LeaseStage(QualifiedName.parse("snowcat.control"), "lab", lambda: FakeSession(world, role))  # type: ignore[arg-type, return-value]


class TurnLock:
    """A lock whose waiting lets others move."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._owner: int | None = None
        self._depth = 0

    def acquire(self, timeout: float = -1) -> bool:
        while self._owner not in (None, threading.get_ident()):
            self._world.pause(0.01)
        self._owner = threading.get_ident()
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Node:
    """A process: a lease, its keeper, and workers that change the account whenever they may."""

    def __init__(self, world: World, number: int, mode: Mode = Mode.RUN, *, workers: int = 2, slowest: float = 2.0) -> None:
        self.world, self.number, self.killed, self.stopped = world, number, False, False
        self.slowest = slowest
        self.open: set[str] = set()  # sessions of the workers
        self.stage = stage(world)
        holder = Holder(f"host{number}", 100 + number, f"{number:04x}", "machine", "1")
        self.lease = Lease(
            stage=self.stage,
            holder=holder,
            mode=mode,
            seconds=PERIOD,
            clock=SimpleNamespace(now=lambda: world.now),  # type: ignore[arg-type]
            is_gone=lambda _: False,
            sessions=lambda: sorted(self.open),
            most_open=10,
        )
        self.lease._writing = TurnLock(world)  # type: ignore[assignment]
        world.spawn(self, f"keeper {number}", self._keep)
        for count in range(workers):
            world.spawn(self, f"worker {number}.{count}", self._work)

    def _keep(self) -> None:
        self.world.pause(self.world.random.uniform(0, 1))
        while not self.stopped:
            self.world.pause(self.lease.step())

    def _work(self) -> None:
        session = self._opened()
        while not self.stopped:
            self.world.pause(self.world.random.uniform(0, 2))
            try:
                self.lease.admit(session)  # type: ignore[arg-type]
                term, sent = self.lease.term, self.world.now
                self.world.pause(self.world.random.uniform(0, self.slowest))  # how long it takes until it has its effect
                self.world.send(session.id, partial(self._effect, term, sent))
            except NotLeading:
                continue
            except Transient:
                self.lease.unsure(session)  # type: ignore[arg-type]
                self.open.discard(session.id)
                session = self._opened()

    def _opened(self) -> SimpleNamespace:
        """A session that the next renewal may write into the lease, unless it is used before."""
        session = SimpleNamespace(id=self.world.session())
        if self.world.random.random() < 0.5:
            self.open.add(session.id)
        return session

    def _effect(self, term: int, sent: float) -> None:
        self.world.effects.append(Effect(term, self.number, sent, self.world.now))

    def kill(self) -> None:
        """As by kill -9: what it has sent is still under way."""
        self.killed = self.stopped = True
        for actor in self.world.actors:
            if actor.node is self and not actor.ended:
                actor.until = 0.0

    def release(self) -> None:
        """A clean stop, as of SIGTERM."""
        self.stopped = True
        self.world.spawn(self, f"release {self.number}", self._release)

    def _release(self) -> None:
        """As `snowcat run` ends: first the workers, then the lease."""
        while any(a.node is self and a.name.startswith("worker") and not a.ended for a in self.world.actors):
            self.world.pause(0.1)
        self.lease.release()


def without_faults(world: World) -> None:
    world.chances = replace(world.chances, lost=0.0, late=0.0, stopped=0.0, stale=0.0)


def regressions(effects: list[Effect]) -> list[tuple[Effect, Effect]]:
    """Effects of a term after the first one of a later term, each with that one."""
    found, newest = [], effects[0] if effects else None
    for effect in effects:
        assert newest is not None
        if effect.term > newest.term:
            newest = effect
        elif effect.term < newest.term:
            found.append((effect, newest))
    return found
