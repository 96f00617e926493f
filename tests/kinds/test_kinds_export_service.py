"""A service that was made by hand comes back as a manifest that plans nothing, whatever DESCRIBE made of its specification."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from kinds_round_trip import Trip, told, trip
from services_account import account_for_services
from strategies_common import over_the_wire
from strategies_services import EXISTING, FULL, IMAGES, POOL, services
from test_kinds_export import exported, plan_of

from controller.account.connections import Connection, local_connection
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey

BEHIND = (("Service", "BLUE"), ("Service", "GREEN"), ("Gateway", "GW"))
FEW = settings(over_the_wire, max_examples=max(1, over_the_wire.max_examples // 4))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """An account with all that the services need."""
    for running in account_for_services(tmp_path_factory.mktemp("export") / "state"):
        yield local_connection(running.details)


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


def test_a_gateway_and_the_services_behind_it(ready: Connection) -> None:
    text = f"spec: {{containers: [{{name: main, image: '{IMAGES[0]}'}}], endpoints: [{{name: api, port: 8000}}]}}"
    targets = [{"type": "endpoint", "value": f"DB.SCH.{name}!api", "weight": weight} for name, weight in (("BLUE", 70), ("GREEN", 30))]
    with trip(ready, existing=list(EXISTING)) as made:
        made.write([])
        for name in ("BLUE", "GREEN"):
            made.by_hand(f"CREATE SERVICE DB.SCH.{name} IN COMPUTE POOL {POOL} FROM SPECIFICATION $${text}$$")
        split = {"spec": {"type": "traffic_split", "split_type": "custom", "targets": targets}}
        made.by_hand(f"CREATE GATEWAY DB.SCH.GW FROM SPECIFICATION $${json.dumps(split)}$$")
        try:
            keys = [ObjectKey(kind, QualifiedName.parse(f"DB.SCH.{name}")) for kind, name in BEHIND]
            found = exported(made, keys, adopt=False)
            assert [one.key for one in found.objects] == keys
            plan = plan_of(made, found)
            assert plan.empty and not any(change.fields for change in plan.changes), told(plan)
        finally:
            made.by_hand("DROP GATEWAY DB.SCH.GW", "DROP SERVICE DB.SCH.BLUE", "DROP SERVICE DB.SCH.GREEN")
