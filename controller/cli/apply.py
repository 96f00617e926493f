"""`snowcat apply` and `snowcat run`: the loop, until everything is ready or until it is stopped."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
import typer

from controller.cli.errors import FAILED, INTERRUPTED, INVALID
from controller.cli.garbage import at_rest
from controller.cli.keep_plan import hold_to, say_refused
from controller.cli.leading import leading, sharing
from controller.cli.live import PlainView, view
from controller.cli.options import LogFormat
from controller.cli.serving import observable
from controller.cli.silence import note_silence
from controller.cli.stopping import Stopping, end_at_once
from controller.cli.target import Opened, Target, opened
from controller.cli.turns import short_turns
from controller.manifests.problems import place_of
from controller.manifests.project import LoadResult
from controller.manifests.watch import Watcher
from controller.reconcile.clock import Timing
from controller.reconcile.events import Reason
from controller.reconcile.lead.leadership import Leadership
from controller.reconcile.lead.lease import Lease
from controller.reconcile.lead.mark import Mode
from controller.reconcile.lead.process import introduce
from controller.reconcile.log import configure, say_always
from controller.reconcile.loop import Reconciler
from controller.reconcile.meter import Meter
from controller.reconcile.report import Listener, Report

log = structlog.get_logger("snowcat.run")


@dataclass(frozen=True)
class Manner:
    """How to apply: `allow_prune` leftovers may go at once; `plan` is a saved plan to keep to; `verbose` says every statement."""

    allow_prune: int | None = None
    plan: Path | None = None
    verbose: bool = False


def apply(target: Target, timeout: float | None, how: Manner) -> int:
    """Reconcile until settled. Exit code 0 only when every object is ready.

    Raises:
        Failure: the saved plan cannot be kept to; nothing was changed.
    """
    configure(as_json=False, level=logging.INFO if how.verbose else logging.ERROR)
    with Stopping(INTERRUPTED) as stopping, opened(target) as project, leading(project, timeout, stopping) as (leadership, left):
        project.engine.allow_prune = how.allow_prune
        promise = hold_to(project, how.plan) if how.plan is not None else None
        report = _until_settled(project, leadership, left, how, stopping)
    code = INTERRUPTED if report is None else verdict(report, timeout)
    if promise is not None:
        say_refused(promise)
    return code


def _until_settled(project: Opened, leadership: Leadership, timeout: float | None, how: Manner, stopping: Stopping) -> Report | None:
    """The last report; None when it was interrupted."""
    with PlainView(verbose=True) if how.verbose else view() as shown:
        reconciler = _reconciler(project, leadership, shown)
        stopping.attach(reconciler)
        report = reconciler.run(until_settled=True, timeout=timeout)
        _let_go(reconciler, project)
    return None if stopping.caught else report


def verdict(report: Report, timeout: float | None) -> int:
    """Say how it ended."""
    if report.ready and report.settled:
        count = len(report.statuses)
        typer.echo(f"all {count} objects are ready" if count != 1 else "the only object is ready")
        return 0
    for text in (*report.problems, *report.notes):
        typer.echo(text, err=True)
    for status in report.failed:
        where = f" ({place_of(status.location)})" if status.location is not None else ""
        typer.echo(f"{status.key}{where} is {status.sync.value}, {status.health.value}: {status.message}", err=True)
    if report.error:
        typer.echo(report.error, err=True)
    if not report.settled and timeout is not None:
        typer.echo(f"not done within {timeout:g} seconds; 'snowcat apply' again goes on from here", err=True)
    if report.problems:
        ready, wrong = len(report.statuses) - len(report.failed), len(report.problems)
        left = "1 problem in files, none of its" if wrong == 1 else f"{wrong} problems in files, none of their"
        typer.echo(f"{ready} ready; {left} objects is made or dropped", err=True)
    return INVALID if report.problems else FAILED


def run(target: Target, log_format: LogFormat, listen: str | None = None) -> int:
    """Reconcile until stopped by SIGINT or SIGTERM; a second signal ends at once. `listen`: where metrics and health are served."""
    configure(as_json=log_format is LogFormat.JSON)
    short_turns()
    with Stopping(0) as stopping:
        abandoned = _run(target, listen, stopping)
        log.info("stopped")
        if abandoned:
            end_at_once(0)
    return 0


def _run(target: Target, listen: str | None, stopping: Stopping) -> bool:
    """Whether work was left in a thread that may hang."""
    with opened(target) as project, observable(project, listen) as (meter, listeners), sharing(project, Mode.RUN) as leadership:
        stopping.give_back = leadership.release
        say_always(project=project.settings.project)
        project.pool.limits.answering.tell = partial(note_silence, project.state, project.pool.connection, meter)
        project.pool.open_all()
        reconciler = _reconciler(project, leadership, _Narrator(), *listeners, at_rest(), meter=meter)
        files = project.engine.load_files({})  # as the loop will: what is loaded here it need not load again
        log.info("started", account=project.engine.account, folder=str(files.root))
        watcher = Watcher(_watched(files), reconciler.files_changed)
        watcher.start()
        introduce(project.state, project.holder)
        try:
            stopping.attach(reconciler)
            reconciler.run()
        finally:
            introduce(project.state, None)
            watcher.stop()
            _let_go(reconciler, project)
    return reconciler.abandoned


def _let_go(reconciler: Reconciler, project: Opened) -> None:
    """Of what does not come back: its statements must not keep sessions, and the process, from ending. Who leads next ends its sessions."""
    if reconciler.abandoned:
        reconciler.leadership.release(quiet=False)
        project.pool.break_off()


def _reconciler(project: Opened, leadership: Leadership, *listeners: Listener, meter: Meter | None = None) -> Reconciler:
    timing = Timing(resync=project.settings.resync, work=project.settings.timeouts.object)
    reconciler = Reconciler(project.engine, listeners=listeners, timing=timing, leadership=leadership, meter=meter or Meter())
    if isinstance(leadership, Lease):
        leadership.changed = reconciler.files_changed
    return reconciler


def _watched(loaded: LoadResult) -> Iterator[Path]:
    """The project's folder, and folders outside it that images and datasets are made from."""
    from controller.api.base import LocalPath
    from controller.manifests.fields import marked_fields

    yield loaded.root
    for obj in loaded.graph:
        for _, text, marker in marked_fields(obj.manifest.spec, LocalPath):
            path = (obj.location.file.parent / (text.split("*")[0] if marker.glob else text)).resolve()
            folder = path if path.is_dir() else path.parent
            if folder.is_dir() and not folder.is_relative_to(loaded.root):
                yield folder


class _Narrator:
    """Writes what happened to the log: each event once, and each object's state when it changes."""

    def __init__(self) -> None:
        self._settled: bool | None = None
        self._problems: tuple[str, ...] = ()
        self._notes: tuple[str, ...] = ()

    def __call__(self, report: Report) -> None:
        if report.problems != self._problems:
            for problem in report.problems:
                log.error("InvalidManifest", message=problem)
            if self._problems and not report.problems:
                log.info("all manifests are valid again")
            self._problems = report.problems
        for event in report.events:
            if event.reason in (Reason.UNREACHABLE, Reason.REACHABLE):
                continue  # logged where it was noticed
            if event.message in report.problems and event.reason != Reason.STALLED:
                continue  # one line for the fault and one for each object that it stalls are enough
            write = log.warning if event.type == "Warning" else log.info
            write(event.reason, object=event.key or event.object, message=event.message, generation=event.generation)
        for note in sorted(set(report.notes) - set(self._notes)):
            log.warning("LastGoodText", message=note)
        self._notes = report.notes
        settled = report.settled and report.ready
        if settled and self._settled is not True:
            log.info("all objects are ready", objects=len(report.statuses))
        self._settled = settled
