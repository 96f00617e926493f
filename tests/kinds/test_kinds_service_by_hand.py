"""Services over the wire: what people do to them by hand, and what is done about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from embedded_account import RunningAccount
from kinds_round_trip import Trip, told, trip
from strategies_services import EXISTING, IMAGES
from tiny_images import push

from controller.account.connections import local_connection
from controller.account.errors import Rejected
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.kinds.registry import KINDS
from controller.reconcile.planning.change import Block, Change

SERVICE = "DB.SCH.WEB"
SMALL = {"spec": {"containers": [{"name": "main", "image": IMAGES[0]}]}}


@pytest.fixture
def made(full_pool: RunningAccount) -> Iterator[Trip]:
    with trip(local_connection(full_pool.details), existing=list(EXISTING)) as project:
        yield project
        project.by_hand(f"DROP SERVICE IF EXISTS {SERVICE} FORCE")


def service(metadata: dict[str, Any] | None = None, body: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    inline = {} if {"template", "specificationFile"} & spec.keys() else {"specification": body or SMALL}
    return {
        "kind": "Service",
        "metadata": {"name": "web", "schema": "db.sch", **(metadata or {})},
        "spec": {"computePool": "specs", **inline, **spec},
    }


def applied(made: Trip, document: dict[str, Any]) -> list[str]:
    """The statements that made it so; nothing is left to do."""
    made.write([document])
    plan = made.apply()
    assert plan.empty, told(plan)
    return list(made.sent)


def mended(made: Trip) -> list[str]:
    plan = made.apply()
    assert plan.empty, told(plan)
    return list(made.sent)


def only(made: Trip) -> Change:
    (change,) = [entry for entry in made.plan().changes if entry.key.kind == "Service"]
    return change


def status(made: Trip) -> str:
    (row,) = made.by_hand("SHOW SERVICES LIKE 'WEB' IN SCHEMA DB.SCH")
    return str(row["status"])


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def suspend(made: Trip) -> None:
    made.by_hand(f"ALTER SERVICE {SERVICE} SUSPEND")
    until(lambda: status(made) == "SUSPENDED")


@pytest.mark.parametrize(
    ("by_hand", "path"),
    [
        ("SET MIN_INSTANCES = 2 MAX_INSTANCES = 3", "minInstances"),
        ("SET MAX_INSTANCES = 7", "maxInstances"),
        ("SET MIN_READY_INSTANCES = 0", "minReadyInstances"),
        ("SET AUTO_SUSPEND_SECS = 600", "autoSuspendSeconds"),
        ("SET AUTO_RESUME = FALSE", "autoResume"),
        ("SET QUERY_WAREHOUSE = WH", "warehouse"),
        ("SET EXTERNAL_ACCESS_INTEGRATIONS = (OUT1)", "externalAccess"),
        ("SET COMMENT = 'theirs [snowcat proj/Service/web delete=yes]'", "comment"),
    ],
)
def test_a_property_set_by_hand_goes_back_to_its_default(made: Trip, by_hand: str, path: str) -> None:
    applied(made, service())
    made.by_hand(f"ALTER SERVICE {SERVICE} {by_hand}")
    assert path in made.drift()
    mended(made)


def test_properties_of_an_earlier_manifest_are_unset(made: Trip) -> None:
    everything = {
        "minInstances": 2, "maxInstances": 4, "minReadyInstances": 2, "autoSuspendSeconds": 600, "autoResume": False, "logLevel": "ERROR",
        "externalAccess": ["OUT1", "OUT2"], "warehouse": "wh", "comment": "mine", "usage": ["analyst"],
    }  # fmt: skip
    first = applied(made, service(**everything))
    assert "LOG_LEVEL = 'ERROR'" in first[0]
    assert "GRANT SERVICE ROLE DB.SCH.WEB!ALL_ENDPOINTS_USAGE TO ROLE ANALYST" in first
    sent = "\n".join(applied(made, service()))
    assert "UNSET EXTERNAL_ACCESS_INTEGRATIONS, MIN_READY_INSTANCES, MAX_INSTANCES, LOG_LEVEL" in sent
    assert "UNSET QUERY_WAREHOUSE" in sent
    assert "REVOKE SERVICE ROLE DB.SCH.WEB!ALL_ENDPOINTS_USAGE FROM ROLE ANALYST" in sent


def test_a_service_role_revoked_by_hand_is_granted_again(made: Trip) -> None:
    applied(made, service(usage=["analyst"]))
    made.by_hand(f"REVOKE SERVICE ROLE {SERVICE}!ALL_ENDPOINTS_USAGE FROM ROLE ANALYST")
    assert "usage" in made.drift()
    assert mended(made) == [f"GRANT SERVICE ROLE {SERVICE}!ALL_ENDPOINTS_USAGE TO ROLE ANALYST"]


def test_callers_that_are_left_to_others(made: Trip) -> None:
    applied(made, service({"ignore": ["usage"]}, usage=["analyst"]))
    made.by_hand(f"REVOKE SERVICE ROLE {SERVICE}!ALL_ENDPOINTS_USAGE FROM ROLE ANALYST", f"ALTER SERVICE {SERVICE} SET AUTO_RESUME = FALSE")
    assert "usage" not in made.drift()
    assert mended(made) == [f"ALTER SERVICE {SERVICE} SET AUTO_RESUME = TRUE"]
    assert not applied(made, service({"ignore": ["usage"]}))
    taken = f"REVOKE SERVICE ROLE {SERVICE}!ALL_ENDPOINTS_USAGE FROM ROLE ANALYST"
    assert taken in applied(made, service()), "what we gave is not forgotten"


def test_a_dropped_service_is_made_again(made: Trip) -> None:
    applied(made, service())
    made.by_hand(f"DROP SERVICE {SERVICE}")
    assert mended(made)[0].startswith(f"CREATE SERVICE {SERVICE}")


def test_a_service_suspended_by_hand_is_resumed(made: Trip) -> None:
    applied(made, service())
    suspend(made)
    assert made.drift()["suspended"].before is True
    assert mended(made) == [f"ALTER SERVICE {SERVICE} RESUME"]
    assert status(made) == "PENDING"


@pytest.mark.parametrize(
    "excuse",
    ["paused=yes", "held=FineTuneJob/wishes", "autoSuspendSeconds", "policy", "pool paused=yes"],
)
def test_a_service_that_may_be_suspended_stays_so(made: Trip, excuse: str) -> None:
    condition = {
        "metricName": "network.ingress.cps", "aggregationType": "max", "stabilizationPeriodSecs": 60, "targetScaling": {"targetValue": 0},
    }  # fmt: skip
    policies = {"autoScalingPolicies": {"suspend": {"allConditions": [{"metricCondition": condition}]}}}
    body = {"spec": {"containers": [{"name": "main", "image": IMAGES[0]}], "resourceManagement": policies}}
    more = {"autoSuspendSeconds": {"autoSuspendSeconds": 600}, "policy": {"body": body}}.get(excuse, {})
    applied(made, service(**more))
    if "=" in excuse and not excuse.startswith("pool"):
        (row,) = made.by_hand("SHOW SERVICES LIKE 'WEB' IN SCHEMA DB.SCH")
        made.by_hand(f"ALTER SERVICE {SERVICE} SET COMMENT = '{str(row['comment'])[:-1]} {excuse}]'")
    if excuse.startswith("pool"):
        made.by_hand("ALTER COMPUTE POOL SPECS SET COMMENT = '[snowcat other/ComputePool/specs paused=yes]'")
    suspend(made)
    try:
        assert "suspended" not in made.drift()
    finally:
        made.by_hand("ALTER COMPUTE POOL SPECS UNSET COMMENT")


def test_a_list_that_is_left_to_others(made: Trip) -> None:
    applied(made, service({"ignore": ["specification.spec.containers"]}))
    made.by_hand(
        f"ALTER SERVICE {SERVICE} FROM SPECIFICATION $$spec: {{containers: [{{name: main, image: '{IMAGES[0]}', env: {{A: 1}}}}]}}$$"
    )
    assert "specification.spec.containers[0].env" not in made.drift()
    made.write([service()])
    assert "specification.spec.containers[0].env" in made.drift()


def test_what_is_left_to_others_is_kept_when_the_rest_is_sent(made: Trip) -> None:
    def body(**more: Any) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": "main", "image": IMAGES[0], "env": {"A": "ours", "B": "ours"}, **more}]}}

    left = {"ignore": ["specification.spec.containers[0].env.A", "specification.spec.containers[0].env.C"]}
    applied(made, service(left, body=body()))
    by_hand = f"spec: {{containers: [{{name: main, image: '{IMAGES[0]}', env: {{A: theirs, B: theirs, C: theirs}}}}]}}"
    made.by_hand(f"ALTER SERVICE {SERVICE} FROM SPECIFICATION $${by_hand}$$")
    assert set(made.drift()) == {"specification.spec.containers[0].env.B"}
    sent = applied(made, service(left, body=body(args=["--new"])))
    assert sum("FROM SPECIFICATION" in text for text in sent) == 1
    (row,) = made.by_hand(f"DESCRIBE SERVICE {SERVICE}")
    (container,) = yaml.safe_load(row["spec"])["spec"]["containers"]
    assert (container["env"], container["args"]) == ({"A": "theirs", "B": "ours", "C": "theirs"}, ["--new"])
    assert made.plan().empty, told(made.plan())
    made.write([service(body=body(args=["--new"]))])
    assert {path for path in made.drift() if "env" in path} == {f"specification.spec.containers[0].env.{name}" for name in "AC"}


def test_other_content_behind_the_tag_is_rolled_out(made: Trip, full_pool: RunningAccount) -> None:
    image = "/db/sch/images/moving:1"
    before = push(full_pool, image, "old")
    body = {"spec": {"containers": [{"name": "main", "image": image}, {"name": "side", "image": IMAGES[1]}]}}
    applied(made, service(body=body))
    after = push(full_pool, image, "new")
    assert before != after
    drift = made.drift()
    assert list(drift) == ["imageDigest.main"]
    assert drift["imageDigest.main"].before == before.removeprefix("sha256:")[:12]

    made.write([service({"managementPolicy": "observe"}, body=body)])
    assert only(made).block is Block.HELD, "seen, and only reported"
    made.write([service({"ignore": ["imageDigest"]}, body=body)])
    assert made.plan().empty, told(made.plan())

    sent = applied(made, service(body=body))
    assert sent[0].startswith(f"ALTER SERVICE {SERVICE}\n  FROM SPECIFICATION")
    (row,) = made.by_hand(f"DESCRIBE SERVICE {SERVICE}")
    assert after in str(row["spec"])


def test_an_image_that_is_pushed_late_is_tried_at_once(made: Trip, full_pool: RunningAccount) -> None:
    image = "/db/sch/images/late:1"
    made.write([service(body={"spec": {"containers": [{"name": "main", "image": image}]}})])
    before = only(made).fingerprint
    assert only(made).fingerprint == before, "nothing has moved: it stays at its back-off"
    push(full_pool, image, "here")
    assert only(made).fingerprint != before
    mended(made)


def test_a_push_that_somebody_rolled_out_by_hand_changes_the_note_only(made: Trip, full_pool: RunningAccount) -> None:
    image = "/db/sch/images/moved:1"
    push(full_pool, image, "old")
    body = {"spec": {"containers": [{"name": "main", "image": image}]}}
    applied(made, service(body=body))
    push(full_pool, image, "new")
    made.by_hand(f"ALTER SERVICE {SERVICE} FROM SPECIFICATION $$spec: {{containers: [{{name: main, image: '{image}'}}]}}$$")
    assert set(made.drift()) == {"mark"}
    assert all("COMMENT" in text and "FROM" not in text for text in mended(made))


def test_a_specification_from_a_file(made: Trip) -> None:
    (made.folder / "web.yaml").write_text(f"spec:\n  containers:\n  - name: main\n    image: {IMAGES[0]}\n    env: {{PORT: 8000}}\n")
    document = service(specificationFile="web.yaml")
    applied(made, document)
    made.by_hand(f"ALTER SERVICE {SERVICE} FROM SPECIFICATION $$spec: {{containers: [{{name: main, image: '{IMAGES[0]}'}}]}}$$")
    assert list(made.drift()) == ["specification.spec.containers[0].env"]
    mended(made)
    (made.folder / "web.yaml").write_text("spec: {container: []}")
    change = only(made)
    assert change.block is Block.STALLED
    assert "web.yaml" in change.reason and "containers" in change.reason


TEMPLATE = """
spec:
  containers:
  - name: main
    image: {{ image }}
    env:
      LEVEL: {{ level | default('info') }}
      COUNT: "{{ count }}"
  endpoints:
  - name: api
    port: {{ port }}
"""


def test_a_template_is_sent_as_such_and_compared_as_filled_in(made: Trip) -> None:
    using = {"image": IMAGES[0], "count": 3, "port": 8000}
    sent = applied(made, service(template={"text": TEMPLATE, "using": using}))
    assert "FROM SPECIFICATION_TEMPLATE $$" in sent[0]
    assert "USING (image => '/db/sch/images/web:1', count => '3', port => '8000')" in sent[0]
    (row,) = made.by_hand(f"DESCRIBE SERVICE {SERVICE}")
    assert 'LEVEL: "info"' in str(row["spec"])
    by_hand = TEMPLATE.replace("port: {{ port }}", "port: 8001")
    made.by_hand(f"ALTER SERVICE {SERVICE} FROM SPECIFICATION_TEMPLATE $${by_hand}$$ USING (image => '{IMAGES[0]}', count => 3)")
    assert list(made.drift()) == ["specification.spec.endpoints[0].port"]
    mended(made)
    sent = applied(made, service(template={"text": TEMPLATE, "using": {**using, "level": "debug"}}))
    assert any("level => 'debug'" in text for text in sent)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"text": TEMPLATE, "using": {"image": IMAGES[0]}}, "the variable count has no value"),
        ({"text": "spec: {% if x %}", "using": {}}, "{% if x %} is more than a variable"),
        ({"text": "spec: {{ x }}", "using": {"x": "1"}}, "template: spec"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(made: Trip, template: dict[str, Any], said: str) -> None:
    made.write([service(template=template)])
    change = only(made)
    assert change.block is Block.STALLED
    assert said in change.reason


BLOCKS = {
    "spec": {
        "containers": [{"name": "main", "image": IMAGES[0], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "source": "block", "size": "10Gi", "blockConfig": {"snapshotDeleteAfter": "48h"}}],
    }
}


def test_block_volumes_cannot_be_changed_and_are_not_dropped_unasked(made: Trip) -> None:
    applied(made, service(body=BLOCKS))
    volume = {**BLOCKS["spec"]["volumes"][0], "size": "20Gi"}  # type: ignore[dict-item]
    made.write([service(body={"spec": {**BLOCKS["spec"], "volumes": [volume]}})])
    change = only(made)
    assert (change.block, change.block_reason) == (Block.STALLED, "Immutable")
    assert "CREATE SNAPSHOT" in change.reason
    made.write([service(body=BLOCKS, minInstances=2)])
    assert only(made).block_reason == "Immutable"
    made.write([service(body=BLOCKS)])
    with pytest.raises(Rejected, match="block volumes"):
        dropped(made)  # without permission there is no FORCE


@pytest.mark.parametrize(
    ("config", "told_of"),
    [
        ({"snapshotDeleteAfter": "48h"}, "a snapshot of each block volume is kept for 48h"),
        ({"snapshotOnDelete": False}, "the data of its block volumes is lost: snapshotOnDelete is false"),
    ],
)
def test_block_volumes_go_by_force_where_the_manifest_says_delete(made: Trip, config: dict[str, Any], told_of: str) -> None:
    volume = {**BLOCKS["spec"]["volumes"][0], "blockConfig": config}  # type: ignore[dict-item]
    applied(made, service({"deletionPolicy": "delete"}, body={"spec": {**BLOCKS["spec"], "volumes": [volume]}}))
    assert dropped(made) == [f"DROP SERVICE {SERVICE} FORCE -- {told_of}"]
    assert made.by_hand("SHOW SERVICES LIKE 'WEB' IN SCHEMA DB.SCH") == []


def dropped(made: Trip) -> list[str]:
    """Drop the service as a destroy or a prune would."""
    engine, loaded = made._engine()
    steps = KINDS["Service"].delete(ObjectKey("Service", QualifiedName.parse(SERVICE)), engine.look(loaded))
    for step in steps:
        made._step(step)
    return [str(step) for step in steps]
