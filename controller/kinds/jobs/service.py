"""Jobs of a kind: names, attempts, what a finished one left behind, what a running one says, and the statement that starts one.

A job service cannot be altered and keeps its name after its end, so every attempt has its own: `<name>_<identity8>_<attempt>`. The name
is made of what is wanted alone: a daemon that died right after the statement finds its own job again, and error 2002 means 'started
already'. Whether the work is done is told by what the job left on the stage (`controller.kinds.jobs.result`), never by the job's status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from controller.account import statements as sql
from controller.account.snapshot import Row
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject
from controller.api.parts import Resources
from controller.kinds.base import Gatherer, Sql
from controller.kinds.instance_families import Family
from controller.kinds.jobs.endings import CONTAINER, HOPELESS, LOG_LINES, Ending, ending_of, last_progress
from controller.kinds.jobs.result import read_result
from controller.kinds.properties import as_upper
from controller.kinds.references import schema_of
from controller.kinds.service_health import exit_code, services_in
from controller.kinds.services.comparison import Document
from controller.kinds.services.specification import render

# what the nodes of one job open to each other (container/nodes.py); nobody else reaches these endpoints
_NODE_PORTS = {"rendezvous": 29500, "preflight": 29501}
_RANK_PORTS = "32768-60999"  # NCCL and Gloo take any port that Linux gives to who names none
_PATIENCE = 10  # looks at the stage before a result that did not arrive counts as missing
_TOLD_APART = 20.0  # seconds; what is remembered of a running job is not written at every look
_USER = 1000  # the user `snowcat` of our images
_SHM_SHARE = 0.3  # of a node's memory, for the shared memory of data loaders and NCCL


@dataclass(frozen=True)
class Attempt:
    """One job service of ours, as SHOW SERVICES has it."""

    name: QualifiedName
    number: int
    status: str
    row: Row

    @property
    def finished(self) -> bool:
        return self.status in ("DONE", "FAILED", "CANCELLED", "INTERNAL_ERROR")

    @property
    def failed(self) -> bool:
        return self.finished and self.status != "DONE"


@dataclass(frozen=True)
class JobFact:
    """What was gathered about the jobs of one identity. `result` is the document that the last successful one wrote."""

    identity: str  # 8 hex digits
    prefix: str  # of the jobs' names, upper case: the attempt follows
    result: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] | None = None
    endings: Mapping[int, Ending] = field(default_factory=dict)
    looks: int = 0  # how often the result of a job that is DONE was looked for in vain
    lacks: str = ""  # what of the result did not arrive on the stage
    seconds: float = 0.0  # that its attempts ran, as far as they said so and this project remembers
    forgiven: int = 0  # failures up to this attempt do not count: a person said `snowcat reconcile`


def attempts(rows: Sequence[Row], prefix: str, schema: QualifiedName) -> list[Attempt]:
    """The attempts among the rows of SHOW SERVICES whose names are `prefix` and a number, by number."""
    pattern = re.compile(re.escape(prefix.upper()) + r"_(\d+)")
    found = []
    for row in rows:
        match = pattern.fullmatch(str(row.get("name", "")))
        if match:
            name = schema.child(Identifier(str(row["name"])))
            found.append(Attempt(name, int(match[1]), as_upper(row.get("status")) or "UNKNOWN", row))
    return sorted(found, key=lambda attempt: attempt.number)


def job_name(obj: DesiredObject, fact: JobFact, attempt: int) -> QualifiedName:
    return schema_of(obj.key.name).child(Identifier(f"{fact.prefix}_{attempt}"))


def gather_job(obj: DesiredObject, identity: str, stage: QualifiedName, document: str, gatherer: Gatherer, *, infix: str = "") -> JobFact:
    """Look at the stage for the finished work, else at the jobs.

    `document` is the path on the stage of what is written last; it counts only with all files that it lists. What was read once is
    remembered for as long as the stage is the same one.
    Jobs are called `<name>_<infix><identity>_<attempt>`.
    """
    prefix = f"{obj.key.name.name.text}_{infix}{identity}".upper()
    if gatherer.offline:
        return JobFact(identity, prefix)
    left = read_result(stage, document, gatherer)
    result = left.document
    found = attempts(gatherer.show(services_in(obj.key.name)), prefix, schema_of(obj.key.name))
    progress = None
    if found and not found[-1].finished and found[-1].status == "RUNNING" and result is None:
        progress = last_progress(gatherer.service_logs(found[-1].name.sql, 0, CONTAINER, LOG_LINES))
    seconds = sum(_ran(attempt, progress if attempt is found[-1] else None, result, gatherer) for attempt in found)
    endings = (
        {attempt.number: ending_of(attempt.name, attempt.row, obj, gatherer) for attempt in found if attempt.failed}
        if result is None
        else {}
    )
    if left.lacks and found and found[-1].number in endings:
        ending = endings[found[-1].number]
        endings[found[-1].number] = replace(ending, message=f"{ending.message}; {left.lacks}")
    looks = 0
    if result is None and found and found[-1].status == "DONE":
        looks = int(gatherer.recall(f"looks:{found[-1].name}") or 0) + 1
        gatherer.remember(f"looks:{found[-1].name}", looks)
    forgiven = _forgiven(obj, identity, found, gatherer)
    return JobFact(identity, prefix, result, progress, endings, looks, left.lacks, seconds, forgiven)


def _ran(attempt: Attempt, progress: Mapping[str, Any] | None, result: Mapping[str, Any] | None, gatherer: Gatherer) -> float:
    """How long an attempt has run, by its own last word on it. That is remembered: the log of a job that is gone cannot be read."""
    key = f"ran:{attempt.name}:{attempt.row.get('created_on')}"
    known = float(gatherer.recall(key) or 0.0)
    said = (progress or {}).get("elapsedSeconds")
    if result is not None and attempt.status == "DONE":
        said = result.get("elapsedSeconds")
    if not isinstance(said, int | float) or said <= known:
        return known
    if said >= known + _TOLD_APART or result is not None:
        gatherer.remember(key, float(said))
    return float(said)


def _forgiven(obj: DesiredObject, identity: str, found: Sequence[Attempt], gatherer: Gatherer) -> int:
    """Attempts up to here were failures before a person asked for another try by `snowcat reconcile`."""
    asked = gatherer.recall(f"reconcile:{obj.key}")
    key = f"forgiven:{obj.key.name}:{identity}"
    known = gatherer.recall(key) or {"asked": None, "upTo": 0}
    if asked is not None and known["asked"] != asked:
        known = {"asked": asked, "upTo": found[-1].number if found and found[-1].finished else known["upTo"]}
        gatherer.remember(key, known)
    return int(known["upTo"])


# ---- what to do next -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Next:
    """What the attempts so far call for: start `attempt`, or nothing (None), or a person (`stalled` says why)."""

    attempt: int | None = None
    stalled: str = ""
    reason: str = ""


def next_step(found: Sequence[Attempt], fact: JobFact, limit: int) -> Next:
    """Pure: the first attempt, the next after a failure, or the end of the road."""
    if not found:
        return Next(attempt=1)
    last = found[-1]
    if not last.finished:
        return Next()
    if last.number <= fact.forgiven:
        return Next(attempt=last.number + 1)
    if last.status == "DONE":
        lacks = fact.lacks or "its result is not on the stage"
        text = f"job {last.name.name} ended well, but {lacks}; run `snowcat reconcile` to start it again"
        return Next(stalled=text, reason="ResultMissing") if fact.looks > _PATIENCE else Next()
    ending = fact.endings.get(last.number, Ending(None, last.status.lower()))
    if last.status == "CANCELLED":
        return Next(stalled=f"attempt {last.number} was cancelled; run `snowcat reconcile` to start it again", reason="Cancelled")
    if ending.code is not None and ending.code in HOPELESS:
        return Next(stalled=_advise(ending.message), reason=HOPELESS[ending.code])
    counted = sum(1 for attempt in found if attempt.failed and attempt.number > fact.forgiven)
    if counted <= limit:
        return Next(attempt=last.number + 1)
    code = exit_code(ending.code, ending.message)
    said = f"failed {counted} times{f', {code}' if code else ''}: {ending.message}"
    return Next(stalled=_advise(said), reason="RetriesExhausted")


def _advise(message: str) -> str:
    return message if "snowcat reconcile" in message else f"{message.rstrip('. ')}; mend it, then run `snowcat reconcile`"


# ---- starting one ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mount:
    """A folder of a stage in the container."""

    volume: str
    stage: QualifiedName
    folder: str
    path: str


@dataclass(frozen=True)
class JobRequest:
    """All that a job service is started with."""

    name: QualifiedName
    pool: QualifiedName
    image: str
    env: Mapping[str, str]
    mounts: Sequence[Mount]
    command: Sequence[str] = ()
    resources: Resources | None = None
    family: Family | None = None
    gpus: int = 0  # wanted on a GPU family when the manifest names none
    secrets: Sequence[Mapping[str, Any]] = ()
    replicas: int = 1
    warehouse: Identifier | None = None
    access: Sequence[QualifiedName] = ()

    def document(self) -> Document:
        """The job's specification."""
        container: dict[str, Any] = {"name": CONTAINER, "image": self.image}
        if self.command:
            container["command"] = list(self.command)
        container["env"] = dict(self.env)
        container["volumeMounts"] = [{"name": mount.volume, "mountPath": mount.path} for mount in self.mounts]
        volumes = [stage_volume(mount) for mount in self.mounts]
        resources = sized(self.resources, self.family, self.gpus)
        if resources:
            container["resources"] = resources
        if self.family is not None and self.family.gpus:
            container["volumeMounts"].append({"name": "dshm", "mountPath": "/dev/shm"})  # noqa: S108 (the container's shared memory)
            volumes.append({"name": "dshm", "source": "memory", "size": f"{max(1, int(self.family.memory_gib * _SHM_SHARE))}Gi"})
        if self.secrets:
            container["secrets"] = [dict(secret) for secret in self.secrets]
        body: dict[str, Any] = {"containers": [container]}
        if self.replicas > 1:
            body["endpoints"] = [
                *({"name": name, "port": port, "protocol": "TCP"} for name, port in _NODE_PORTS.items()),
                {"name": "ranks", "portRange": _RANK_PORTS, "protocol": "TCP"},
            ]
        body["volumes"] = volumes
        return {"spec": body}

    def statement(self, comment: str) -> Sql:
        """EXECUTE JOB SERVICE; a job of that name that is there already is this very one."""
        lines = [
            "EXECUTE JOB SERVICE",
            f"IN COMPUTE POOL {self.pool.sql}",
            f"FROM SPECIFICATION {sql.dollar(chr(10) + render(self.document()))}",
            f"NAME = {self.name.sql}",
            "ASYNC = TRUE",
        ]
        if self.replicas > 1:
            lines.append(sql.equals("REPLICAS", sql.number(self.replicas)))
        if self.warehouse is not None:
            lines.append(sql.equals("QUERY_WAREHOUSE", self.warehouse.sql))
        lines.append(sql.equals("COMMENT", sql.text(comment)))
        if self.access:
            lines.append(sql.equals("EXTERNAL_ACCESS_INTEGRATIONS", sql.names(name.name for name in self.access)))
        return Sql("\n  ".join(lines), tolerate=frozenset({1998, 2002}))


def stage_volume(mount: Mount) -> dict[str, Any]:
    """A volume for a mount, owned by the user of our images."""
    folder = mount.folder.strip("/")
    name = f"@{mount.stage.sql}" + (f"/{folder}" if folder else "")
    return {"name": mount.volume, "source": "stage", "uid": _USER, "gid": _USER, "stageConfig": {"name": name}}


def sized(resources: Resources | None, family: Family | None, gpus: int) -> dict[str, Any]:
    """The manifest's resources; on a GPU family with equal GPU request and limit, since without both no GPU is visible."""
    document: dict[str, Any] = resources.model_dump(mode="json", by_alias=True, exclude_none=True) if resources is not None else {}
    asked = (document.get("requests") or {}).get("nvidia.com/gpu")
    if family is not None and family.gpus and asked is None and gpus:
        for part in ("requests", "limits"):
            document[part] = {**document.get(part, {}), "nvidia.com/gpu": min(gpus, family.gpus)}
    return document
