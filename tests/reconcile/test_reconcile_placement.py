"""Room on a pool within a plan: the statements, the messages, and what is noted in the account, over manifests and rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from reconcile_world import POOL, World, key, write

from controller.account.snapshot import Describe
from controller.kinds.base import Health, View
from controller.kinds.comments import renewed_comment
from controller.kinds.registry import KINDS
from controller.kinds.service import ServiceKind
from controller.reconcile.planning.change import Block, Change, ObjectPlan
from controller.reconcile.planning.plan import plan
from controller.reconcile.status import Context, status_of

PROJECT_MORE = "existing: [Database/db, Schema/db.sch, Stage/db.sch.models]\n"
POOL_YAML = "kind: ComputePool\nmetadata: {{name: pool}}\nspec: {{instanceFamily: CPU_X64_S{more}}}"
DIGEST = "d" * 64
ROW = {
    "status": "RUNNING", "compute_pool": "POOL", "current_instances": 1, "target_instances": 1, "min_instances": 1, "max_instances": 1,
    "min_ready_instances": 1, "auto_resume": "true", "auto_suspend_secs": 0, "is_job": "false", "spec_digest": DIGEST,
    "external_access_integrations": None, "query_warehouse": None,
}  # fmt: skip
CONTAINER = "{name: main, image: /db/sch/repo/app:1, resources: {requests: {cpu: %s, memory: 1Gi}}}"


def service(name: str, cpu: float = 2, more: str = "preemptible: true", **metadata: Any) -> str:
    extra = "".join(f", {field}: {value}" for field, value in metadata.items())
    spec = f"computePool: pool, specification: {{spec: {{containers: [{CONTAINER % cpu}]}}}}" + (f", {more}" if more else "")
    return f"kind: Service\nmetadata: {{name: {name}, schema: db.sch{extra}}}\nspec: {{{spec}}}"


def job(name: str, priority: int = 10, cpu: float = 2, **metadata: Any) -> str:
    """The smallest job: it fetches a model."""
    extra = "".join(f", {field}: {value}" for field, value in metadata.items())
    source = "source: {huggingFace: {id: org/small}}, stage: models, image: /db/sch/repo/app:1, computePool: pool"
    resources = f"resources: {{requests: {{cpu: {cpu}, memory: 1Gi}}}}, priority: {priority}"
    return f"kind: BaseModel\nmetadata: {{name: {name}, schema: db.sch{extra}}}\nspec: {{{source}, {resources}}}"


@dataclass
class Place:
    """A pool of one node with 3 CPUs, and what runs on it."""

    world: World

    @classmethod
    def of(cls, folder: Path, *manifests: str, pool: str = "", state: str = "ACTIVE", queue: str = "") -> Place:
        text = "\n---\n".join([POOL_YAML.format(more=pool), *manifests])
        write(folder, all=text)
        project = folder / "snowcat.yaml"
        if "existing" not in project.read_text():
            project.write_text(project.read_text() + PROJECT_MORE)
        place = cls(World(folder))
        obj = place.world.desired("ComputePool", "pool")
        comment = renewed_comment(obj, place.view(), None, **({"queue": queue} if queue else {}))
        row = {**POOL, "instance_family": "CPU_X64_S", "state": state, "num_services": 0, "num_jobs": 0}
        place.world.account.put("COMPUTE POOLS", "pool", comment, **row)
        return place

    def view(self) -> View:
        return self.world.view()

    def runs(self, name: str, held: str = "", **columns: Any) -> dict[str, Any]:
        """A service of the manifests as it is in the account, with nothing to change about it."""
        obj, kind = self.world.desired("Service", f"db.sch.{name}"), KINDS["Service"]
        assert isinstance(kind, ServiceKind)
        attributes = {**kind.attributes(obj, self.view()), "digest": DIGEST[:12], **({"held": held} if held else {})}
        comment = renewed_comment(obj, self.view(), None, **attributes)
        return self.world.account.put("SERVICES", f"db.sch.{name}", comment, **{**ROW, **columns})

    def runs_job(self, name: str, status: str = "RUNNING") -> dict[str, Any]:
        obj = self.world.desired("BaseModel", f"db.sch.{name}")
        (step,) = KINDS["BaseModel"].create(obj, self.view())
        words = str(step).split()
        called = words[words.index("NAME") + 2]
        comment = str(step).split("COMMENT = '")[1].split("'")[0]
        columns = {**ROW, "status": status, "is_job": "true", "min_instances": None}
        return self.world.account.put("SERVICES", called, comment, **columns)

    def foreign(self, name: str, **columns: Any) -> None:
        self.world.account.put("SERVICES", f"db.sch.{name}", None, **{**ROW, **columns})

    def entry(self, kind: str, name: str, **more: Any) -> ObjectPlan:
        full = name if kind == "ComputePool" else f"db.sch.{name}"
        return plan(self.view(), KINDS, **more).objects[key(kind, full)]

    def change(self, kind: str, name: str, **more: Any) -> Change:
        return self.entry(kind, name, **more).change


def sql(change: Change) -> list[str]:
    return [" ".join(statement.split()) for statement in change.statements]


# ---- making room -------------------------------------------------------------------------------------------------------------------------


def test_a_deployment_makes_room_and_says_for_whom(tmp_path: Path) -> None:
    place = Place.of(tmp_path, service("base"), job("small"))
    place.runs("base")
    held, waiting = place.entry("Service", "base"), place.entry("BaseModel", "small")
    first, second = sql(held.change)
    assert first.startswith("ALTER SERVICE DB.SCH.BASE SET AUTO_RESUME = FALSE COMMENT = '[snowcat proj/Service/base ")
    assert " held=BaseModel/small " in first, "the reason stands in the account before anything is suspended"
    assert second == "ALTER SERVICE DB.SCH.BASE SUSPEND"
    assert held.change.cause == "Preempted" and not held.ready
    assert waiting.change.block is Block.WAITING and not waiting.change.steps
    assert waiting.change.reason == "1st of 1 in the queue for POOL; Service/base makes room"


@pytest.mark.parametrize(
    ("reason", "columns", "statements"),
    [
        ("killed between the mark and the suspension", {"auto_resume": "false"}, ["ALTER SERVICE DB.SCH.BASE SUSPEND"]),
        ("it is stopping", {"auto_resume": "false", "status": "SUSPENDING"}, []),
        ("somebody resumed it by hand", {"auto_resume": "true"}, ["SET AUTO_RESUME = FALSE", "ALTER SERVICE DB.SCH.BASE SUSPEND"]),
    ],
)
def test_a_daemon_without_memory_goes_on(reason: str, columns: dict[str, Any], statements: list[str], tmp_path: Path) -> None:
    place = Place.of(tmp_path, service("base"), job("small"), queue="BaseModel/small")
    place.runs("base", held="BaseModel/small", **columns)
    found = sql(place.change("Service", "base"))
    assert len(found) == len(statements) and all(part in line for part, line in zip(statements, found, strict=True)), reason
    assert place.change("BaseModel", "small").block is Block.WAITING


def test_when_it_is_suspended_the_job_starts_and_the_deployment_waits(tmp_path: Path) -> None:
    place = Place.of(tmp_path, service("base"), job("small"), queue="BaseModel/small")
    place.runs("base", held="BaseModel/small", status="SUSPENDED", auto_resume="false")
    assert place.change("BaseModel", "small").runnable
    assert not place.change("Service", "base").pending

    place.runs_job("small")
    entry = place.entry("Service", "base")
    status = status_of(entry, Context({}, {}, {}))
    assert not entry.change.pending, "its own autoResume is no drift while it is held"
    assert status.health is Health.SUSPENDED and not status.ready, "never degraded, and apply goes on waiting"
    assert "suspended to make room for BaseModel/small (priority 10) on POOL" in status.message
    condition = status.condition("Suspended")
    assert condition is not None and condition.reason == "Preempted"


@pytest.mark.parametrize(
    ("reason", "columns", "statements"),
    [
        ("the job has ended", {"status": "SUSPENDED"}, ["ALTER SERVICE DB.SCH.BASE RESUME", "SET AUTO_RESUME = TRUE COMMENT"]),
        ("killed between the resumption and the mark", {"status": "RUNNING"}, ["SET AUTO_RESUME = TRUE COMMENT"]),
    ],
)
def test_it_comes_back_and_the_mark_is_taken_out_last(reason: str, columns: dict[str, Any], statements: list[str], tmp_path: Path) -> None:
    place = Place.of(tmp_path, service("base"))
    place.runs("base", held="BaseModel/small", auto_resume="false", **columns)
    change = place.change("Service", "base")
    found = sql(change)
    assert len(found) == len(statements) and all(part in line for part, line in zip(statements, found, strict=True)), reason
    assert "held=" not in found[-1] and change.cause == "Resumed"


def test_a_job_that_depends_on_what_was_suspended_for_it_starts_all_the_same(tmp_path: Path) -> None:
    """As the lab's fine-tune does, after a first attempt that failed: nobody waits for the other."""
    place = Place.of(tmp_path, service("base"), job("small", dependsOn="[Service/base]"))
    place.runs("base", held="BaseModel/small", status="SUSPENDED", auto_resume="false")
    assert place.change("BaseModel", "small").runnable


def test_where_there_is_room_for_one_service_the_other_stays_suspended_for_good(tmp_path: Path) -> None:
    place = Place.of(tmp_path, service("base"), service("tuned", more="preemptible: true, priority: 5"))
    place.runs("tuned")
    row = place.runs("base", held="BaseModel/gone", status="SUSPENDED", auto_resume="false")
    (statement,) = sql(place.change("Service", "base"))
    assert "SET COMMENT" in statement and " held=Service/tuned " in statement, "the mark says who has the room now"
    row["comment"] = row["comment"].replace("BaseModel/gone", "Service/tuned")
    status = status_of(place.entry("Service", "base"), Context({}, {}, {}))
    assert (status.health, status.ready, status.action) == (Health.SUSPENDED, True, ""), "apply is done with it"
    assert status.message == "suspended: its room on POOL is taken by Service/tuned (priority 5), which goes first"


def test_a_service_suspended_by_hand_is_resumed_when_there_is_room(tmp_path: Path) -> None:
    place = Place.of(tmp_path, service("base"), job("small", 0))
    place.runs("base", status="SUSPENDED")
    running = place.runs_job("small")
    change = place.change("Service", "base")
    assert change.block is Block.WAITING and change.reason == "1st of 1 in the queue for POOL; the pool is held by BaseModel/small"
    running["status"] = "FAILED"
    place.world.account.rows["SERVICES"].remove(running)
    assert place.change("BaseModel", "small").runnable, "the job goes first, as it ends"


def test_a_change_of_its_manifest_goes_in_before_it_comes_back(tmp_path: Path) -> None:
    place = Place.of(tmp_path, service("base"))
    row = place.runs("base", held="BaseModel/small", status="SUSPENDED", auto_resume="false")
    row["max_instances"] = 2
    assert not any("RESUME" in line.split() for line in sql(place.change("Service", "base")))


def test_a_job_that_cannot_be_submitted_keeps_nobody_suspended(tmp_path: Path) -> None:
    """Else a mistake in one manifest would keep another's deployment down for as long as nobody looks."""
    place = Place.of(tmp_path, service("base"), job("small"))
    place.runs("base", held="BaseModel/small", status="SUSPENDED", auto_resume="false")
    change = place.change("BaseModel", "small")
    failed = {change.key: change.fingerprint}
    assert "RESUME" in sql(place.change("Service", "base", failed=failed))[0]


UNTOUCHABLE = [
    ("not preemptible", service("base", more="")),
    ("of the same priority", service("base", more="preemptible: true, priority: 10")),
    ("left alone by its manifest", service("base", suspend="true")),
    ("only observed", service("base", managementPolicy="observe")),
]


@pytest.mark.parametrize(("reason", "manifest"), UNTOUCHABLE)
def test_who_is_never_suspended(reason: str, manifest: str, tmp_path: Path) -> None:
    place = Place.of(tmp_path, manifest, job("small"))
    place.runs("base")
    assert not place.change("Service", "base").pending, reason
    change = place.change("BaseModel", "small")
    assert (change.block, change.block_reason) == (Block.STALLED, "NeverFits")
    assert "does not fit onto POOL beside Service/base" in change.reason and "raise maxNodes of ComputePool/pool" in change.reason


# ---- the line ----------------------------------------------------------------------------------------------------------------------------


def test_the_place_in_the_line(tmp_path: Path) -> None:
    place = Place.of(tmp_path, job("one", 1), job("two", 2), job("three", 3), queue="BaseModel/one")
    place.runs_job("one")
    entries = {name: place.entry("BaseModel", name) for name in ("two", "three")}
    assert entries["three"].change.reason == "1st of 2 in the queue for POOL; the pool is held by BaseModel/one (priority 1)"
    assert entries["two"].change.reason == (
        "2nd of 2 in the queue for POOL, behind BaseModel/three (priority 3); the pool is held by BaseModel/one (priority 1)"
    )
    seen = entries["two"].observation
    assert seen is not None and seen.observed["queue"] == {"pool": "POOL", "position": 2, "of": 2}
    assert status_of(entries["two"], Context({}, {}, {})).is_true("CapacityHeld")
    pool = place.entry("ComputePool", "pool")
    assert pool.observation is not None
    assert pool.observation.observed["holders"] == ["BaseModel/one"]
    assert pool.observation.observed["queue"] == ["BaseModel/three", "BaseModel/two"]
    assert " queue=BaseModel/three,BaseModel/two]" in sql(pool.change)[0], "who came when is kept in the account"


def test_who_came_first_is_read_from_the_pool(tmp_path: Path) -> None:
    place = Place.of(tmp_path, job("run", 9), job("a"), job("z"), queue="BaseModel/z,BaseModel/a")
    place.runs_job("run")
    assert place.change("BaseModel", "z").reason.startswith("1st of 2")
    assert not place.change("ComputePool", "pool").pending, "nothing has changed, so nothing is written"


def test_a_running_job_whose_manifest_is_gone_is_still_ours(tmp_path: Path) -> None:
    place = Place.of(tmp_path, job("old", cpu=3), job("small"))
    name = str(place.runs_job("old")["name"])
    place = Place(World(write(tmp_path, all="\n---\n".join([POOL_YAML.format(more=""), job("small", cpu=3)])), account=place.world.account))
    read = next(read for read in KINDS["ComputePool"].deep_reads(place.world.desired("ComputePool", "pool"), place.view()))
    assert isinstance(read, Describe) and name in read.name, "how large it is must be asked, with its manifest gone"
    reason = place.change("BaseModel", "small").reason
    assert reason.endswith(f"the pool is held by job DB.SCH.{name} of BaseModel/old, which is in no manifest any more")


def test_what_others_run_is_as_large_as_describe_says(tmp_path: Path) -> None:
    place = Place.of(tmp_path, job("small"))
    place.foreign("theirs")
    assert place.change("BaseModel", "small").runnable, "of what cannot be seen the default is assumed"
    document = f"spec:\n  containers:\n  - {CONTAINER % 2}\n"

    def ask(reads: Any, known: Any = place.world.account.ask) -> Any:
        return {**known(reads), **{read: ({"spec": document},) for read in reads if isinstance(read, Describe) and "THEIRS" in read.name}}

    place.world.account.ask = ask  # type: ignore[method-assign]
    place.world.deep.known.clear()
    change = place.change("BaseModel", "small")
    assert change.reason == "1st of 1 in the queue for POOL; the pool is held by service DB.SCH.THEIRS of others"


NEVER = [
    (
        "no node is that large",
        {"cpu": 8},
        "asks for 8 CPU, 1.5 GiB on one node, and a node of POOL (CPU_X64_S) has 3 CPU, 13 GiB: ask for less, "
        "or choose another instanceFamily for ComputePool/pool, such as CPU_X64_SL or CPU_X64_L",
    ),
    (
        "no node anywhere is",
        {"cpu": 4000},
        "asks for 4000 CPU, 1.5 GiB on one node, and a node of POOL (CPU_X64_S) has 3 CPU, 13 GiB: "
        "ask for less: no instanceFamily that is known here has so much",
    ),
]


@pytest.mark.parametrize(("reason", "spec", "text"), NEVER)
def test_a_job_that_never_fits_says_what_to_change(reason: str, spec: dict[str, Any], text: str, tmp_path: Path) -> None:
    place = Place.of(tmp_path, job("small", **spec))
    change = place.change("BaseModel", "small")
    assert change.block is Block.STALLED and change.reason == text, reason


def test_the_account_knows_its_families_best(tmp_path: Path) -> None:
    place = Place.of(tmp_path, job("small", cpu=8))
    family = {"name": "CPU_X64_S", "vcpu": 16, "memory_gib": 64, "gpu_count": 0}
    place.world.account.rows["COMPUTE POOL INSTANCE FAMILIES"] = [family]
    assert place.change("BaseModel", "small").runnable


# ---- a pool with nothing left to run -----------------------------------------------------------------------------------------------------

IDLE = ", idle: suspend"


@pytest.mark.parametrize(
    ("reason", "manifests", "state", "statement"),
    [
        ("nothing runs and nothing wants to", [], "IDLE", "ALTER COMPUTE POOL POOL SUSPEND"),
        ("something wants to run", [service("base")], "SUSPENDED", "ALTER COMPUTE POOL POOL RESUME"),
        ("something will want to", [service("base", dependsOn="[Service/other]"), service("other")], "IDLE", ""),
        ("it stays as it is", [], "SUSPENDED", ""),
        ("it is still stopping", [service("base")], "STOPPING", ""),
    ],
)
def test_idle(reason: str, manifests: list[str], state: str, statement: str, tmp_path: Path) -> None:
    place = Place.of(tmp_path, *manifests, pool=IDLE, state=state)
    assert sql(place.change("ComputePool", "pool")) == ([statement] if statement else []), reason


def test_what_wants_to_run_waits_for_the_pool_to_be_resumed(tmp_path: Path) -> None:
    """Where autoResume is off it could not even be created."""
    place = Place.of(tmp_path, service("base"), pool=IDLE + ", autoResume: false", state="SUSPENDED")
    assert [str(after) for after in place.change("Service", "base").after] == ["ComputePool/pool"]


@pytest.mark.parametrize(
    ("reason", "columns"),
    [("a service of others runs there", {"status": "RUNNING"}), ("one that this role cannot see does", None)],
)
def test_a_pool_that_others_use_is_not_suspended(reason: str, columns: dict[str, Any] | None, tmp_path: Path) -> None:
    place = Place.of(tmp_path, pool=IDLE, state="IDLE")
    if columns is not None:
        place.foreign("theirs", **columns)
    place.world.account.rows["COMPUTE POOLS"][0]["num_services"] = 1
    assert not place.change("ComputePool", "pool").pending, reason


def test_it_is_made_suspended(tmp_path: Path) -> None:
    place = Place.of(tmp_path, pool=IDLE)
    place.world.account.rows["COMPUTE POOLS"].clear()
    assert "INITIALLY_SUSPENDED = TRUE" in sql(place.change("ComputePool", "pool"))[0]
