"""From an object that is not ready to the one cause: chains, parts, and what weighs more than what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from reconcile_world import POOL, World, key, warehouse, write

from controller.api.objects import DesiredObject, Graph, Location, ObjectKey
from controller.api.registry import KINDS as MANIFESTS
from controller.kinds.base import Health, Observation
from controller.kinds.mark import Mark
from controller.kinds.registry import KINDS
from controller.reconcile.engine import invalid_objects
from controller.reconcile.planning.change import Action, Block, Change, ObjectPlan, Plan
from controller.reconcile.planning.plan import plan
from controller.reconcile.planning.prune import Rules
from controller.reconcile.report import ObjectStatus
from controller.reconcile.status import Context, statuses
from controller.reconcile.why import Cause, Why, why

SPECS: Mapping[str, dict[str, Any]] = {
    "Service": {"computePool": "pool", "specification": {"spec": {"containers": [{"name": "main", "image": "/d/s/r/i:1"}]}}},
    "ComputePool": {"instanceFamily": "GPU_NV_S"},
    "Stage": {},
    "Secret": {"valueFrom": {"env": "TOKEN"}},
    "NetworkRule": {"values": ["a.com"]},
}


@dataclass(frozen=True)
class It:
    """One object as a plan knows it, said shortly. `after` are those it waits for, `needs` all it refers to."""

    name: str
    health: Health = Health.HEALTHY
    reason: str = ""
    message: str = ""
    block: Block | None = None
    pending: bool = False
    after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    parent: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    marked: Mapping[str, str] = field(default_factory=dict)
    ready: bool | None = None


def explained(things: Iterable[It], asked: str, leader: str = "") -> Why:
    entries, objects = {}, {}
    for it in things:
        k = _key(it.name)
        obj = _desired(k, it)
        action = Action.BLOCKED if it.block else Action.CREATE if it.pending else Action.NONE
        waits = tuple(map(_key, it.after))
        change = Change(k, action, reason=it.message, after=waits, block=it.block, block_reason=it.reason if it.block else "")
        seen = Observation(it.health is not Health.MISSING, it.health, it.message, it.reason)
        healthy = it.health in (Health.HEALTHY, Health.SUSPENDED) and action is Action.NONE
        found = Mark("p", k.kind, "x", it.marked) if it.marked else None
        ready = healthy if it.ready is None else it.ready
        entries[k] = ObjectPlan(k, obj, seen, change, ready, tuple(map(_key, it.parts)), found)
        if obj is not None:
            objects[k] = obj
    now = Plan("p", "a", entries, Graph(objects))
    return why(_key(asked), now, {s.key: s for s in statuses(now, Context({}, {}, {}))}, leader)


def _key(text: str) -> ObjectKey:
    kind, _, name = text.partition("/")
    return key(kind, name if MANIFESTS[kind].scope == "account" else f"d.s.{name}")


def _desired(k: ObjectKey, it: It) -> DesiredObject | None:
    model = MANIFESTS[k.kind]
    needs = frozenset(map(_key, (*it.needs, *it.after)))
    document = {"apiVersion": "snowcat/v1", "kind": k.kind, "metadata": {"name": "x", **it.metadata}, "spec": SPECS.get(k.kind, {})}
    manifest = model.model_validate(document) if k.kind in SPECS else model.model_construct(metadata=_stage(it).metadata)
    return DesiredObject(k, manifest, Location(Path("all.yaml"), 3), {}, needs, _key(it.parent) if it.parent else None)


def _stage(it: It) -> Any:
    return MANIFESTS["Stage"].model_validate({"apiVersion": "snowcat/v1", "kind": "Stage", "metadata": {"name": "x", **it.metadata}})


NO_NODE = It("ComputePool/pool", Health.DEGRADED, "NoCapacity", "no GPU_NV_S node is to be had")
FAILED_JOB = It("FineTuneJob/job", Health.DEGRADED, "TooManyAttempts", "attempt 3 failed: out of memory", Block.STALLED)
WEB = "Service/web"
CASES: list[tuple[str, list[It], str, list[str], Cause, str]] = [
    ("all is well", [It("Stage/st")], "Stage/st", ["Stage/st"], Cause.FINE, "nothing to do"),
    (
        "a chain of waits ends where nothing waits",
        [
            It("NetworkRule/r", Health.DEGRADED, "Immutable", "type cannot be changed", Block.STALLED),
            It("Stage/st", Health.MISSING, pending=True, after=("NetworkRule/r",)),
            It(WEB, Health.MISSING, pending=True, after=("Stage/st",)),
        ],
        WEB,
        [WEB, "Stage/st", "NetworkRule/r"],
        Cause.STALLED,
        "snowcat reconcile NetworkRule/r",
    ),
    (
        "a composite is what its part is",
        [
            It(WEB, Health.DEGRADED, "ServiceFailed", "container main: exit code 1", parent="ModelDeployment/web"),
            It("ModelDeployment/web", parts=(WEB,), ready=False),
        ],
        "ModelDeployment/web",
        ["ModelDeployment/web", WEB],
        Cause.CONTAINER,
        "snowcat logs Service/web",
    ),
    (
        "a deployment waits for a job that failed",
        [
            FAILED_JOB,
            It(WEB, Health.MISSING, pending=True, after=("FineTuneJob/job",), parent="ModelDeployment/web"),
            It("ModelDeployment/web", parts=(WEB,), ready=False),
        ],
        "ModelDeployment/web",
        ["ModelDeployment/web", WEB, "FineTuneJob/job"],
        Cause.JOB,
        "snowcat logs FineTuneJob/job",
    ),
    (
        "a secret without a value",
        [
            It("Secret/token", Health.MISSING, "Stalled", "the environment variable TOKEN is not set", Block.STALLED),
            It(WEB, Health.MISSING, pending=True, after=("Secret/token",)),
        ],
        WEB,
        [WEB, "Secret/token"],
        Cause.SECRET,
        "valueFrom",
    ),
    (
        "what a person must mend goes before what mends itself",
        [
            It("Stage/st", Health.PROGRESSING, "Starting", "starting"),
            It("Secret/token", Health.MISSING, "Stalled", "no value", Block.STALLED),
            NO_NODE,
            It(WEB, Health.MISSING, pending=True, after=("ComputePool/pool", "Secret/token", "Stage/st")),
        ],
        WEB,
        [WEB, "Secret/token"],
        Cause.SECRET,
        "",
    ),
    (
        "a service that starts on a pool without nodes",
        [NO_NODE, It(WEB, Health.PROGRESSING, "Starting", "pending", needs=("ComputePool/pool",))],
        WEB,
        [WEB, "ComputePool/pool"],
        Cause.CAPACITY,
        "backupInstanceFamilies",
    ),
    (
        "a container that fails on a pool that is well",
        [It("ComputePool/pool"), It(WEB, Health.DEGRADED, "ServiceFailed", "exit code 1", needs=("ComputePool/pool",))],
        WEB,
        [WEB],
        Cause.CONTAINER,
        "",
    ),
    (
        "a job that waits in line",
        [It("FineTuneJob/job", Health.MISSING, "Queued", "2nd in the queue for pool, behind FineTuneJob/other", Block.WAITING)],
        "FineTuneJob/job",
        ["FineTuneJob/job"],
        Cause.CAPACITY,
        "",
    ),
    (
        "a job that no node is large enough for",
        [It("FineTuneJob/job", Health.MISSING, "NeverFits", "asks for 8 CPU on one node, and a node of POOL has 3", Block.STALLED)],
        "FineTuneJob/job",
        ["FineTuneJob/job"],
        Cause.CAPACITY,
        "waiting does not help: give the pool an instanceFamily with larger nodes",
    ),
    (
        "suspended in the manifest, and what needs it",
        [
            It("Stage/st", Health.MISSING, "Suspended", "metadata.suspend is true", Block.HELD, metadata={"suspend": True}),
            It(WEB, Health.MISSING, pending=True, after=("Stage/st",)),
        ],
        WEB,
        [WEB, "Stage/st"],
        Cause.SUSPENDED,
        "metadata.suspend: true out of all.yaml:3",
    ),
    (
        "suspended by a person",
        [It(WEB, Health.SUSPENDED, "Suspended", "suspended", Block.HELD, marked={"paused": "yes", "pausedBy": "ann"})],
        WEB,
        [WEB],
        Cause.SUSPENDED,
        "snowcat resume",
    ),
    (
        "a part of what is suspended",
        [
            It(WEB, Health.MISSING, "Suspended", "metadata.suspend is true", Block.HELD, parent="ModelDeployment/web"),
            It("ModelDeployment/web", Health.MISSING, "Suspended", "", Block.HELD, parts=(WEB,), metadata={"suspend": True}),
        ],
        WEB,
        [WEB, "ModelDeployment/web"],
        Cause.SUSPENDED,
        "metadata.suspend",
    ),
    (
        "only observed",
        [It("Stage/st", Health.MISSING, "ObserveOnly", "observe", Block.HELD, metadata={"managementPolicy": "observe"})],
        "Stage/st",
        ["Stage/st"],
        Cause.SUSPENDED,
        "managementPolicy is observe",
    ),
    ("nobody has done it", [It("Stage/st", Health.MISSING, pending=True)], "Stage/st", ["Stage/st"], Cause.PENDING, "snowcat apply"),
    (
        "a privilege is missing: an administrator is told what to grant",
        [It("Stage/st", Health.MISSING, "Denied", "Insufficient privileges", Block.STALLED)],
        "Stage/st",
        ["Stage/st"],
        Cause.STALLED,
        "'snowcat bootstrap' prints what an administrator must grant; 'snowcat reconcile Stage/st' then",
    ),
    ("it is under way", [It(WEB, Health.PROGRESSING, "Starting", "pulling")], WEB, [WEB], Cause.WORKING, "wait"),
    (
        "two that wait for each other end somewhere",
        [It("Stage/a", Health.MISSING, pending=True, after=("Stage/b",)), It("Stage/b", Health.MISSING, pending=True, after=("Stage/a",))],
        "Stage/a",
        ["Stage/a", "Stage/b"],
        Cause.WORKING,
        "",
    ),
]


@pytest.mark.parametrize(("reason", "things", "asked", "chain", "cause", "advice"), CASES, ids=[case[0] for case in CASES])
def test_the_root(reason: str, things: list[It], asked: str, chain: list[str], cause: Cause, advice: str) -> None:
    found = explained(things, asked)
    assert [str(link.key) for link in found.chain] == chain, reason
    assert found.cause is cause and advice in found.advice
    assert found.as_dict()["root"]["object"] == chain[-1]
    assert found.logs is (cause in (Cause.JOB, Cause.CONTAINER))


def test_another_process_leads() -> None:
    found = explained([It("Stage/st", Health.MISSING, pending=True)], "Stage/st", "'snowcat run' on build-3 leads the project")
    assert found.cause is Cause.LEADER and "build-3" in found.advice


# ---- on real plans ---------------------------------------------------------------------------------------------------------------------


def of_world(world: World, kind: str, name: str) -> Why:
    loaded = world.load()
    now = plan(world.view(loaded), KINDS, prune=Rules(loaded.prune_off), invalid=loaded.invalid)
    found: list[ObjectStatus] = [*statuses(now, Context({}, {}, {})), *invalid_objects(loaded, now)]
    return why(key(kind, name), now, {status.key: status for status in found})


def test_a_manifest_that_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    world = World(write(tmp_path, one=warehouse(), two=warehouse()))
    found = of_world(world, "Warehouse", "wh")
    assert found.cause is Cause.MANIFEST and ".yaml:" in found.advice and "declared twice" in found.root.status.message


def test_somebody_elses_object_is_the_cause_of_all_that_needs_it(tmp_path: Path) -> None:
    spec = "kind: Service\nmetadata: {name: web, schema: db.sch}\nspec: {computePool: pool, specification: {spec: {containers: "
    spec += "[{name: main, image: /db/sch/repo/web:1}]}}}"
    pool = "kind: ComputePool\nmetadata: {name: pool}\nspec: {instanceFamily: CPU_X64_XS}"
    base = "kind: Database\nmetadata: {name: db}\n---\nkind: Schema\nmetadata: {name: sch, database: db}"
    world = World(write(tmp_path, all="\n---\n".join((base, pool, spec))))
    world.account.put("COMPUTE POOLS", "pool", None, **POOL)
    world.account.put("DATABASES", "db", world.comment("Database", "db"))
    world.account.put("SCHEMAS", "db.sch", world.comment("Schema", "db.sch"))
    found = of_world(world, "Service", "db.sch.web")
    assert [str(link.key) for link in found.chain] == ["Service/web", "ComputePool/pool"]
    assert found.cause is Cause.STALLED and "adopt: true" in found.root.status.message
