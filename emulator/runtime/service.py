"""A service or job: how many instances there should be, of which version, and what its status is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.catalogue.store import CatalogueObject
from emulator.runtime.container import Surroundings
from emulator.runtime.events import EventLog
from emulator.runtime.instance import Instance, Ports, Version
from emulator.runtime.isolation import Isolation
from emulator.runtime.platform import Platform
from emulator.runtime.pool import Pool

TERMINAL = ("DONE", "FAILED", "CANCELLED", "INTERNAL_ERROR")
#: How long a public endpoint shows the provisioning sentence instead of its host, at time scale 1.
PROVISIONING_SECONDS = 8.0
_JOB_MESSAGES = {"PENDING": "Job is pending", "RUNNING": "Job is running", "DONE": "Job is completed"}
_INSTANCE_MESSAGES = {
    "PENDING": "Job instance is pending",
    "READY": "Job instance is running",
    "SUCCEEDED": "Job instance has completed",
}


@dataclass(frozen=True)
class Places:
    """Folders of one service: containers (thrown away), logs and events (kept), block volumes (kept)."""

    containers: Path
    logs: Path
    events: Path
    blocks: Path


class Service:
    """Runtime side of a service. Settings stand in the catalogue object's props; the caller holds the runtime's lock."""

    def __init__(
        self, obj: CatalogueObject, version: Version, pool: Pool, platform: Platform, isolation: Isolation, places: Places
    ) -> None:
        self.obj = obj
        self.version = version
        self.pool = pool
        self.platform = platform
        self.places = places
        self.events = EventLog(places.events)
        self.instances: dict[int, Instance] = {}
        self.finished: dict[int, Instance] = {}
        self.status = "PENDING"
        self.message = ""
        self.dropped = False
        self.is_upgrading = False  # until every instance is of the current version and ready
        self.last_call = time.monotonic()
        self._isolation = isolation
        self._created = time.monotonic()
        self._shared_ports = Ports()
        self._cancelled = False
        self._reported: dict[tuple[str, str, str], str] = {}
        self._next_surroundings: dict[int, Surroundings] = {}

    # -- facts

    @property
    def props(self) -> dict[str, Any]:
        return self.obj.props

    @property
    def is_job(self) -> bool:
        return bool(self.props.get("is_job"))

    @property
    def suspended(self) -> bool:
        return bool(self.props.get("suspended"))

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def current_instances(self) -> int:
        return sum(1 for instance in self.instances.values() if instance.placed)

    @property
    def target_instances(self) -> int:
        if self.terminal or self.suspended:
            return 0
        return int(self.props["replicas"] if self.is_job else self.props["min_instances"])

    @property
    def provisioned(self) -> bool:
        return time.monotonic() - self._created > PROVISIONING_SECONDS * self.platform.time_scale

    @property
    def over(self) -> bool:
        return not self.instances

    def ready_instances(self) -> list[Instance]:
        return [i for n, i in sorted(self.instances.items()) if i.status == "READY"]

    # -- orders

    def cancel(self) -> None:
        """Of a job: end it; it is CANCELLED when its processes are gone."""
        if not self.terminal:
            self._cancelled = True
            self.status = "CANCELLING"
            for instance in self.instances.values():
                instance.stop()

    def stop_all(self) -> None:
        for instance in self.instances.values():
            if not instance.stopping:
                instance.stop()

    def kill_all(self) -> None:
        for instance in self.instances.values():
            instance.kill()

    def lose(self, instance: Instance) -> None:
        """The instance's node was taken away: a job fails, a service starts the instance elsewhere."""
        instance.lost = True
        instance.stop()

    # -- moving on

    def tick(self, now: float) -> None:
        if self.dropped:
            self.stop_all()
        elif not self.is_job:
            self._scale()
            self._upgrade()
        elif not self.instances and not self.finished and not self.terminal:
            for number in range(self.target_instances):
                self._add(number)
        for number, instance in list(self.instances.items()):
            around = None if instance.containers or not instance.placed else self._surroundings(instance)
            instance.tick(now, around, self.places.logs / str(number))
            if instance.over:
                self._leave(number, instance)
        self._roll_up()
        self._report_changes()

    def _scale(self) -> None:
        wanted = self.target_instances
        for number in sorted(self.instances, reverse=True):
            if number >= wanted and not self.instances[number].stopping:
                self.instances[number].stop()
        for number in range(wanted):
            if number not in self.instances:
                self._add(number)

    def _upgrade(self) -> None:
        """Replace old instances from the highest number down, one at a time."""
        old = [i for i in self.instances.values() if i.version.digest != self.version.digest]
        if not old and all(i.status == "READY" for i in self.instances.values()):
            self.is_upgrading = False
        if not old or any(i.stopping for i in self.instances.values()):
            return
        fresh = [i for i in self.instances.values() if i.version.digest == self.version.digest]
        if all(i.status == "READY" for i in fresh):
            max(old, key=lambda i: i.number).stop()

    def _add(self, number: int) -> None:
        address = f"127.{64 + self.obj.id // 250 % 64}.{self.obj.id % 250 + 1}.{number % 250 + 1}"
        takes = self.version.spec.takes(self.pool.family)
        instance = Instance(number, self.version, takes, address)
        self.instances[number] = instance
        self.pool.waiting.append(instance)

    def _surroundings(self, instance: Instance) -> Surroundings:
        if instance.number in self._next_surroundings:
            return self._next_surroundings[instance.number]
        instance.ports.take(instance.version, self._shared_ports if self.is_job else None)
        variables = {}
        if self.is_job and self.props.get("replicas_given"):
            variables = {
                "SNOWFLAKE_JOB_INDEX": str(instance.number),
                "SNOWFLAKE_JOBS_COUNT": str(self.props["replicas"]),
            }
        ports = instance.ports.mapping
        spec = instance.version.spec
        around = Surroundings(
            service=self.obj,
            spec=spec,
            folder=self.places.containers / str(instance.number),
            blocks=self.places.blocks / str(instance.number),
            ports=ports,
            endpoints={e.name: ports[e.port] for e in spec.endpoints if e.port is not None},
            variables=variables,
            isolation=self._isolation,
            platform=self.platform,
            restarts=not self.is_job,
        )
        self._next_surroundings[instance.number] = around
        return around

    def _leave(self, number: int, instance: Instance) -> None:
        """All processes of the instance are gone."""
        del self.instances[number]
        self._next_surroundings.pop(number, None)
        if instance in self.pool.waiting:
            self.pool.waiting.remove(instance)
        instance.ports.release()
        if self.is_job:
            self.finished[number] = instance
            if instance.lost:
                instance.status, instance.message = "FAILED", "The node of the job instance was removed"
            elif self._cancelled and instance.status == "TERMINATING":
                instance.status, instance.message = "FAILED", "Cancelled"

    def _roll_up(self) -> None:
        if self.terminal or self.dropped:
            return
        before = self.status
        self.status, self.message = self._job_status() if self.is_job else self._service_status()
        if self.is_job and self.terminal and before != self.status:
            self._shared_ports.release()
            self.platform.save(self.obj, **self.outcome())

    def _service_status(self) -> tuple[str, str]:
        if self.suspended:
            return ("SUSPENDING", "") if self.instances else ("SUSPENDED", "")
        needed = int(self.props["min_ready_instances"])
        ready = len(self.ready_instances())
        if ready >= needed and ready:
            return "RUNNING", "Service is running"
        waiting = next((i.message for i in self.instances.values() if i.status != "READY"), "")
        return "PENDING", waiting

    def _job_status(self) -> tuple[str, str]:
        everyone = [*self.instances.values(), *self.finished.values()]
        states = [instance.status for instance in everyone]
        if self._cancelled:
            return ("CANCELLING", "Job is being cancelled") if self.instances else ("CANCELLED", "Job was cancelled")
        if "FAILED" in states:
            for instance in self.instances.values():
                if not instance.stopping:
                    instance.stop()
            failed = next(i.message for i in everyone if i.status == "FAILED")
            return ("FAILED", failed) if not self.instances else (self.status, failed)
        if states and all(state == "SUCCEEDED" for state in states) and not self.instances:
            return "DONE", _JOB_MESSAGES["DONE"]
        status = "RUNNING" if "READY" in states or "SUCCEEDED" in states else "PENDING"
        return status, _JOB_MESSAGES[status]

    def outcome(self) -> dict[str, Any]:
        """What stays in the catalogue of a job that is over."""
        containers = [
            {
                "instance": str(number),
                "instance_status": instance.status,
                "container": container.spec.name,
                "status": container.status,
                "message": container.message,
                "digest": container.digest,
                "start_time": container.start_time,
                "exit_code": container.last_exit_code,
            }
            for number, instance in sorted(self.finished.items())
            for container in instance.containers
        ]
        return {"job_status": self.status, "job_message": self.message, "job_ended": time.time(), "job_containers": containers}

    def _report_changes(self) -> None:
        """Events, in the order that a job run is documented to have: container, service, instance."""
        containers = [(c, i) for i in [*self.instances.values(), *self.finished.values()] for c in i.containers]
        for container, instance in containers:
            self._report("CONTAINER", container.status, container.message, str(instance.number), container.spec.name)
        self._report("SERVICE", self.status, self.message or self.status)
        for instance in [*self.instances.values(), *self.finished.values()]:
            text = _INSTANCE_MESSAGES.get(instance.status, instance.message) if self.is_job else instance.message
            self._report("SERVICE_INSTANCE", instance.status, text, str(instance.number))

    def _report(self, what: str, status: str, message: str, instance: str = "", container: str = "") -> None:
        key = (what, instance, container)
        if self._reported.get(key) != status:
            self._reported[key] = status
            self.events.add(what, status, message, instance or None, container or None)
