"""`snowcat apply` and `snowcat run`: the loop, until everything is ready or until it is stopped."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import structlog
import typer

from controller.cli.errors import FAILED, INTERRUPTED, INVALID
from controller.cli.keep_plan import hold_to, say_refused
from controller.cli.live import PlainView, view
from controller.cli.options import LogFormat
from controller.cli.serving import observable
from controller.cli.target import Opened, Target, opened
from controller.manifests.watch import Watcher
from controller.reconcile.clock import Timing
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
    with opened(target) as project:
        project.engine.allow_prune = how.allow_prune
        promise = hold_to(project, how.plan) if how.plan is not None else None
        code = _until_settled(project, timeout, how)
    if promise is not None:
        say_refused(promise)
    return code


def _until_settled(project: Opened, timeout: float | None, how: Manner) -> int:
    with PlainView() if how.verbose else view() as shown:
        reconciler = _reconciler(project, shown)
        with _stopped_by_signals(reconciler) as caught:
            report = reconciler.run(until_settled=True, timeout=timeout)
        if caught:
            _end_if_abandoned(reconciler, INTERRUPTED)
    if caught:
        return INTERRUPTED
    return verdict(report, timeout)


def verdict(report: Report, timeout: float | None) -> int:
    """Say how it ended."""
    if report.ready and report.settled:
        count = len(report.statuses)
        typer.echo(f"all {count} objects are ready" if count != 1 else "the only object is ready")
        return 0
    for problem in report.problems:
        typer.echo(problem, err=True)
    for status in report.failed:
        typer.echo(f"{status.key} is {status.sync.value}, {status.health.value}: {status.message}", err=True)
    if report.error:
        typer.echo(report.error, err=True)
    if not report.settled and timeout is not None:
        typer.echo(f"not done within {timeout:g} seconds; 'snowcat apply' again goes on from here", err=True)
    if report.problems:
        ready, wrong = len(report.statuses) - len(report.failed), len(report.problems)
        left = "1 problem in files, its objects are" if wrong == 1 else f"{wrong} problems in files, their objects are"
        typer.echo(f"{ready} ready; {left} left as they were", err=True)
    return INVALID if report.problems else FAILED


def run(target: Target, log_format: LogFormat, listen: str | None = None) -> int:
    """Reconcile until stopped by SIGINT or SIGTERM; a second signal ends at once. `listen`: where metrics and health are served."""
    configure(as_json=log_format is LogFormat.JSON)
    with opened(target) as project, observable(project, listen) as (meter, listeners):
        say_always(project=project.settings.project)
        reconciler = _reconciler(project, _Narrator(), *listeners, meter=meter)
        log.info("started", account=project.engine.account, folder=str(_root(project)))
        watcher = Watcher(_watched(project), reconciler.files_changed)
        watcher.start()
        try:
            with _stopped_by_signals(reconciler):
                reconciler.run()
        finally:
            watcher.stop()
        log.info("stopped")
        _end_if_abandoned(reconciler, 0)
    return 0


def _end_if_abandoned(reconciler: Reconciler, code: int) -> None:
    """A statement that hangs in a thread must not keep the process from ending; nothing is lost by leaving it."""
    if reconciler.abandoned:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reconciler(project: Opened, *listeners: Listener, meter: Meter | None = None) -> Reconciler:
    return Reconciler(project.engine, listeners=listeners, timing=Timing(resync=project.settings.resync), meter=meter or Meter())


def _root(project: Opened) -> Path:
    return project.target.load().root


def _watched(project: Opened) -> Iterator[Path]:
    """The project's folder, and folders outside it that images and datasets are made from."""
    from controller.api.base import LocalPath
    from controller.manifests.fields import marked_fields

    loaded = project.target.load()
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

    def __call__(self, report: Report) -> None:
        for event in report.events:
            write = log.warning if event.type == "Warning" else log.info
            write(event.reason, object=event.key or event.object, message=event.message, generation=event.generation)
        if report.problems != self._problems:
            for problem in report.problems:
                log.error("InvalidManifest", message=problem)
            if self._problems and not report.problems:
                log.info("all manifests are valid again")
            self._problems = report.problems
        settled = report.settled and report.ready
        if settled and self._settled is not True:
            log.info("all objects are ready", objects=len(report.statuses))
        self._settled = settled


@contextmanager
def _stopped_by_signals(reconciler: Reconciler) -> Iterator[list[int]]:
    """SIGINT and SIGTERM stop the loop cleanly; a second one ends the process. The list holds what was caught."""
    caught: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        if caught:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        caught.append(number)
        reconciler.stop()
        sys.stderr.write("stopping; once more ends at once\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
