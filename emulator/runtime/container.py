"""One container of one instance: prepared, started, probed, restarted and ended."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from emulator.catalogue.store import CatalogueObject
from emulator.registry.unpack import ImageUnusable
from emulator.runtime import isolation as isolation_module
from emulator.runtime.environment import HOME, Paths, compose
from emulator.runtime.isolation import Isolation
from emulator.runtime.logs import ContainerLog
from emulator.runtime.platform import Platform
from emulator.runtime.probes import Prober
from emulator.runtime.process import ContainerProcess
from emulator.runtime.spec import ContainerSpec, Probe, ServiceSpec
from emulator.runtime.volumes import ContainerVolumes, DirectoryMount, StageMount

GRACE_SECONDS = 30.0
_MINIMUM_GRACE = 3.0
_TOKEN_REFRESH_SECONDS = 300.0
_BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_preparers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="container-start")


@dataclass(frozen=True)
class Surroundings:
    """What the containers of one instance share."""

    service: CatalogueObject
    spec: ServiceSpec
    folder: Path  # of the instance
    blocks: Path  # block volumes of the instance, which outlive its containers
    ports: dict[int, int]
    endpoints: dict[str, int]
    variables: dict[str, str]  # job index and count
    isolation: Isolation
    platform: Platform
    restarts: bool  # services restart their containers, jobs do not

    def port(self, probe: Probe) -> int:
        """Where the probe's declared port really is."""
        return self.ports.get(probe.port, probe.port)


class Container:
    """States as SHOW SERVICE CONTAINERS has them: PENDING, READY, DONE, FAILED, TERMINATING."""

    def __init__(self, spec: ContainerSpec, digest: str, around: Surroundings, log: ContainerLog) -> None:
        self.spec = spec
        self.digest = digest
        self.log = log
        self.status = "PENDING"
        self.message = "Waiting to start"
        self.restart_count = 0
        self.start_time: float | None = None
        self.last_exit_code: int | None = None
        self.last_restart_time: float | None = None
        self._around = around
        self._folder = around.folder / spec.name
        self._process: ContainerProcess | None = None
        self._volumes: ContainerVolumes | None = None
        self._starting: Future[None] | None = None
        self._exit_code: int | None = None
        self._stopping_since: float | None = None
        self._killed = False
        self._next_start = 0.0
        self._next_token = 0.0
        self._violation: str | None = None
        self._readiness: Prober | None = None
        self._liveness: Prober | None = None

    @property
    def over(self) -> bool:
        """Nothing of it runs any more, and nothing will."""
        return self.status in ("DONE", "FAILED") or (self._stopping_since is not None and not self._busy)

    @property
    def _busy(self) -> bool:
        return self._process is not None or self._starting is not None

    def stop(self) -> None:
        """Ask it to end: SIGTERM now, SIGKILL after the grace period."""
        if self._stopping_since is None and self.status not in ("DONE", "FAILED"):
            self._stopping_since = time.monotonic()
            self.status, self.message = "TERMINATING", "Terminating"
            if self._process is not None:
                self._process.terminate()

    def kill(self) -> None:
        self.stop()
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def tick(self, now: float) -> None:
        """Move on by what has happened; never blocks."""
        if self._starting is not None:
            if self._starting.done():
                self._started(now)
            return
        if self._process is not None:
            self._watch(now)
        elif self._stopping_since is None and self.status == "PENDING" and now >= self._next_start:
            self._starting = _preparers.submit(self._start)

    # -- starting

    def _start(self) -> None:
        """Runs on a worker thread: unpack, lay out, start."""
        around, spec = self._around, self.spec
        image = around.platform.unpack(self.digest)
        root = self._folder / "root"
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(image.files, root, symlinks=True)
        top = tuple("/" + path.name for path in image.files.iterdir())
        for path in (HOME, "/tmp", image.config.working_directory):  # noqa: S108 - inside of the container's root
            Path(f"{root}{path}").mkdir(parents=True, exist_ok=True)
        private = around.isolation.private
        secrets, secret_files = self._secrets()
        directories = self._directories(secret_files)
        stages = self._stages()
        volumes = ContainerVolumes(self._folder, root, stages, directories, around.isolation, self._report)
        declared = (*top, *(mount.path for mount in stages), *(mount.path for mount in directories), HOME)
        paths = Paths(None if private else root.resolve(), tuple(dict.fromkeys(declared)))
        start = compose(
            spec,
            image.config,
            account={**around.platform.account_variables(around.service), **around.variables},
            secrets=secrets,
            ports=around.ports,
            endpoints=around.endpoints,
            paths=paths,
        )
        if not start.argv:
            raise ImageUnusable("the image has no ENTRYPOINT or CMD, and the specification no command")
        host = isolation_module.host_binds(root)
        config = {
            **host,
            "binds": [*host["binds"], *volumes.binds],
            "overlays": volumes.overlays,
            "guarded": volumes.guarded,
            "private": private,
            "directory": start.directory,
            "environment": start.environment,
            "argv": start.argv,
        }
        self._volumes = volumes
        self._process = ContainerProcess(config, self.log, self._report)
        volumes.watch(self._process.pid)

    def _started(self, now: float) -> None:
        assert self._starting is not None
        error, self._starting = self._starting.exception(), None
        if error is not None:
            self._volumes = None
            self._process = None
            self.message = f"Cannot start: {error}"
            self.log.write("stderr", self.message)
            self._failed_run(now, 125)
            return
        self.start_time = time.time()
        around, spec = self._around, self.spec
        scale = around.platform.time_scale
        self._readiness = Prober(spec.readiness, around.port(spec.readiness), scale) if spec.readiness else None
        self._liveness = Prober(spec.liveness, around.port(spec.liveness), scale) if spec.liveness else None
        if self._stopping_since is not None and self._process is not None:
            if self._killed:  # while it was starting
                self._process.kill()
            else:
                self._process.terminate()

    def _directories(self, secret_files: list[DirectoryMount]) -> list[DirectoryMount]:
        found = list(secret_files)
        if self.spec.token_path is not None:
            session = self._folder / "session"
            session.mkdir(mode=0o700)
            self._write_token(session)
            found.append(DirectoryMount(str(Path(self.spec.token_path).parent), session))
        for name, path in self.spec.mounts:
            kind = self._around.spec.volumes[name].kind
            if kind != "stage":
                home = self._around.blocks if kind == "block" else self._around.folder / "volumes"
                found.append(DirectoryMount(path, home / name))
        return found

    def _stages(self) -> list[StageMount]:
        found = []
        for name, path in self.spec.mounts:
            volume = self._around.spec.volumes[name]
            if volume.stage is not None:
                source, target = self._around.platform.stage_folder(volume.stage, self._around.service)
                found.append(StageMount(path, source, target))
        return found

    def _secrets(self) -> tuple[dict[str, str], list[DirectoryMount]]:
        variables: dict[str, str] = {}
        files = []
        for index, use in enumerate(self.spec.secrets):
            values = self._around.platform.secret_values(use.name, self._around.service)
            if use.variable and use.key:
                if use.key not in values:
                    raise LookupError(f"secret {use.name} has no {use.key}")
                variables[use.variable] = values[use.key]
            elif use.directory:
                folder = self._folder / f"secret-{index}"
                folder.mkdir(mode=0o700)
                for key, value in values.items():
                    _write_private(folder / key, value)
                files.append(DirectoryMount(use.directory, folder))
        return variables, files

    def _write_token(self, session: Path) -> None:
        assert self.spec.token_path is not None
        _write_private(session / Path(self.spec.token_path).name, self._around.platform.service_token(self._around.service))
        self._next_token = time.monotonic() + _TOKEN_REFRESH_SECONDS

    # -- running

    def _watch(self, now: float) -> None:
        assert self._process is not None and self._volumes is not None
        if self._exit_code is None:
            self._exit_code = self._process.poll()
        if self._exit_code is not None:
            if self._volumes.finish():
                self._ended(now, self._exit_code)
            return
        if self._stopping_since is not None:
            grace = max(_MINIMUM_GRACE, GRACE_SECONDS * min(1.0, self._around.platform.time_scale))
            if not self._killed and now - self._stopping_since > grace:
                self._killed = True
                self._process.kill()
            return
        if self.spec.token_path is not None and now >= self._next_token:
            self._write_token(self._folder / "session")
        self._probe(now)

    def _probe(self, now: float) -> None:
        if self._readiness is None:
            self.status, self.message = "READY", "Running"
        else:
            self._readiness.tick(now)
            if self._readiness.passed:
                self.status, self.message = "READY", "Running"
            else:
                self.status = "PENDING"
                self.message = self._readiness.message if self._readiness.exhausted else "Waiting for the readiness probe"
        if self._liveness is not None:
            self._liveness.tick(now)
            if self._liveness.exhausted and self._process is not None:
                self.log.write("stderr", f"liveness probe failed {self._liveness.failures} times, restarting")
                self._liveness = None
                self._process.kill()

    def _ended(self, now: float, code: int) -> None:
        self._process = self._volumes = self._exit_code = None
        self.last_exit_code = code
        if self._stopping_since is not None:
            self.message = "Terminated"
            return
        if code == 0 and self._violation is None and not self._around.restarts:
            self.status, self.message = "DONE", "Completed successfully"
            return
        self.message = self._violation or f"Container exited with exit code {code}"
        self._failed_run(now, code)

    def _failed_run(self, now: float, code: int) -> None:
        """A run that ended although it should not have: a job fails, a service starts it again, ever more slowly."""
        self.last_exit_code = code
        if not self._around.restarts:
            self.status = "FAILED"
            return
        delay = _BACKOFF_SECONDS[min(self.restart_count, len(_BACKOFF_SECONDS) - 1)]
        self._next_start = now + max(0.3, delay * min(1.0, self._around.platform.time_scale))
        self.status = "PENDING"
        self.restart_count += 1
        self.last_restart_time = time.time()
        self.log.restarted()

    def _report(self, text: str) -> None:
        """From the first process and write-back: what a stage volume refused."""
        if text == "unguarded":
            if self._volumes is not None:
                self._volumes.unguarded()
            return
        self.log.write("stderr", f"snowcat: {text}")
        if not text.startswith(("append", "rename", "random")) or not self._guard_works:
            self._violation = text

    @property
    def _guard_works(self) -> bool:
        return self._volumes is not None and self._volumes.guard_works


def _write_private(path: Path, text: str) -> None:
    """Atomically, readable by nobody else."""
    temporary = path.with_name(path.name + ".new")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
