"""Gateways: what is written, what a person changes by hand, and what happens when the daemon dies between its two statements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_account import RunningAccount
from hypothesis import given
from hypothesis import strategies as st
from kinds_round_trip import Trip, told, trip
from strategies_common import comments, manifests, optional, over_the_wire
from strategies_services import EXISTING, IMAGES

from controller.account.connections import local_connection
from controller.kinds.base import Health
from controller.reconcile.planning.change import Block, Change

SERVICES = ("one", "two", "three")
GATEWAY = "DB.SCH.FRONT"
_ENDPOINTS = "endpoints: [{name: api, port: 8000}, {name: more, port: 8001}, {name: raw, port: 9, protocol: TCP}]"


@pytest.fixture(scope="module")
def running(full_pool: RunningAccount) -> RunningAccount:
    """An account with three services of somebody."""
    with trip(local_connection(full_pool.details)) as made:
        made.write([])
        for name in SERVICES:
            text = f"spec: {{containers: [{{name: main, image: '{IMAGES[0]}'}}], {_ENDPOINTS}}}"
            made.by_hand(f"CREATE SERVICE IF NOT EXISTS DB.SCH.{name} IN COMPUTE POOL SPECS FROM SPECIFICATION $${text}$$")
    return full_pool


@pytest.fixture
def made(running: RunningAccount) -> Iterator[Trip]:
    with trip(local_connection(running.details), existing=[*EXISTING, *(f"Service/db.sch.{name}" for name in SERVICES)]) as project:
        yield project
        project.by_hand(f"DROP GATEWAY IF EXISTS {GATEWAY}")


def gateway(*weights: tuple[str, int], **spec: Any) -> dict[str, Any]:
    targets = [{"service": name, "endpoint": "api", "weight": weight} for name, weight in weights]
    body = {**({"targets": targets} if targets else {}), **spec}
    return {"kind": "Gateway", "metadata": {"name": "front", "schema": "db.sch"}, "spec": body}


def applied(made: Trip, document: dict[str, Any]) -> list[str]:
    made.write([document])
    plan = made.apply()
    assert plan.empty, told(plan)
    return list(made.sent)


def only(made: Trip) -> Change:
    (change,) = [entry for entry in made.plan().changes if entry.key.kind == "Gateway"]
    return change


# ---- any gateway ----------------------------------------------------------------------------------------

_places = st.lists(st.tuples(st.sampled_from(SERVICES), st.sampled_from(["api", "more"])), min_size=2, max_size=5, unique=True)


@st.composite
def _specs(draw: st.DrawFn) -> dict[str, Any]:
    places = [{"service": service, "endpoint": endpoint} for service, endpoint in draw(_places)]
    if draw(st.booleans()):
        made: dict[str, Any] = {"primary": places[0], "shadow": [{**place, "weight": draw(st.integers(0, 100))} for place in places[1:]]}
    else:
        cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(places) - 1, max_size=len(places) - 1)))
        shares = [high - low for low, high in zip([0, *cuts], [*cuts, 100], strict=True)]
        made = {"targets": [{**place, "weight": share} for place, share in zip(places, shares, strict=True)]}
    return {**made, **draw(optional(comment=comments, usage=st.sampled_from([[], ["analyst"]])))}


@over_the_wire
@given(document=manifests("Gateway", _specs(), place={"schema": "db.sch"}))
def test_any_gateway_closes_its_round_trip(document: dict[str, Any], running: RunningAccount) -> None:
    with trip(local_connection(running.details), existing=[*EXISTING, *(f"Service/db.sch.{name}" for name in SERVICES)]) as project:
        project.write([document])
        plan = project.apply()
        assert plan.empty, told(plan)


# ---- by hand --------------------------------------------------------------------------------------------


def test_it_is_made_by_two_statements_since_create_takes_no_comment(made: Trip) -> None:
    create, comment = applied(made, gateway(("one", 70), ("two", 30)))
    assert create.splitlines()[:2] == [f"CREATE GATEWAY {GATEWAY}", "  FROM SPECIFICATION $$"]
    assert "value: DB.SCH.ONE!api\n    weight: 70" in create
    assert comment.startswith(f"COMMENT ON GATEWAY {GATEWAY} IS '[snowcat proj/Gateway/front")


@pytest.mark.parametrize(
    ("targets", "paths"),
    [
        ("[{type: endpoint, value: db.sch.one!api, weight: 60}, {type: endpoint, value: db.sch.two!api, weight: 40}]", 2),
        ("[{type: endpoint, value: db.sch.one!api, weight: 70}, {type: endpoint, value: db.sch.three!api, weight: 30}]", 2),
        ("[{type: endpoint, value: db.sch.one!more, weight: 70}, {type: endpoint, value: db.sch.two!api, weight: 30}]", 2),
    ],
)
def test_targets_changed_by_hand_are_put_back(made: Trip, targets: str, paths: int) -> None:
    applied(made, gateway(("one", 70), ("two", 30)))
    made.by_hand(f"ALTER GATEWAY {GATEWAY} FROM SPECIFICATION $$spec: {{type: traffic_split, split_type: custom, targets: {targets}}}$$")
    drift = [path for path in made.drift() if path.startswith("targets.")]
    assert len(drift) == paths
    plan = made.apply()
    assert plan.empty, told(plan)
    assert [text.split("\n")[0] for text in made.sent] == [f"ALTER GATEWAY {GATEWAY} FROM SPECIFICATION $$"]


def test_the_order_and_the_case_of_targets_mean_nothing(made: Trip) -> None:
    applied(made, gateway(("one", 70), ("two", 30)))
    targets = "[{type: endpoint, value: DB.sch.TWO!api, weight: 30}, {type: endpoint, value: db.sch.one!api, weight: 70}]"
    made.by_hand(f"ALTER GATEWAY {GATEWAY} FROM SPECIFICATION $$spec: {{type: traffic_split, split_type: custom, targets: {targets}}}$$")
    assert made.plan().empty, told(made.plan())


def test_a_dropped_gateway_is_made_again_and_grants_are_given_again(made: Trip) -> None:
    first = applied(made, gateway(("one", 100), usage=["analyst"]))
    assert first[-1] == f"GRANT USAGE ON GATEWAY {GATEWAY} TO ROLE ANALYST"
    made.by_hand(f"REVOKE USAGE ON GATEWAY {GATEWAY} FROM ROLE ANALYST")
    assert list(made.drift()) == ["usage"]
    made.apply()
    assert made.sent == [f"GRANT USAGE ON GATEWAY {GATEWAY} TO ROLE ANALYST"]
    made.by_hand(f"DROP GATEWAY {GATEWAY}")
    assert applied(made, gateway(("one", 100), usage=["analyst"])) == first


def test_only_reported_where_it_is_observed_or_left_to_others(made: Trip) -> None:
    document = gateway(("one", 70), ("two", 30))
    applied(made, document)
    targets = "[{type: endpoint, value: db.sch.one!api, weight: 100}]"
    made.by_hand(f"ALTER GATEWAY {GATEWAY} FROM SPECIFICATION $$spec: {{type: traffic_split, split_type: custom, targets: {targets}}}$$")
    made.write([{**document, "metadata": {**document["metadata"], "managementPolicy": "observe"}}])
    assert only(made).block is Block.HELD
    made.write([{**document, "metadata": {**document["metadata"], "ignore": ["targets"]}}])
    assert not made.plan().pending, told(made.plan())


def test_a_daemon_that_died_before_the_comment_knows_its_own(made: Trip) -> None:
    made.write([gateway(("one", 100))])
    (change,) = made.plan().pending  # this look remembers that the gateway is missing
    made._step(change.steps[0])
    plan = made.apply()
    assert plan.empty, told(plan)
    assert [text.split(" IS ")[0] for text in made.sent] == [f"COMMENT ON GATEWAY {GATEWAY}"]


def test_one_of_others_is_left_alone(made: Trip) -> None:
    targets = "[{type: endpoint, value: db.sch.one!api, weight: 100}]"
    made.by_hand(f"CREATE GATEWAY {GATEWAY} FROM SPECIFICATION $$spec: {{type: traffic_split, split_type: custom, targets: {targets}}}$$")
    made.write([gateway(("one", 100))])
    assert only(made).block_reason == "NotOwned", "it says the same, but was there before"
    made.write([gateway(("two", 100))])
    assert only(made).block_reason == "NotOwned"


# ---- references and health ------------------------------------------------------------------------------


def test_an_endpoint_that_its_service_does_not_have(made: Trip) -> None:
    body = {"spec": {"containers": [{"name": "main", "image": IMAGES[0]}], "endpoints": [{"name": "api", "port": 1}]}}
    own = {"kind": "Service", "metadata": {"name": "own", "schema": "db.sch"}, "spec": {"computePool": "specs", "specification": body}}
    made.write([own, gateway(targets=[{"service": "own", "endpoint": "other", "weight": 100}])])
    change = only(made)
    assert change.block is Block.STALLED
    assert "Service/own has no endpoint other; its endpoints are api" in change.reason


def test_it_waits_for_the_services_of_the_project(made: Trip) -> None:
    body = {"spec": {"containers": [{"name": "main", "image": IMAGES[0]}], "endpoints": [{"name": "api", "port": 1}]}}
    own = {"kind": "Service", "metadata": {"name": "own", "schema": "db.sch"}, "spec": {"computePool": "specs", "specification": body}}
    made.write([own, gateway(targets=[{"service": "own", "endpoint": "api", "weight": 100}])])
    change = only(made)
    assert not change.runnable
    assert [str(key) for key in change.after] == ["Service/own"]


def test_health_is_that_of_the_services_behind(made: Trip) -> None:
    applied(made, gateway(("one", 70), ("two", 30)))
    (seen,) = [entry.observation for key, entry in made.plan().objects.items() if key.kind == "Gateway"]
    assert seen is not None
    assert (seen.health, seen.message) == (Health.DEGRADED, "0 of 2 endpoints can answer"), "nothing runs on the full pool"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("targets: [{service: one, endpoint: api, weight: 90}]", "add up to 90"),
        ("targets: []", "exactly one of targets and primary"),
        ("primary: {service: one, endpoint: api}", "primary and shadow go together"),
        ("targets: [{service: one, endpoint: api, weight: 101}]", "must be at most 100"),
    ],
)
def test_a_manifest_that_cannot_be(tmp_path: Path, spec: str, said: str) -> None:
    from kinds_project import PROJECT

    from controller.manifests.project import load_project

    (tmp_path / "snowcat.yaml").write_text(PROJECT.replace("existing: [", "existing: [Service/db.sch.one, "))
    (tmp_path / "front.yaml").write_text(
        f"apiVersion: snowcat/v1\nkind: Gateway\nmetadata: {{name: front, schema: db.sch}}\nspec: {{{spec}}}\n"
    )
    assert said in " ".join(str(problem) for problem in load_project(tmp_path).problems)
