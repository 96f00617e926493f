"""A service that was made by hand comes back as a manifest that plans nothing, whatever DESCRIBE made of its specification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from embedded_account import run_account
from hypothesis import given, settings
from kinds_round_trip import Trip, told, trip
from strategies_common import over_the_wire
from strategies_services import BLOCKER, EXISTING, FULL, IMAGES, POOL, STANDING, services
from test_kinds_export import exported, plan_of
from tiny_images import push

from controller.account.connections import Connection, local_connection

FEW = settings(over_the_wire, max_examples=max(1, over_the_wire.max_examples // 4))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """An account with all that the services need."""
    state = tmp_path_factory.mktemp("export") / "state"
    for running in run_account(state, "--time-scale", "0.01"):
        connection = local_connection(running.details)
        with trip(connection) as made:
            made.write([])
            made.by_hand(*STANDING)
            for number, image in enumerate(IMAGES):
                push(running, image, f"content {number}")
            made.by_hand(BLOCKER)
        yield connection


def exports_to_nothing(made: Trip, document: dict[str, Any]) -> None:
    """Make the service, and look at it as somebody to whom it is foreign."""
    made.write([document])
    (key,) = [entry.key for entry in made.apply() if entry.desired is not None]
    made.settings["project"] = "somebody"
    found = exported(made, [key], adopt=False, project="somebody")
    assert not found.left_out
    plan = plan_of(made, found)
    assert plan.empty and not any(change.fields for change in plan.changes), told(plan)


def test_a_service_with_every_key(ready: Connection) -> None:
    with trip(ready, existing=list(EXISTING)) as made:
        spec = {"computePool": POOL, "specification": FULL, "externalAccess": ["out1"], "warehouse": "wh", "minInstances": 2}
        exports_to_nothing(made, {"kind": "Service", "metadata": {"name": "full", "schema": "db.sch"}, "spec": spec})


@FEW
@given(document=services)
def test_any_service(document: dict[str, Any], ready: Connection) -> None:
    with trip(ready, existing=list(EXISTING)) as made:
        exports_to_nothing(made, {**document, "metadata": {key: document["metadata"][key] for key in ("name", "schema")}})
