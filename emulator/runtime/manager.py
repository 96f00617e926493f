"""The runtime as the account sees it: all pools and services, the thread that moves them on, and what commands ask of them."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from emulator.catalogue.store import CatalogueObject
from emulator.registry.app import RegistryApp
from emulator.registry.blobs import BlobStore
from emulator.registry.images import ImageIndex, RepositoryKey
from emulator.registry.unpack import ImageCache
from emulator.runtime.functions import call_service_function
from emulator.runtime.gate import AccountGate
from emulator.runtime.gateway import HOST_LABEL, Gateways, Hit
from emulator.runtime.ingress import Ingress, ingress_id
from emulator.runtime.instance import Instance, Version
from emulator.runtime.isolation import detect
from emulator.runtime.platform import Platform
from emulator.runtime.pool import Pool
from emulator.runtime.service import Places, Service
from emulator.runtime.spec import load_spec
from emulator.runtime.system_objects import create_system_objects

if TYPE_CHECKING:
    from emulator.account import Account
    from emulator.commands.context import CommandContext

_TICK_SECONDS = 0.05
_JOB_RETENTION_SECONDS = 30 * 86_400.0
_STOP_SECONDS = 35.0
_log = logging.getLogger(__name__)


class Manager:
    """Holds the lock that everything below it relies on."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.lock = threading.RLock()
        self.pools: dict[str, Pool] = {}
        self.services: dict[int, Service] = {}
        self._departed: dict[int, Service] = {}  # kept under --faults: a late listing still shows them
        self._departed_pools: dict[str, Pool] = {}
        state = account.state
        self.images = ImageIndex(state / "registry" / "repositories", BlobStore(state / "registry" / "blobs"))
        self.cache = ImageCache(state / "images", self.images)
        self.platform = Platform(account, self.cache)
        self.gate = AccountGate(account)
        self.gateways = Gateways(self)
        self._registry = RegistryApp(self.images, self.gate)
        self._ingress = Ingress(self, self.gate)
        self._containers = state / "containers"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        shutil.rmtree(self._containers, ignore_errors=True)
        self._containers.mkdir(parents=True)
        self.isolation = detect(self._containers)

    @property
    def time_scale(self) -> float:
        return self.account.options.time_scale

    # -- the account's side

    def start(self) -> None:
        """Bring back what the catalogue knows: pools with their nodes, services; jobs that were running have failed."""
        self.images.collect_garbage()
        create_system_objects(self.account.store)
        with self.lock:
            for obj in self.account.store.list("COMPUTE POOL"):
                self.add_pool(obj).adopt_nodes()
            for obj in self.account.store.list("SERVICE"):
                self._restore(obj)
        self._thread = threading.Thread(target=self._run, daemon=True, name="container-runtime")
        self._thread.start()

    def stop(self) -> None:
        """SIGTERM to every container, SIGKILL to what is left after the grace period. Running jobs have failed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self.lock:
            running = list(self.services.values())
            for service in running:
                service.dropped = True
                service.stop_all()
        deadline = time.monotonic() + _STOP_SECONDS
        while any(service.instances for service in running):
            if time.monotonic() > deadline:
                for service in running:
                    service.kill_all()
                deadline += _STOP_SECONDS
            with self.lock:
                for service in running:
                    for number, instance in list(service.instances.items()):
                        instance.tick(time.monotonic(), None, service.places.logs / str(number))
                        if instance.over:
                            del service.instances[number]
            time.sleep(0.02)

    def before_drop(self, obj: CatalogueObject) -> None:
        """The object is about to leave the catalogue."""
        # No lock here: the caller may hold the catalogue's, which the runtime's thread takes while it holds its own.
        if obj.kind == "SERVICE":
            service = self.services.get(obj.id)
            if service is not None:
                service.dropped = True
            self.platform.revoke_tokens(obj)
        elif obj.kind == "COMPUTE POOL":
            pool = self.pools.pop(obj.name, None)
            if pool is not None and self.account.faults is not None:
                self._departed_pools[obj.name] = pool
        elif obj.kind == "IMAGE REPOSITORY":
            self.images.drop_repository(RepositoryKey(obj.database, obj.schema, obj.name))

    def call(self, function: CatalogueObject, rows: list[list[Any]], ctx: CommandContext) -> list[Any]:
        """One value per row from the function's service."""
        return call_service_function(self, function, rows, ctx)

    def routes(self) -> list[BaseRoute]:
        methods = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"]
        registry = self._registry.asgi
        return [
            Route("/v2", registry, methods=methods),
            Route("/v2/{path:path}", registry, methods=methods),
            Route("/login", registry, methods=["GET"]),
        ]

    def app_for_host(self, host: str) -> ASGIApp | None:
        return self._ingress.app_for_host(host)

    # -- for commands (they hold `lock` where they change something)

    def add_pool(self, obj: CatalogueObject) -> Pool:
        pool = Pool(obj.name, self.time_scale)
        self.pools[obj.name] = pool
        self.configure_pool(obj)
        return pool

    def configure_pool(self, obj: CatalogueObject) -> None:
        """The catalogue object was changed: take its settings over."""
        props, pool = obj.props, self.pools[obj.name]
        pool.configure(
            props["instance_family"],
            props["min_nodes"],
            props["max_nodes"],
            props["auto_suspend_secs"],
            bool(props["suspended"]),
        )
        self._lose(pool.lost_instances())

    def kill_node(self, pool: str) -> str | None:
        """One node of the pool dies with all that runs on it, a busy one if there is any; its name, None without one."""
        with self.lock:
            lost = self.pools[pool].lose_node() if pool in self.pools else None
            if lost is None:
                return None
            node, instances = lost
            self._lose(instances)
            for instance in instances:
                instance.kill()
            return node.id

    def _lose(self, instances: list[Instance]) -> None:
        for instance in instances:
            for service in self.services.values():
                if instance in service.instances.values():
                    service.lose(instance)

    def resume_pool(self, obj: CatalogueObject) -> None:
        with self.lock:
            if obj.props["suspended"]:
                self.account.store.set_props(obj, suspended=False, resumed_on=time.time())
                self.pools[obj.name].resume()
                for service in self.services_in(obj.name):
                    if service.props.get("suspended_by_pool"):
                        self.resume_service(service)

    def suspend_pool(self, obj: CatalogueObject) -> None:
        """Services are suspended with it, jobs run on."""
        with self.lock:
            if not obj.props["suspended"]:
                self.account.store.set_props(obj, suspended=True)
                for service in self.services_in(obj.name):
                    if not service.is_job and not service.suspended:
                        self.suspend_service(service, by_pool=True)
                self.pools[obj.name].suspend()

    def services_in(self, pool: str) -> list[Service]:
        return [s for s in self.services.values() if s.props["compute_pool"] == pool and not s.dropped]

    def add_service(self, obj: CatalogueObject, version: Version) -> Service:
        places = Places(
            self._containers / str(obj.id),
            self.account.state / "logs" / str(obj.id),
            self.account.state / "logs" / str(obj.id) / "events.jsonl",
            self.account.state / "blocks" / str(obj.id),
        )
        # A job that is over outlives its pool in the catalogue.
        name = obj.props["compute_pool"]
        pool = self.pools.get(name) or Pool(name, self.time_scale)
        service = Service(obj, version, pool, self.platform, self.isolation, places)
        self.services[obj.id] = service
        return service

    def refresh_service(self, obj: CatalogueObject) -> None:
        """The catalogue object was changed."""
        service = self.services.get(obj.id)
        if service is not None:
            service.obj = obj

    def suspend_service(self, service: Service, *, by_pool: bool = False) -> None:
        with self.lock:
            if not service.suspended:
                now = time.time()
                self.account.store.set_props(service.obj, suspended=True, suspended_on=now, suspended_by_pool=by_pool)
                service.is_upgrading = False
                service.status = "SUSPENDING"

    def resume_service(self, service: Service) -> None:
        with self.lock:
            if service.suspended:
                self.account.store.set_props(service.obj, suspended=False, resumed_on=time.time(), suspended_by_pool=False)
                service.status = "PENDING"
            service.last_call = time.monotonic()

    def shown_service(self, obj: CatalogueObject) -> Service | None:
        """The runtime side of a service that a listing has found; a late one finds services that are gone."""
        return self.services.get(obj.id) or self._departed.get(obj.id)

    def shown_pool(self, obj: CatalogueObject) -> Pool:
        """As `shown_service`, for a pool."""
        return self.pools.get(obj.name) or self._departed_pools[obj.name]

    def gateway_of(self, identifier: str) -> CatalogueObject | None:
        """The gateway whose host begins with this label."""
        return next((obj for obj in self.account.store.list("GATEWAY") if ingress_id(obj, HOST_LABEL) == identifier), None)

    def find_ingress(self, identifier: str) -> Hit | None:
        """The service and endpoint behind the first label of an ingress host; behind a gateway's, those of its next request."""
        with self.lock:
            gateway = self.gateway_of(identifier)
            if gateway is not None:
                return self.gateways.pick(gateway)
            for service in self.services.values():
                for endpoint in service.version.spec.endpoints:
                    if endpoint.public and not service.dropped and ingress_id(service.obj, endpoint.name) == identifier:
                        return Hit(service, endpoint.name)
        return None

    # -- the thread

    def _run(self) -> None:
        while not self._stop.wait(_TICK_SECONDS):
            try:
                self.tick(time.monotonic())
            except Exception:  # noqa: BLE001 - one broken service must not stop the others
                _log.exception("the container runtime stumbled and goes on")

    def tick(self, now: float) -> None:
        """One step of everything."""
        with self.lock:
            faults = self.account.faults
            for pool in list(self.pools.values()):
                if faults is not None:
                    pool.starved = pool.wants_nodes and faults.starves(pool.name)
                if pool.tick(now) and not pool.suspended:
                    obj = self.account.store.find("COMPUTE POOL", "", "", pool.name)
                    if obj is not None:
                        self.suspend_pool(obj)
            for identifier, service in list(self.services.items()):
                service.tick(now)
                if service.dropped and service.over:
                    self._forget(identifier, service)
                elif not service.is_job:
                    self._auto_suspend(service, now)
                elif service.terminal and time.time() - service.props.get("job_ended", time.time()) > _JOB_RETENTION_SECONDS:
                    self.account.drop(service.obj)

    def _auto_suspend(self, service: Service, now: float) -> None:
        seconds = int(service.props.get("auto_suspend_secs") or 0)
        public = any(endpoint.public for endpoint in service.version.spec.endpoints)
        if seconds and not public and not service.suspended and service.status == "RUNNING":
            if now - service.last_call > seconds * min(1.0, self.time_scale):
                self.suspend_service(service)
        elif service.status != "RUNNING":
            service.last_call = max(service.last_call, now)

    def _forget(self, identifier: int, service: Service) -> None:
        del self.services[identifier]
        if self.account.faults is not None:
            self._departed[identifier] = service
        shutil.rmtree(service.places.containers, ignore_errors=True)
        shutil.rmtree(service.places.logs, ignore_errors=True)
        shutil.rmtree(service.places.blocks, ignore_errors=True)

    def _restore(self, obj: CatalogueObject) -> None:
        props = obj.props
        spec = load_spec(props["spec"])
        service = self.add_service(obj, Version(spec, props["digests"], props["spec_digest"]))
        if props.get("job_status"):
            service.status, service.message = props["job_status"], props.get("job_message", "")
        elif props.get("is_job"):
            service.status, service.message = "FAILED", "The account was restarted while the job was running"
            self.platform.save(obj, **service.outcome())
            service.events.add("SERVICE", "FAILED", service.message)
