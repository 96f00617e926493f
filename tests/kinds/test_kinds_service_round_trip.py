"""Services over the wire: any valid one leaves an empty plan, what DESCRIBE makes of it is no drift, and every change by hand is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from kinds_round_trip import Trip, told, trip
from services_account import account_for_services
from strategies_common import over_the_wire
from strategies_services import EXISTING, FULL, changed, services

from controller.account.connections import Connection, local_connection
from controller.api.names import QualifiedName
from controller.kinds.instance_families import family
from controller.kinds.registry import KINDS
from controller.kinds.service import ServiceKind
from controller.kinds.services import comparison

SERVICE = KINDS["Service"]
HOME = QualifiedName.parse("DB.SCH")


@pytest.fixture(scope="module", params=["path", "host"])
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """An account whose DESCRIBE shows images in one of the two ways."""
    if request.param == "path":
        yield local_connection(request.getfixturevalue("full_pool").details)
        return
    for running in account_for_services(tmp_path_factory.mktemp("hosts") / "state", "--image-names", request.param):
        yield local_connection(running.details)


def described(made: Trip, name: str) -> dict[str, Any]:
    (row,) = made.by_hand(f"DESCRIBE SERVICE DB.SCH.{name}")
    return comparison.parse(str(row["spec"]))


def wanted(made: Trip) -> dict[str, Any]:
    """The document that the project's only service stands for."""
    engine, loaded = made._engine()
    (obj,) = loaded.graph.of_kind("Service")
    assert isinstance(SERVICE, ServiceKind)
    return SERVICE.document(obj, engine.look(loaded))


@over_the_wire
@given(document=services)
def test_any_service_closes_its_round_trip(document: dict[str, Any], ready: Connection) -> None:
    with trip(ready, existing=list(EXISTING)) as made:
        made.write([document])
        plan = made.apply()
        assert plan.empty, told(plan)
        seen = described(made, document["metadata"]["name"])
        assert comparison.differences(wanted(made), seen, family("GPU_NV_M"), HOME) == (), "DESCRIBE never looks like drift"
        made.by_hand(f"DROP SERVICE DB.SCH.{document['metadata']['name']} FORCE")  # one that keeps block volumes would stay


def full(**more: Any) -> dict[str, Any]:
    return {
        "kind": "Service",
        "metadata": {"name": "web", "schema": "db.sch"},
        "spec": {"computePool": "specs", "specification": FULL, **more},
    }


def test_every_single_change_of_the_specification_is_seen_and_put_back(ready: Connection) -> None:
    with trip(ready, existing=list(EXISTING)) as made:
        made.write([full()])
        assert made.apply().empty
        document = wanted(made)
        for what, other in changed():
            made.by_hand(f"ALTER SERVICE DB.SCH.WEB FROM SPECIFICATION $${json.dumps(other)}$$")
            assert comparison.differences(document, described(made, "WEB"), family("GPU_NV_M"), HOME), f"not seen: {what}"
        assert [path for path in made.drift() if path.startswith("specification")]
        plan = made.apply()
        assert plan.empty, told(plan)
        assert comparison.differences(wanted(made), described(made, "WEB"), family("GPU_NV_M"), HOME) == ()
