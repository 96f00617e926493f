"""Services: what is created, which drift is seen by SHOW alone, when DESCRIBE decides, and how health is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kinds_world import World, lab, only

from controller.account.snapshot import Describe, Missing, Row, Snapshot, Unanswered
from controller.api.objects import Graph
from controller.kinds.base import Health, Observation, Stalled, View, Waiting
from controller.kinds.comments import marked_comment
from controller.kinds.registry import KINDS
from controller.kinds.service import ServiceKind
from controller.kinds.service_health import containers_of, services_in
from controller.kinds.services import specification
from controller.kinds.services.note import NoteDigest

SERVICE = KINDS["Service"]
MANIFEST = """
kind: ComputePool
metadata: {name: pool}
spec: {instanceFamily: CPU_X64_XS}
---
kind: Service
metadata: {name: web, schema: db.sch}
spec:
  computePool: pool
  comment: the web
  minInstances: 1
  maxInstances: 2
  specification:
    spec:
      containers: [{name: main, image: /db/sch/repo/web:c-1, env: {A: 1}}]
"""


def setting(folder: Path, text: str = MANIFEST) -> tuple[World, Graph]:
    world = lab(folder)
    return world, world.load(text)


def row(world: World, graph: Graph, digest: str | None = "d" * 64, **columns: Any) -> Row:
    """SHOW SERVICES after our own CREATE and the note of its digest."""
    obj, view = only(graph, "Service"), world.view(graph)
    assert isinstance(SERVICE, ServiceKind)
    attributes = {**SERVICE.attributes(obj, view), "images": "main:1", **({"digest": digest[:12]} if digest else {})}
    comment = marked_comment(obj, view, **attributes)
    return {
        "name": "WEB",
        "status": "RUNNING",
        "database_name": "DB",
        "schema_name": "SCH",
        "owner": "WORKER",
        "compute_pool": "POOL",
        "current_instances": 1,
        "target_instances": 1,
        "min_ready_instances": 1,
        "min_instances": 1,
        "max_instances": 2,
        "auto_resume": "true",
        "external_access_integrations": None,
        "auto_suspend_secs": 0,
        "query_warehouse": "WH",
        "comment": comment,
        "spec_digest": "d" * 64,
        "is_upgrading": "false",
        **columns,
    }


def look(world: World, graph: Graph, *rows: Row) -> tuple[Observation, View]:
    obj = only(graph, "Service")
    world.see(services_in(obj.key.name), *rows)
    view = world.view(graph)
    return SERVICE.observe(obj, view), view


def paths(seen: Observation) -> list[str]:
    return [change.path for change in seen.drift]


def test_create_is_one_statement_in_the_documented_order_and_a_note(tmp_path: Path) -> None:
    world, graph = setting(tmp_path)
    create, note = SERVICE.create(only(graph, "Service"), world.view(graph))
    words = (
        "CREATE SERVICE DB.SCH.WEB",
        "IN COMPUTE POOL POOL",
        "FROM SPECIFICATION $$",
        "MIN_INSTANCES = 1",
        "QUERY_WAREHOUSE = WH",
        "COMMENT",
    )
    positions = [str(create).index(word) for word in words]
    assert positions == sorted(positions)
    assert str(note) == "note the specification's digest in the comment of DB.SCH.WEB"


def test_in_step_nothing_is_described_and_nothing_differs(tmp_path: Path) -> None:
    world, graph = setting(tmp_path)
    seen, view = look(world, graph, row(world, graph))
    assert paths(seen) == []
    assert list(SERVICE.deep_reads(only(graph, "Service"), view)) == []


@pytest.mark.parametrize(
    ("columns", "path", "statement"),
    [
        ({"max_instances": 5}, "maxInstances", "ALTER SERVICE DB.SCH.WEB SET MAX_INSTANCES = 2"),
        ({"auto_resume": "false"}, "autoResume", "ALTER SERVICE DB.SCH.WEB SET AUTO_RESUME = TRUE"),
        ({"query_warehouse": None}, "warehouse", "ALTER SERVICE DB.SCH.WEB SET QUERY_WAREHOUSE = WH"),
        ({"external_access_integrations": "[OTHER]"}, "externalAccess", "ALTER SERVICE DB.SCH.WEB UNSET EXTERNAL_ACCESS_INTEGRATIONS"),
    ],
)
def test_properties_changed_by_hand_are_put_back(tmp_path: Path, columns: dict[str, Any], path: str, statement: str) -> None:
    world, graph = setting(tmp_path)
    seen, view = look(world, graph, row(world, graph, **columns))
    assert paths(seen) == [path]
    assert [str(step) for step in SERVICE.update(only(graph, "Service"), seen, view)] == [statement]


def test_another_pool_cannot_be_changed_in_place(tmp_path: Path) -> None:
    world, graph = setting(tmp_path)
    seen, _ = look(world, graph, row(world, graph, compute_pool="OTHER"))
    assert [(change.path, change.immutable) for change in seen.drift] == [("computePool", True)]


def described(world: World, graph: Graph, **env: str) -> None:
    """Answer DESCRIBE with the wanted specification, and with other values in its environment."""
    obj = only(graph, "Service")
    kind = SERVICE
    assert isinstance(kind, ServiceKind)
    document = kind.document(obj, world.view(graph))
    document["spec"]["containers"][0]["env"].update(env)
    document["spec"]["containers"][0]["sha256"] = "@sha256:1"
    world.see(Describe("SERVICE", obj.key.name.sql), {"name": "WEB", "spec": specification.render(document)})


def test_a_moved_digest_asks_for_a_description(tmp_path: Path) -> None:
    world, graph = setting(tmp_path)
    seen, view = look(world, graph, row(world, graph, spec_digest="e" * 64))
    assert paths(seen) == [], "not known yet"
    assert [read.sql for read in SERVICE.deep_reads(only(graph, "Service"), view)] == ["DESCRIBE SERVICE DB.SCH.WEB"]


def test_a_moved_digest_with_the_same_meaning_renews_the_mark_alone(tmp_path: Path) -> None:
    world, graph = setting(tmp_path)
    described(world, graph)
    seen, view = look(world, graph, row(world, graph, spec_digest="e" * 64))
    assert paths(seen) == ["mark"]
    (step,) = SERVICE.update(only(graph, "Service"), seen, view)
    assert str(step).startswith("ALTER SERVICE DB.SCH.WEB SET COMMENT") and "digest=eeeeeeeeeeee" in str(step)


def test_a_specification_changed_by_hand_is_put_back(tmp_path: Path) -> None:
    world, graph = setting(tmp_path)
    described(world, graph, A="2")
    seen, view = look(world, graph, row(world, graph, spec_digest="e" * 64))
    assert paths(seen) == ["specification.spec.containers[0].env.A"]
    steps = SERVICE.update(only(graph, "Service"), seen, view)
    assert str(steps[0]).startswith("ALTER SERVICE DB.SCH.WEB\n  FROM SPECIFICATION $$")
    assert isinstance(steps[-1], NoteDigest)


def test_what_our_own_alter_gave_is_not_altered_again(tmp_path: Path) -> None:
    """A DESCRIBE that never compares equal must not restart the service for ever."""
    world, graph = setting(tmp_path)
    described(world, graph, A="something that the account makes of it")
    seen, _ = look(world, graph, row(world, graph))
    assert paths(seen) == []


def test_a_changed_manifest_is_sent_without_waiting_for_a_description(tmp_path: Path) -> None:
    world, graph = setting(tmp_path)
    before = row(world, graph)
    graph = world.load(MANIFEST.replace("A: 1", "A: 2"))
    seen, view = look(world, graph, before)
    assert "specification" in paths(seen)
    assert "FROM SPECIFICATION" in str(SERVICE.update(only(graph, "Service"), seen, view)[0])


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (None, Waiting, "it was not asked"),
        (Unanswered("not answered"), Waiting, "nobody answered, so it may well be seen"),
        (Missing("does not exist or not authorized"), Stalled, "this role may not see it"),
    ],
)
def test_what_is_to_be_kept_must_be_known(tmp_path: Path, answer: Missing | None, error: type[Exception], reason: str) -> None:
    world, graph = setting(tmp_path)
    before = row(world, graph)
    left = "metadata: {name: web, schema: db.sch, ignore: ['specification.spec.containers[0].env.B']}"
    graph = world.load(MANIFEST.replace("A: 1", "A: 2").replace("metadata: {name: web, schema: db.sch}", left))
    seen, view = look(world, graph, before)
    obj = only(graph, "Service")
    if answer is not None:
        view = replace(view, snapshot=Snapshot({**view.snapshot.answers, Describe("SERVICE", obj.key.name.sql): answer}, "WORKER"))
    with pytest.raises(error):
        SERVICE.update(obj, seen, view)


def test_a_crash_before_the_note_costs_a_description_only(tmp_path: Path) -> None:
    world, graph = setting(tmp_path)
    described(world, graph)
    seen, view = look(world, graph, row(world, graph, digest=None))
    assert paths(seen) == ["mark"]
    assert "FROM SPECIFICATION" not in "".join(str(step) for step in SERVICE.update(only(graph, "Service"), seen, view))


@pytest.mark.parametrize(
    ("columns", "containers", "health", "message"),
    [
        ({}, [], Health.HEALTHY, "1 of 1 instances"),
        ({"is_upgrading": "true"}, [], Health.PROGRESSING, "rolling upgrade, 1 of 1 instances"),
        ({"status": "SUSPENDED"}, [], Health.SUSPENDED, "suspended"),
        (
            {"status": "PENDING"},
            [("PENDING", "Unschedulable due to insufficient memory", 0, None)],
            Health.PROGRESSING,
            "insufficient memory",
        ),
        ({"status": "PENDING"}, [("PENDING", "Waiting to start", 0, None)], Health.PROGRESSING, "pending: Waiting to start"),
        ({"status": "PENDING"}, [("FAILED", "crashed", 3, 1)], Health.DEGRADED, "container main: crashed, exit code 1, 3 restarts"),
        ({"status": "PENDING"}, [("FAILED", "exit code 3", 3, 3)], Health.DEGRADED, "container main: exit code 3, 3 restarts"),
        ({"status": "PENDING"}, [("FAILED", "exit code 13", 3, 1)], Health.DEGRADED, "main: exit code 13, exit code 1, 3 restarts"),
        ({"status": "FAILED"}, [], Health.DEGRADED, "failed"),
        ({"status": "INTERNAL_ERROR"}, [], Health.DEGRADED, "internal_error"),
        ({"status": "BRAND_NEW"}, [], Health.PROGRESSING, "brand_new"),
    ],
)
def test_health(tmp_path: Path, columns: dict[str, Any], containers: list[tuple[Any, ...]], health: Health, message: str) -> None:
    world, graph = setting(tmp_path)
    names = ("status", "message", "restart_count", "last_exit_code")
    rows = [{"container_name": "main", **dict(zip(names, values, strict=True))} for values in containers]
    world.see(containers_of(only(graph, "Service").key.name), *rows)
    seen, _ = look(world, graph, row(world, graph, **columns))
    assert seen.health is health
    assert message in seen.message
