"""The project while it is worked on: a tree that changes in place on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controller.account.redact import redact
from controller.api.objects import ObjectKey
from controller.kinds.base import Health
from controller.reconcile.events import Reason
from controller.reconcile.report import ObjectStatus, Report, Sync

_HEALTH = {
    Health.HEALTHY: ("✔", "green"),
    Health.PROGRESSING: ("…", "cyan"),
    Health.DEGRADED: ("✘", "red"),
    Health.SUSPENDED: ("∥", "yellow"),
    Health.MISSING: ("·", "dim"),
}
_MADE: dict[str, str] = {
    Reason.CREATED: "create",
    Reason.UPDATED: "update",
    Reason.REPLACED: "replace",
    Reason.DELETED: "delete",
    Reason.ADOPTED: "adopt",
    Reason.PREEMPTED: "preempt",
    Reason.RESUMED: "resume",
}
_SYNC = {Sync.SYNCED: "green", Sync.OUT_OF_SYNC: "yellow", Sync.UNKNOWN: "dim"}


class PlainView:
    """A line for each change that was made, for each object that must be waited for, and every tenth of a job's progress.

    `verbose` says every move of every object.
    """

    def __init__(
        self, write: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic, *, verbose: bool = False
    ) -> None:
        self._write = write or (lambda line: print(line, flush=True))  # noqa: T201
        self._clock = clock
        self._verbose = verbose
        self._begin = clock()
        self._seen: dict[ObjectKey, tuple[object, ...]] = {}
        self._told: dict[ObjectKey, bool] = {}  # what there is a line of → whether it said that all is well
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, report: Report) -> None:
        texts = [*report.problems, *([f"account: {report.error}"] if report.error else [])]
        texts += [f"standing by: {report.standby}"] if report.standby and not report.error else []
        for text in texts:
            if text not in self._said:
                self._line(text)
        self._said = set(texts)
        for event in report.events:
            if event.reason in _MADE:
                self._line(f"{_MADE[event.reason]:<8} {event.key or event.object}  {event.message}".rstrip())
        to_make = {status.key for status in report.statuses if status.action}
        for status in report.statuses:
            tenth = None if status.progress is None else int(status.progress * 10)
            stable = status.message if status.progress is None else ""
            begun = not status.children or any(child not in to_make for child in status.children)
            state = (status.sync, status.health, status.action, stable, tenth, begun)
            if self._seen.get(status.key) != state:
                self._seen[status.key] = state
                if self._verbose or (begun and self._matters(status)):
                    self._told[status.key] = status.ready
                    self._line(status_line(status))
        for key in self._seen.keys() - {status.key for status in report.statuses}:
            del self._seen[key]
            if self._told.pop(key, None) is not None:
                self._line(f"{key}  gone")

    def _matters(self, status: ObjectStatus) -> bool:
        """Not what only waits for its turn, nor what is well and was never said to be otherwise."""
        if status.ready:
            return self._told.get(status.key) is False
        if status.stalled or status.health is Health.DEGRADED or status.progress is not None:
            return True
        return not status.action and status.health in (Health.PROGRESSING, Health.MISSING)

    def _line(self, text: str) -> None:
        self._write(redact(f"[{self._clock() - self._begin:6.1f}s] {' '.join(text.split())}"))


def status_line(status: ObjectStatus) -> str:
    """`ComputePool/pool  OutOfSync  Missing  create  not there yet`."""
    share = f" {status.progress:.0%}" if status.progress is not None else ""
    action = f"  {status.action}" if status.action else ""
    return f"{status.key}  {status.sync.value}  {status.health.value}{share}{action}  {status.message}".rstrip()


class LiveView:
    """The tree of objects: parents with their parts below, a bar for what has progress."""

    def __init__(self, console: Console) -> None:
        self._live = Live(self, console=console, refresh_per_second=2, vertical_overflow="visible")
        self._begin = time.monotonic()
        self._report: Report | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def __call__(self, report: Report) -> None:
        self._report = report
        self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._report is not None:
            yield tree(self._report, time.monotonic() - self._begin, options.max_height or console.height, options.max_width)


def tree(report: Report, seconds: float, height: int, width: int) -> Table:
    """The whole picture, cut to the terminal's height: what is healthy is left out first.

    Long names are cut before messages are, and the message of a job that makes progress is never cut: it is what people look at.
    """
    rows = list(_ordered(report.statuses))
    room = max(5, height - 5 - len(report.problems))
    left_out = 0
    if len(rows) > room:
        wanted = [row for row in rows if not row[1].ready][:room]
        left_out = len(rows) - len(wanted)
        rows = wanted
    table = Table(box=None, padding=(0, 1), expand=True, show_edge=False)
    table.add_column("kind / name", no_wrap=True, overflow="ellipsis", header_style="bold", max_width=max(24, width // 3))
    for title, ratio in (("sync", None), ("health", None), ("", None), ("message", 1)):
        table.add_column(title, ratio=ratio, no_wrap=True, overflow="ellipsis", header_style="bold")
    for depth, status in rows:
        sign, colour = _HEALTH[status.health]
        name = Text("  " * depth + ("└ " if depth else ""))
        name.append(f"{status.key.kind}/", style="dim").append(str(status.key).partition("/")[2])
        bar = (
            ProgressBar(total=1.0, completed=status.progress, width=8) if status.progress is not None else Text(status.action, style="dim")
        )
        message = Text(" ".join(redact(status.message).split()), style="red" if status.stalled else "")
        if status.progress is not None:
            message.no_wrap, message.overflow = False, "fold"
        table.add_row(
            name, Text(status.sync.value, style=_SYNC[status.sync]), Text(f"{sign} {status.health.value}", style=colour), bar, message
        )
    for problem in report.problems:
        table.add_row(Text("file", style="dim"), "", Text("✘ invalid", style="red"), "", Text(problem, style="red"))
    ready = sum(status.ready for status in report.statuses)
    tail = f"{ready} of {len(report.statuses)} ready, {int(seconds) // 60}:{int(seconds) % 60:02d}"
    tail += f", {left_out} not shown" if left_out else ""
    table.add_row(Text(tail, style="bold"), "", "", "", Text(report.error or report.standby, style="red"))
    return table


def _ordered(statuses: Iterable[ObjectStatus]) -> Iterable[tuple[int, ObjectStatus]]:
    """Parents with their children below, else in the order of the plan."""
    known = {status.key: status for status in statuses}
    below: dict[ObjectKey, list[ObjectStatus]] = {}
    for status in known.values():
        if status.parent in known and status.parent is not None:
            below.setdefault(status.parent, []).append(status)

    def walk(status: ObjectStatus, depth: int) -> Iterable[tuple[int, ObjectStatus]]:
        yield depth, status
        for child in below.get(status.key, ()):
            yield from walk(child, depth + 1)

    for status in known.values():
        if status.parent is None or status.parent not in known:
            yield from walk(status, 0)


def view() -> LiveView | PlainView:
    """What suits where the output goes."""
    return LiveView(Console()) if sys.stdout.isatty() else PlainView()
