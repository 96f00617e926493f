"""What a daemon shows of itself while it runs: the pages of `--listen`, and traces if the environment asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import structlog

from controller.cli.errors import INVALID, Failure
from controller.cli.target import Opened
from controller.dashboard.traces import TracesProblem, start_traces
from controller.reconcile.meter import Meter
from controller.reconcile.report import Listener
from controller.reconcile.work.backoff import Backoff

log = structlog.get_logger("snowcat.run")


@contextmanager
def observable(project: Opened, listen: str | None) -> Iterator[tuple[Meter, list[Listener]]]:
    """The meter and the listeners for a loop whose pages are served while the block runs; without `listen` they do nothing.

    Raises:
        Failure: the address is wrong or taken, or the environment asks for traces that cannot be sent.
    """
    try:
        end_traces = start_traces(project.settings.project, _version())
    except TracesProblem as problem:
        raise Failure(str(problem), INVALID) from None
    try:
        if listen is None:
            yield Meter(), []
        else:
            with _served(project, listen) as metrics:
                yield metrics
    finally:
        end_traces()


@contextmanager
def _served(project: Opened, listen: str) -> Iterator[tuple[Meter, list[Listener]]]:
    from controller.dashboard.address import parse_address
    from controller.dashboard.health import Health
    from controller.dashboard.metrics import Metrics
    from controller.dashboard.server import Dashboard

    pause = max(project.settings.resync, Backoff().most)
    metrics = Metrics(
        project.settings.project, project.engine.account, _version(), project.pool.counters, project.engine.deep, Health(pause)
    )
    try:
        dashboard = Dashboard(*parse_address(listen), metrics)
    except OSError as error:
        raise Failure(f"--listen: {error.strerror or error}", INVALID) from None
    dashboard.start()
    log.info("listening", url=dashboard.url)
    try:
        yield metrics, [metrics]
    finally:
        dashboard.stop()


def _version() -> str:
    try:
        return version("snowcat")
    except PackageNotFoundError:
        return "unknown"
