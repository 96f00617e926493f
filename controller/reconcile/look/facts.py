"""What planning needs to know of the user's files, and the little of the account that no SHOW tells: gathered before the pure core runs.

Contents of files are hashed once for each size and time of change. An object whose facts cannot be had is planned as such; others go on.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import structlog

from controller.account import statements
from controller.account.errors import AccountError, Transient
from controller.account.pool import SessionPool
from controller.account.reader import read
from controller.account.redact import redact
from controller.account.session import Session
from controller.account.snapshot import Missing, Read, Row, Show
from controller.account.tracing import carried
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import Kind, KindError, Project, Stalled, Waiting
from controller.reconcile.log import trace
from controller.reconcile.planning.expand import Kinds
from controller.reconcile.state import State

log = structlog.get_logger("snowcat.reconcile")
T = TypeVar("T")
_WORKERS = 4
_BATCH = 50  # objects that one worker takes at a time: most have no files, and handing one over costs more than its fact
_BLOCK = 1 << 20


class FileHashes:
    """sha256 of files, kept for as long as size and time of change stay the same. Lives as long as the process."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> str:
        """Hex digest of one file's content.

        Raises:
            OSError: it cannot be read.
        """
        stat = path.stat()
        stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        with self._lock:
            known = self._known.get(path)
        if known and known[0] == stamp:
            return known[1]
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        with self._lock:
            self._known[path] = (stamp, digest.hexdigest())
        return digest.hexdigest()


@dataclass
class FactGatherer:
    """The `Gatherer` of one look at the account. `pool` None means offline."""

    project: Project
    state: State
    pool: SessionPool | None
    files: FileHashes
    answers: dict[Read, tuple[Row, ...] | Missing] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def offline(self) -> bool:
        return self.pool is None

    def hash_files(self, paths: Iterable[Path]) -> str:
        """See `Gatherer`.

        Raises:
            Stalled: a file is missing or cannot be read.
        """
        found = sorted({path.resolve() for path in paths})
        if not found:
            return hashlib.sha256().hexdigest()
        root = Path(os.path.commonpath(found)) if len(found) > 1 else found[0].parent
        digest = hashlib.sha256()
        for path in found:
            try:
                executable = bool(path.stat().st_mode & 0o100)
                content = self.files.of(path)
            except OSError as error:
                raise Stalled(f"{path}: {error.strerror or error}", "FileNotReadable") from None
            digest.update(f"{path.relative_to(root).as_posix()}\0{int(executable)}\0{content}\n".encode())
        return digest.hexdigest()

    def remember(self, key: str, value: Any) -> None:
        self.state.remember(key, value)

    def recall(self, key: str) -> Any | None:
        return self.state.recall(key)

    def read_stage_file(self, stage: str, path: str) -> bytes | None:
        return self._with_session(lambda session: session.get_file(QualifiedName.parse(stage.removeprefix("@")), path))

    def list_stage_files(self, stage: str, folder: str, pattern: str = "") -> dict[str, int]:
        named = QualifiedName.parse(stage.removeprefix("@"))
        return self._with_session(lambda session: session.list_files(named, folder, pattern)) or {}

    def show(self, read_: Show) -> tuple[Row, ...]:
        if self.pool is None:
            return ()
        with self._lock:
            known = self.answers.get(read_)
        if known is None:
            known = read(self.pool, [read_])[read_]
            with self._lock:
                self.answers[read_] = known
        return () if isinstance(known, Missing) else known

    def service_logs(self, service: str, instance: int, container: str, lines: int) -> str | None:
        statement = statements.call_system("GET_SERVICE_LOGS", service, str(instance), container, lines)
        try:
            answer = self._with_session(lambda session: session.execute(statement).scalar)
        except AccountError:
            return None
        return str(answer) if answer is not None else None

    def _with_session(self, use: Callable[[Session], T]) -> T | None:
        if self.pool is None:
            return None
        with self.pool.session() as session:
            return use(session)


def gather_all(graph: Graph, kinds: Kinds, gatherer: FactGatherer, only: Iterable[ObjectKey] | None = None) -> Mapping[ObjectKey, Any]:
    """The fact of every object that has one, or of `only` some; in its place a `KindError` where it could not be had."""
    chosen = graph if only is None else [graph.objects[key] for key in only]
    objects = [obj for obj in chosen if type(kinds[obj.key.kind]).gather is not Kind.gather]
    if not objects:
        return {}
    gather = carried(lambda batch: [_gather(obj, graph, kinds, gatherer) for obj in batch])
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="facts") as workers:
        facts = chain.from_iterable(workers.map(gather, batched(objects)))
        return {obj.key: fact for obj, fact in zip(objects, facts, strict=True)}


def batched(objects: Sequence[DesiredObject]) -> Iterator[Sequence[DesiredObject]]:
    """What the workers take one after the other: as many batches as there are workers at least, so that all have some."""
    size = min(_BATCH, -(-len(objects) // _WORKERS))
    return (objects[start : start + size] for start in range(0, len(objects), size))


def _gather(obj: DesiredObject, graph: Graph, kinds: Kinds, gatherer: FactGatherer) -> Any:
    try:
        return kinds[obj.key.kind].gather(obj, graph, gatherer)
    except KindError as error:
        return error
    except Transient as error:
        return Waiting(redact(error.message))
    except AccountError as error:
        return Stalled(redact(error.message), type(error).__name__)
    except OSError as error:
        return Stalled(redact(f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")), "FileNotReadable")
    except Exception as error:  # noqa: BLE001 - a mistake in one kind must not hold up the others
        log.error("gathering facts failed", object=obj.key, traceback=trace(error))
        return Stalled(redact(f"internal error, please report it: {type(error).__name__}: {error}"), "InternalError")
