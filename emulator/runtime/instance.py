"""One instance of a service or job: its containers on one node."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from emulator.runtime.container import Container, Surroundings
from emulator.runtime.logs import ContainerLog
from emulator.runtime.ports import Reservation, mentions, reserve
from emulator.runtime.spec import Endpoint, Resources, ServiceSpec

#: From being placed on a node to the start of the containers (image pull), at time scale 1.
PULL_SECONDS = 1.5


@dataclass(frozen=True)
class Version:
    """One version of a service's specification with the images resolved."""

    spec: ServiceSpec
    digests: dict[str, str]  # container → image digest
    digest: str  # spec_digest


class Ports:
    """Real ports for the declared ones of one instance (TCP ports of a job are shared by its replicas)."""

    def __init__(self) -> None:
        self._held: dict[int, Reservation] = {}

    @property
    def mapping(self) -> dict[int, int]:
        return {declared: held.port for declared, held in self._held.items()}

    def take(self, version: Version, shared: Ports | None = None) -> None:
        """Reserve a port for every declared one. A number that nothing in the specification names may be fixed in the image, so
        it is kept when it is free."""
        texts = [t for c in version.spec.containers for t in [*c.env.values(), *(c.command or ()), *(c.args or ())]]
        for endpoint in version.spec.endpoints:
            if endpoint.port is None or endpoint.port in self._held:
                continue
            if shared is not None and endpoint.protocol == "TCP":
                shared._reserve(endpoint, texts)
                self._held[endpoint.port] = Reservation(shared.mapping[endpoint.port], None)
            else:
                self._reserve(endpoint, texts)
        probes = [p for c in version.spec.containers for p in (c.readiness, c.liveness) if p]
        for probe in probes:
            if probe.port not in self._held:
                self._reserve(Endpoint("", probe.port, None, False, "HTTP"), texts)

    def _reserve(self, endpoint: Endpoint, texts: list[str]) -> None:
        assert endpoint.port is not None
        if endpoint.port in self._held:
            return
        held = None if mentions(texts, endpoint.port) else reserve(endpoint.port)
        held = held or reserve()
        assert held is not None
        self._held[endpoint.port] = held

    def release(self) -> None:
        for held in self._held.values():
            held.release()
        self._held.clear()


class Instance:
    """States: PENDING, READY, FAILED, SUCCEEDED (jobs), TERMINATING."""

    def __init__(self, number: int, version: Version, takes: Resources, address: str) -> None:
        self.number = number
        self.version = version
        self.takes = takes
        self.address = address
        self.created = time.time()
        self.started: float | None = None
        self.node: str | None = None
        self.status = "PENDING"
        self.message = "Waiting to be scheduled"
        self.containers: list[Container] = []
        self.ports = Ports()
        self.stopping = False
        self.lost = False  # its node is gone
        self._start_at = 0.0

    @property
    def placed(self) -> bool:
        return self.node is not None

    @property
    def over(self) -> bool:
        """Needs no place any more."""
        if not self.placed:
            return self.stopping
        if not self.containers:
            return self.stopping
        return all(container.over for container in self.containers)

    def place(self, node: str, now: float, time_scale: float) -> None:
        self.node = node
        self.message = "Waiting to start"
        self._start_at = now + PULL_SECONDS * time_scale

    def tick(self, now: float, around: Surroundings | None, logs: Path) -> None:
        """`around` is needed once, when the containers are made."""
        if self.placed and not self.containers and not self.stopping and now >= self._start_at and around is not None:
            self.containers = [
                Container(spec, self.version.digests[spec.name], around, ContainerLog(logs / spec.name))
                for spec in self.version.spec.containers
            ]
        for container in self.containers:
            container.tick(now)
        self._roll_up()

    def stop(self) -> None:
        self.stopping = True
        for container in self.containers:
            container.stop()

    def kill(self) -> None:
        self.stopping = True
        for container in self.containers:
            container.kill()

    def _roll_up(self) -> None:
        if self.stopping:
            self.status, self.message = "TERMINATING", "Terminating"
            return
        states = {container.status for container in self.containers}
        if not states:
            return
        if self.started is None:
            starts = [container.start_time for container in self.containers if container.start_time]
            self.started = min(starts) if starts else None
        if "FAILED" in states:
            self.status = "FAILED"
            self.message = next(c.message for c in self.containers if c.status == "FAILED")
            for container in self.containers:
                container.stop()
        elif states == {"DONE"}:
            self.status, self.message = "SUCCEEDED", "Job instance has completed"
        elif states <= {"READY", "DONE"}:
            self.status, self.message = "READY", "Running"
        else:
            self.status = "PENDING"
            self.message = next((c.message for c in self.containers if c.status == "PENDING"), self.message)
