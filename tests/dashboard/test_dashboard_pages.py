"""`/healthz` and `/readyz`: when a daemon is to be restarted, and when it is of use."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import httpx
import pytest
import uvicorn

from controller.account.counters import Counters
from controller.dashboard import server
from controller.dashboard.address import parse_address
from controller.dashboard.health import PATIENCE, Health
from controller.dashboard.metrics import Metrics
from controller.dashboard.server import Dashboard
from controller.reconcile.look.deep import DeepReads
from controller.reconcile.report import Report

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"


class Daemon:
    """What the loop would tell, and the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.health = Health(30, clock=lambda: self.now)
        self.metrics = Metrics("proj", "acme", "1", Counters(), DeepReads(), self.health)

    def cycle(self, error: str = "") -> None:
        self.metrics.leads(True)
        self.metrics.cycled(0.1)
        self.metrics(Report("proj", error=error))


@pytest.mark.parametrize(
    ("steps", "alive", "ready", "reason"),
    [
        ([], True, False, "a daemon that starts lives, and has not looked yet"),
        (["ok"], True, True, "it has looked"),
        (["away"], True, False, "an account that is away makes it unready, and is not mended by a restart"),
        (["ok", "away"], True, False, "also later"),
        (["ok", "away", "ok"], True, True, "and back"),
        (["ok", "standby"], True, True, "who stands by can take over"),
        (["ok", "stuck"], False, False, "a loop that does not turn wants a restart"),
        (["ok", "stuck", "ok"], True, True, "it turns again"),
    ],
)
def test_pages(steps: list[str], alive: bool, ready: bool, reason: str) -> None:
    daemon = Daemon()
    for step in steps:
        if step == "standby":
            daemon.metrics.leads(False)
        elif step == "stuck":
            daemon.now += 30 + PATIENCE + 1
        else:
            daemon.cycle("no route to the account" if step == "away" else "")
    dashboard = Dashboard("127.0.0.1", 0, daemon.metrics)
    dashboard.start()
    try:
        for page, fine in (("healthz", alive), ("readyz", ready)):
            answer = httpx.get(f"{dashboard.url}/{page}")
            assert answer.status_code == (200 if fine else 503), f"{page}: {reason}: {answer.text}"
            assert answer.json()["status"] == ("ok" if fine else "failed")
        leader = bool(steps) and "standby" not in steps
        assert answer.json()["role"] == ("leader" if leader else "standby")
        exposition = httpx.get(f"{dashboard.url}/metrics")
        assert exposition.headers["content-type"].startswith("text/plain; version=")
        assert f"snowcat_leader {leader:d}.0" in exposition.text
    finally:
        dashboard.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{dashboard.url}/healthz")


def test_the_bodies_are_as_documented() -> None:
    daemon = Daemon()
    daemon.cycle()
    dashboard = Dashboard("127.0.0.1", 0, daemon.metrics)
    dashboard.start()
    try:
        for page in ("healthz", "readyz"):
            (told,) = (line for line in DOCS.read_text().splitlines() if line.startswith(f"/{page}"))
            assert httpx.get(f"{dashboard.url}/{page}").json() == json.loads(told.partition(" ")[2])
    finally:
        dashboard.stop()


@pytest.mark.parametrize(
    ("text", "wanted", "reason"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464), "the usual form"),
        ("localhost:0", ("localhost", 0), "any free port"),
        (":9464", ("0.0.0.0", 9464), "all interfaces, as such options mean it elsewhere"),
        ("[::1]:9464", ("::1", 9464), "IPv6 in brackets"),
        ("9464", None, "a port alone leaves open who may connect"),
        ("127.0.0.1:99999", None, "no such port"),
        ("127.0.0.1", None, "no port"),
        ("::1:9464", None, "IPv6 without brackets is ambiguous"),
    ],
)
def test_addresses(text: str, wanted: tuple[str, int] | None, reason: str) -> None:
    if wanted is None:
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_address(text)
    else:
        assert parse_address(text) == wanted, reason


def test_a_port_that_is_taken_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="cannot listen on") as caught:
        Dashboard("127.0.0.1", other.getsockname()[1], Daemon().metrics)
    assert "in use" in str(caught.value)


def test_a_server_at_rest_wakes_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its base wakes ten times, and a daemon at rest does little else. The date of its answers is renewed all the same."""
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(server.asyncio, "sleep", nap)
    running = server._Server(uvicorn.Config(lambda: None))
    running.server_state.default_headers = []
    ticks: list[int] = []
    real = running.on_tick

    async def tick(counter: int) -> bool:
        ticks.append(counter)
        running.should_exit = len(ticks) == 4
        return await real(counter)

    running.on_tick = tick  # type: ignore[method-assign]
    asyncio.run(running.main_loop())
    assert naps == [1.0, 1.0, 1.0] and all(counter % 10 == 0 for counter in ticks)
    assert any(name == b"date" for name, _ in running.server_state.default_headers)
