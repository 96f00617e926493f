"""Gateways: one host in front of endpoints of several services, by weight.

Requests are spread exactly by the weights of the targets that can answer. A target cannot when its service is gone, is suspended without
AUTO_RESUME or has no ready instance, when its pool is suspended, or when the gateway's owner may not call it; a weight of 0 never gets any.

Source: docs.snowflake.com, sql-reference/sql/create-gateway; developer-guide/snowpark-container-services/gateway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from emulator.catalogue.store import CatalogueObject
from emulator.runtime.schema import Fields, Items, SpecError, check, integer, one_of, text

if TYPE_CHECKING:
    from emulator.runtime.manager import Manager
    from emulator.runtime.service import Service

MAX_ENDPOINTS = 5
HOST_LABEL = "gateway"
_ENDPOINT = Fields({"type": one_of("endpoint"), "value": text}, ("type", "value"))
_WEIGHTED = Fields({"type": one_of("endpoint"), "value": text, "weight": integer}, ("type", "value", "weight"))
_SPLIT = Fields(
    {"type": one_of("traffic_split"), "split_type": one_of("custom"), "targets": Items(_WEIGHTED)}, ("type", "split_type", "targets")
)
_SHADOW = Fields(
    {"type": one_of("shadow_traffic"), "primary": Items(_ENDPOINT, 1), "shadow": Items(_WEIGHTED)}, ("type", "primary", "shadow")
)


def parse_gateway(written: str) -> dict[str, Any]:
    """The canonical specification. Raises SpecError with what is wrong and where."""
    try:
        document = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise SpecError(f"the specification is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or not isinstance(document.get("spec"), dict) or set(document) != {"spec"}:
        raise SpecError("missing 'spec' for 'specification'")
    kind = document["spec"].get("type")
    if kind not in ("traffic_split", "shadow_traffic"):
        raise SpecError(f"invalid 'type' for 'spec': '{kind}'. Allowed: traffic_split, shadow_traffic")
    spec = check(_SPLIT if kind == "traffic_split" else _SHADOW, document["spec"], "spec", "")
    targets = all_targets({"spec": spec})
    values = [str(target["value"]) for target in targets]
    if len(targets) > MAX_ENDPOINTS:
        raise SpecError(f"{len(targets)} endpoints, but a gateway can have at most {MAX_ENDPOINTS}")
    if repeated := next((value for value in values if values.count(value) > 1), None):
        raise SpecError(f"the endpoint '{repeated}' is named twice")
    weights = [int(target.get("weight", 0)) for target in targets]
    if any(not 0 <= weight <= 100 for weight in weights):
        raise SpecError("a 'weight' is a whole number from 0 to 100")
    if kind == "traffic_split" and sum(weights) != 100:
        raise SpecError(f"the weights of 'targets' add up to {sum(weights)}, but must add up to 100")
    return {"spec": spec}


def all_targets(document: dict[str, Any]) -> list[dict[str, Any]]:
    spec = document["spec"]
    return [*spec.get("targets", []), *spec.get("primary", []), *spec.get("shadow", [])]


@dataclass(frozen=True)
class Hit:
    """Where one request goes. `gateway` None: straight to a public endpoint. `shadows` get a copy."""

    service: Service
    endpoint: str
    gateway: CatalogueObject | None = None
    shadows: tuple[tuple[Service, str], ...] = ()


class Gateways:
    """Picks targets; keeps for each gateway how far every target lags behind its share. The caller holds the runtime's lock."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._credit: dict[tuple[int, str], float] = {}

    def pick(self, gateway: CatalogueObject) -> Hit | None:
        """The target of the next request; None when none can answer."""
        spec = gateway.props["spec"]["spec"]
        if spec["type"] == "traffic_split":
            chosen = self._by_weight(gateway, spec["targets"])
            return Hit(*chosen, gateway) if chosen is not None else None
        primary = self._live(gateway, spec["primary"][0])
        if primary is None:
            return None
        shadows = [self._live(gateway, target) for target in spec["shadow"] if self._due(gateway, target)]
        return Hit(*primary, gateway, tuple(shadow for shadow in shadows if shadow is not None))

    def _by_weight(self, gateway: CatalogueObject, targets: list[dict[str, Any]]) -> tuple[Service, str] | None:
        """Each request gives every live target credit by its weight and takes the whole sum from the one that is furthest ahead."""
        live = [(target, found) for target in targets if target["weight"] and (found := self._live(gateway, target)) is not None]
        if not live:
            return None
        for target, _ in live:
            key = (gateway.id, str(target["value"]))
            self._credit[key] = self._credit.get(key, 0.0) + target["weight"]
        target, found = max(live, key=lambda item: self._credit[gateway.id, str(item[0]["value"])])
        self._credit[gateway.id, str(target["value"])] -= sum(one["weight"] for one, _ in live)
        return found

    def _due(self, gateway: CatalogueObject, target: dict[str, Any]) -> bool:
        key = (gateway.id, str(target["value"]))
        credit = self._credit.get(key, 0.0) + int(target["weight"])
        self._credit[key] = credit - 100 if credit >= 100 else credit
        return credit >= 100

    def _live(self, gateway: CatalogueObject, target: dict[str, Any]) -> tuple[Service, str] | None:
        """The running service of a target and its endpoint, if it can answer now or wake up."""
        name, _, endpoint = str(target["value"]).partition("!")
        service = next((s for s in self._manager.services.values() if s.obj.fqn == name and not s.dropped), None)
        if service is None or service.version.spec.endpoint(endpoint) is None:
            return None
        pool = self._manager.pools.get(service.props["compute_pool"])
        if pool is None or pool.suspended or not self._manager.gate.may_call((gateway.owner,), service.obj, endpoint):
            return None
        if service.suspended:
            return (service, endpoint) if service.props.get("auto_resume", True) else None
        return (service, endpoint) if service.ready_instances() else None
