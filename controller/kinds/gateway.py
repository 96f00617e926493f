"""Gateway: one stable host in front of endpoints of several services.

CREATE and ALTER GATEWAY take the specification and nothing else, so the comment with the mark is a statement of its own (COMMENT ON, which
the reference gives for all objects; that it takes a gateway is unverified). If the daemon dies between the two, the gateway stands there
without a mark. It is taken as ours only when this daemon remembers that it was missing right before, our role owns it, nobody has
commented it, and it says exactly what the manifest says; else `metadata.adopt` decides, as always.

SHOW tells neither targets nor host: DESCRIBE does, within the deep reads. A dropped and re-created gateway gets another host.

Source: docs.snowflake.com, sql-reference/sql/ create-gateway, alter-gateway, drop-gateway, show-gateways, desc-gateway (privileges USAGE
and MODIFY); developer-guide/snowpark-container-services/gateway (failover). Unverified: how DESCRIBE writes the specification, whether
ALTER may change a traffic split into shadow traffic, and error 398529 for a service that is missing (seen in tests of the Terraform
provider).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import yaml

from controller.account import statements as sql
from controller.account.snapshot import Describe, Missing, Read, Row, Show, Snapshot
from controller.api.gateway import Gateway, GatewaySpec, Target
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph
from controller.api.service import Service
from controller.kinds.base import FieldChange, Gatherer, Health, Observation, Sql, Stalled, Step, View
from controller.kinds.comments import mark_for, renewed_comment
from controller.kinds.exporting import name_text
from controller.kinds.mark import mark_of
from controller.kinds.properties import TableKind, Verdict, as_bool, as_upper
from controller.kinds.property import Property
from controller.kinds.references import name_of, names_of
from controller.kinds.service_health import find, services_in
from controller.kinds.usage import Grant, Usage


@dataclass(frozen=True)
class GatewayFact:
    """`was_missing`: at the last look that this daemon remembers the gateway did not exist."""

    was_missing: bool


class GatewayKind(TableKind):
    name: ClassVar[str] = "Gateway"
    manifest: ClassVar[type[Gateway]] = Gateway
    what: ClassVar[str] = "GATEWAY"
    plural: ClassVar[str] = "GATEWAYS"
    properties: ClassVar[tuple[Property, ...]] = ()

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> GatewayFact:
        if gatherer.offline:
            return GatewayFact(was_missing=False)
        note = f"missing:{obj.key.kind}:{obj.key.name}"
        row = find(gatherer.show(self.show(obj.key.name)), obj.key.name)
        known = bool(gatherer.recall(note))
        now = row is None or (known and mark_of(row) is None)
        if now != known:
            gatherer.remember(note, now)
        return GatewayFact(was_missing=known)

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        yield from super().reads(obj, graph)
        yield from dict.fromkeys(services_in(service) for _, service, _, _ in _targets(obj))

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Read]:
        if self.row(obj, view) is not None:
            yield Describe(self.what, obj.key.name.sql)
            yield from _usage(obj).questions()

    # ---- what is there ----

    def _described(self, obj: DesiredObject, view: View) -> Row:
        question = Describe(self.what, obj.key.name.sql)
        if not view.snapshot.asked(question) or isinstance(view.snapshot.answers.get(question), Missing):
            return {}
        return next(iter(view.snapshot.rows(question)), {})

    def _seen_document(self, obj: DesiredObject, view: View) -> dict[str, Any] | None:
        return _parsed(self._described(obj, view).get("spec"))

    def attributes(self, obj: DesiredObject, view: View) -> dict[str, str]:
        row = None if view.snapshot.offline else self.row(obj, view)
        return {"spec": _digest(_document(obj)), "usage": _usage(obj).note(mark_of(row))}

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        seen, wanted = self._seen_document(obj, view), _document(obj)
        mark = mark_of(row)
        noted = mark.attributes.get("spec") if mark is not None else None
        if seen is not None:
            yield from _differences(_form(seen), _form(wanted))
        elif noted is not None and noted != _digest(wanted):
            yield FieldChange("specification", noted, _digest(wanted))
        yield from _usage(obj).drift(mark, view.snapshot)

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        seen = super().observe(obj, view)
        row = self.row(obj, view)
        if row is None or seen.mark is not None or not self._made_by_us(obj, row, view):
            return seen
        mark = mark_for(obj, view, None, **self.attributes(obj, view))
        change = FieldChange("mark", "none: the daemon ended right after making it", str(mark))
        return Observation(**{**vars(seen), "mark": mark, "drift": (*seen.drift, change)})

    def _made_by_us(self, obj: DesiredObject, row: Row, view: View) -> bool:
        document, fact = self._seen_document(obj, view), view.facts.get(obj.key)
        return (
            isinstance(fact, GatewayFact)
            and fact.was_missing
            and not row.get("comment")
            and row.get("owner") == view.snapshot.role
            and document is not None
            and _form(document) == _form(_document(obj))
        )

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        """By the services behind it: SHOW tells nothing of the gateway's own state."""
        counted = [service for path, service, _, weight in _targets(obj) if path == "primary" or (weight and not path.startswith("shadow"))]
        answering = [service for service in counted if _answers(find(view.snapshot.rows(services_in(service)), service))]
        host = str(self._described(obj, view).get("ingress_url") or "")
        told = f"{len(answering)} of {len(counted)} endpoints can answer"
        if not answering:
            return Verdict(Health.DEGRADED, told, "NoEndpoint")
        return Verdict(Health.HEALTHY, f"{host}, {told}".removeprefix(", "), "Routing")

    def observed(self, row: Row) -> Mapping[str, Any]:
        return {"type": row.get("gateway_type")}

    def export_details(self, name: QualifiedName, row: Row) -> Iterable[Read]:
        yield self.deep_question(name)

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        """None where this role may not see the specification."""
        spec, document = super().export(name, row, snapshot), _parsed(self.told_of(name, snapshot).get("spec"))
        if spec is None or document is None:
            return None
        shares = {field: [_share(item) for item in document["spec"].get(field) or []] for field in ("targets", "primary", "shadow")}
        return {**spec, **{field: found[0] if field == "primary" else found for field, found in shares.items() if found}}

    # ---- what is done ----

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        _check_endpoints(obj, view.graph)
        return [
            Sql(sql.create(self.what, obj.key.name, [_from(obj)])),
            Sql(sql.comment(self.what, obj.key.name, renewed_comment(obj, view, None, **self.attributes(obj, view)))),
            *_usage(obj).steps(None, view.snapshot),
        ]

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        _check_endpoints(obj, view.graph)
        row = self.row(obj, view)
        mark = mark_of(row)
        fields = {change.path.partition(".")[0] for change in seen.drift}
        steps: list[Step] = []
        if fields & {"specification", "type", "targets", "primary", "shadow"}:
            steps.append(Sql(sql.alter(self.what, obj.key.name, _from(obj))))
        steps += _usage(obj).steps(mark, view.snapshot)
        return [*steps, *(Sql(sql.comment(self.what, obj.key.name, text)) for text in self.due_comment(obj, view))]


def _parsed(text: Any) -> dict[str, Any] | None:
    try:
        document = yaml.safe_load(str(text or ""))
    except yaml.YAMLError:
        return None
    return document if isinstance(document, dict) and isinstance(document.get("spec"), dict) else None


def _share(item: Mapping[str, Any]) -> dict[str, Any]:
    """A target of the account's specification as a manifest has it."""
    service, _, endpoint = str(item.get("value", "")).partition("!")
    share = {"service": name_text(service), "endpoint": endpoint.lower()}
    return share if item.get("weight") is None else {**share, "weight": item["weight"]}


def _spec(obj: DesiredObject) -> GatewaySpec:
    return cast(GatewaySpec, obj.manifest.spec)


def _targets(obj: DesiredObject) -> list[tuple[str, QualifiedName, str, int]]:
    """Path of the field, service, endpoint and weight of each target; the primary's weight is 0."""
    spec = _spec(obj)
    found: list[tuple[str, Target, int]] = [(f"targets[{n}]", share, share.weight) for n, share in enumerate(spec.targets)]
    found += [("primary", spec.primary, 0)] if spec.primary is not None else []
    found += [(f"shadow[{n}]", share, share.weight) for n, share in enumerate(spec.shadow)]
    return [(path, name_of(obj, f"{path}.service"), target.endpoint, weight) for path, target, weight in found]


def _document(obj: DesiredObject) -> dict[str, Any]:
    def one(service: QualifiedName, endpoint: str) -> dict[str, Any]:
        return {"type": "endpoint", "value": f"{service.sql}!{endpoint}"}

    parts: dict[str, list[dict[str, Any]]] = {}
    for path, service, endpoint, weight in _targets(obj):
        field = path.partition("[")[0]
        parts.setdefault(field, []).append({**one(service, endpoint), **({} if field == "primary" else {"weight": weight})})
    if _spec(obj).targets:
        return {"spec": {"type": "traffic_split", "split_type": "custom", **parts}}
    return {"spec": {"type": "shadow_traffic", **parts}}


def _from(obj: DesiredObject) -> str:
    return f"FROM SPECIFICATION {sql.dollar(chr(10) + yaml.safe_dump(_document(obj), sort_keys=False))}"


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_form(document), sort_keys=True).encode()).hexdigest()[:12]


def _form(document: Mapping[str, Any]) -> dict[str, Any]:
    """`type`, and for each field the weight (or None) of each endpoint; letter case and order of targets mean nothing."""
    spec = document["spec"]
    form: dict[str, Any] = {"type": spec.get("type")}
    for field in ("targets", "primary", "shadow"):
        shares = {_endpoint(str(item.get("value", ""))): item.get("weight") for item in spec.get(field) or []}
        form[field] = dict(sorted(shares.items()))
    return form


def _endpoint(value: str) -> str:
    service, _, endpoint = value.replace('"', "").partition("!")
    return f"{service.upper()}!{endpoint.lower()}"


def _differences(seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterable[FieldChange]:
    if seen["type"] != wanted["type"]:
        yield FieldChange("type", seen["type"], wanted["type"])
        return
    for field in ("targets", "primary", "shadow"):
        for endpoint in sorted({*seen[field], *wanted[field]}):
            absent = "absent"
            before, after = (side[field].get(endpoint, absent) for side in (seen, wanted))
            if before != after:
                yield FieldChange(f"{field}.{endpoint}", before, after)


def _answers(service: Row | None) -> bool:
    """Whether a gateway sends requests to a service, as far as SHOW SERVICES tells."""
    if service is None:
        return False
    status = as_upper(service.get("status"))
    return status == "RUNNING" or (status == "SUSPENDED" and as_bool(service.get("auto_resume")) is True)


def _check_endpoints(obj: DesiredObject, graph: Graph) -> None:
    """Raises Stalled for an endpoint that its service, declared in this project, does not have."""
    for path, _, endpoint, _ in _targets(obj):
        service = graph.referred(obj, f"{path}.service")
        if service is None or not isinstance(service.manifest, Service) or service.manifest.spec.specification is None:
            continue
        known = {one.name: one for one in service.manifest.spec.specification.spec.endpoints}
        if endpoint not in known:
            told = f"its endpoints are {', '.join(sorted(known))}" if known else "it has none"
            raise Stalled(f"{obj.location}: {path}.endpoint: {service.key} has no endpoint {endpoint}; {told}", "NoSuchEndpoint")
        if known[endpoint].protocol == "TCP":
            raise Stalled(f"{obj.location}: {path}.endpoint: {endpoint} of {service.key} has protocol TCP; a gateway needs HTTP")


def _usage(obj: DesiredObject) -> Usage:
    target = sql.on_object(GatewayKind.what, obj.key.name)

    def grants(entry: str) -> list[Grant]:
        role = Identifier(entry)
        give, take = sql.grant(["USAGE"], target, role), sql.revoke(["USAGE"], target, role)
        return [Grant(role, Show("GRANTS", f"ON {target}"), give, take)]

    return Usage([name.name.text for name in names_of(obj, "usage")], grants, left="usage" in obj.manifest.metadata.ignore)
