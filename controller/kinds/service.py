"""Service: any long-running service from its specification.

The mark holds `spec=`, a hash of the specification that we wrote, and `digest=`, the start of the spec_digest that SHOW gave right after.
While both match nobody has touched it. Else DESCRIBE decides: where its text means the same, only the mark is written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from controller.account import statements as sql
from controller.account.snapshot import Describe, Missing, Row
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph
from controller.api.service import Container, ImageReference, Service, ServiceSpec
from controller.kinds import service_spec
from controller.kinds.base import Effect, EffectContext, FieldChange, Gatherer, Observation, Sql, Step, View, Waiting
from controller.kinds.comments import mark_for, renewed_comment, user_text
from controller.kinds.image import image_path
from controller.kinds.mark import Mark, join_comment, split_comment
from controller.kinds.properties import Property, TableKind, Verdict, as_bool, as_int, as_upper, as_upper_list
from controller.kinds.references import name_of, names_of, warehouse_of
from controller.kinds.service_health import find, look_closer, services_in, verdict

VERSION_LABEL = "snowcat/version"
"""Label of a deployment's service: what it serves. Kept in the mark as `version=`, since SHOW does not tell the specification."""

_DIGITS = 12


@dataclass(frozen=True)
class NoteDigest(Effect):
    """Write into the mark which spec_digest the account gave to the specification that was just sent."""

    service: QualifiedName
    text: str
    mark: Mark

    def __str__(self) -> str:
        return f"note the specification's digest in the comment of {self.service}"

    def run(self, context: EffectContext) -> None:
        row = find(context.session.execute(services_in(self.service).sql).rows, self.service)
        if row is None:
            raise Waiting(f"service {self.service} is not shown yet")
        attributes = {**self.mark.attributes, "digest": _short(row)}
        comment = join_comment(self.text, Mark(self.mark.project, self.mark.kind, self.mark.name, attributes))
        context.session.execute(sql.alter_set("SERVICE", self.service, [sql.equals("COMMENT", sql.text(comment))]))


class ServiceKind(TableKind):
    name: ClassVar[str] = "Service"
    manifest: ClassVar[type[Service]] = Service
    what: ClassVar[str] = "SERVICE"
    plural: ClassVar[str] = "SERVICES"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("auto_suspend_seconds", "AUTO_SUSPEND_SECS", sql.number, "auto_suspend_secs", as_int, implied=0),
        Property("auto_resume", "AUTO_RESUME", sql.flag, "auto_resume", as_bool, implied=True),
    )

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> None:
        look_closer(obj.key.name, gatherer)

    # ---- the specification ----

    def document(self, obj: DesiredObject, view: View) -> service_spec.Document:
        """The specification with the images' current tags and the secrets' full names."""

        def image(container: Container, number: int) -> str:
            written = container.image.ref if isinstance(container.image, ImageReference) else container.image
            return image_path(obj, f"specification.spec.containers[{number}].image.ref", written, view)

        def secret(written: str, number: int, place: int) -> str:
            field = f"specification.spec.containers[{number}].secrets[{place}].snowflakeSecret"
            key = obj.references.get(field) or obj.references.get(field + ".objectName")
            return key.name.sql if key is not None else written

        return service_spec.build(_spec(obj).specification, image, secret)

    def _seen_document(self, obj: DesiredObject, view: View) -> service_spec.Document | None:
        """What DESCRIBE shows; None when it was not asked in this look, or this role may not see the text."""
        read = _describe(obj)
        if view.snapshot.offline or read not in view.snapshot.answers or isinstance(view.snapshot.answers[read], Missing):
            return None
        text = next((row.get("spec") for row in view.snapshot.rows(read)), None)
        try:
            return service_spec.parse(str(text)) if text else None
        except ValueError:
            return None

    def _spec_drift(self, obj: DesiredObject, row: Row, view: View) -> tuple[FieldChange, ...]:
        mark = split_comment(row.get("comment"))[1]
        wanted = self.document(obj, view)
        if _in_step(mark, row, service_spec.digest(wanted)):
            return ()
        seen = self._seen_document(obj, view)
        if seen is not None:
            return service_spec.differences(wanted, seen)
        noted = mark.attributes.get("spec") if mark is not None else None
        if noted is not None and noted != service_spec.digest(wanted):
            return (FieldChange("specification", noted, service_spec.digest(wanted)),)
        return ()

    def attributes(self, obj: DesiredObject, view: View) -> dict[str, str]:
        wanted = service_spec.digest(self.document(obj, view))
        found = {"spec": wanted, "version": obj.manifest.metadata.labels.get(VERSION_LABEL, "") if obj.parent else ""}
        row = None if view.snapshot.offline else self.row(obj, view)
        if row is not None:
            mark = split_comment(row.get("comment"))[1]
            confirmed = self._seen_document(obj, view) is not None and not self._spec_drift(obj, row, view)
            if _in_step(mark, row, wanted) or confirmed:
                found["digest"] = _short(row)
            elif mark is not None:
                found["digest"] = mark.attributes.get("digest", "")
        return found

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Describe]:
        row = self.row(obj, view)
        if row is not None and not _in_step(split_comment(row.get("comment"))[1], row, service_spec.digest(self.document(obj, view))):
            yield _describe(obj)

    # ---- the rest ----

    def clauses(self, obj: DesiredObject, view: View) -> list[str]:
        wanted = self._wanted(obj, view)
        clauses = [
            f"IN COMPUTE POOL {name_of(obj, 'computePool').sql}",
            _from_specification(self.document(obj, view)),
            *super().clauses(obj, view),
        ]
        return clauses + [clause for key, clause in _CLAUSES.items() if wanted[key] is not None for clause in (clause(wanted[key]),)]

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        pool = name_of(obj, "computePool").name.text
        if "compute_pool" in row and as_upper(row.get("compute_pool")) != pool:
            yield FieldChange("computePool", row.get("compute_pool"), pool, immutable=True)
        yield from self._spec_drift(obj, row, view)
        seen = {
            "minInstances": as_int(row.get("min_instances")),
            "minReadyInstances": as_int(row.get("min_ready_instances")),
            "maxInstances": as_int(row.get("max_instances")),
            "externalAccess": as_upper_list(row.get("external_access_integrations")),
            "warehouse": as_upper(row.get("query_warehouse")),
        }
        for key, wanted in self._effective(obj, view).items():
            if seen[key] is not None or key in ("warehouse",):
                now = sorted(seen[key]) if isinstance(seen[key], tuple) else seen[key]  # type: ignore[arg-type]
                then = sorted(name.text for name in wanted) if isinstance(wanted, tuple) else getattr(wanted, "text", wanted)
                if now != then:
                    yield FieldChange(key, now, then)

    def _wanted(self, obj: DesiredObject, view: View) -> dict[str, Any]:
        """Properties as the manifest gives them; None: left to Snowflake's default."""
        spec = _spec(obj)
        access = tuple(name.name for name in names_of(obj, "externalAccess"))
        return {
            "externalAccess": access or None,
            "minInstances": spec.min_instances,
            "minReadyInstances": spec.min_ready_instances,
            "maxInstances": spec.max_instances if spec.max_instances is not None else spec.min_instances,
            "warehouse": warehouse_of(obj, view),
        }

    def _effective(self, obj: DesiredObject, view: View) -> dict[str, Any]:
        """The same with the defaults that SHOW gives back."""
        wanted = self._wanted(obj, view)
        return {
            **wanted,
            "externalAccess": wanted["externalAccess"] or (),
            "minReadyInstances": wanted["minReadyInstances"] or wanted["minInstances"],
        }

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        return verdict(obj.key.name, row, view.snapshot)

    def observed(self, row: Row) -> Mapping[str, Any]:
        columns = ("status", "current_instances", "target_instances", "dns_name", "compute_pool", "spec_digest")
        return {key: row.get(key) for key in columns}

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        return [*super().create(obj, view), self._note(obj, view, None)]

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        paths = {change.path for change in seen.drift}
        respecified = any(path.startswith("specification") for path in paths)
        wanted, unset, clauses = self._effective(obj, view), [], []
        for key in [key for key in _CLAUSES if key in paths]:
            if key == "warehouse" and wanted[key] is None:
                unset.append("QUERY_WAREHOUSE")
            elif key == "externalAccess" and not wanted[key]:
                unset.append("EXTERNAL_ACCESS_INTEGRATIONS")
            else:
                clauses.append(_CLAUSES[key](wanted[key]))
        steps: list[Step] = [Sql(sql.alter_unset(self.what, obj.key.name, unset))] if unset else []
        if respecified:
            steps.append(Sql(f"ALTER SERVICE {obj.key.name.sql}\n  {_from_specification(self.document(obj, view))}"))
        steps += self.alterations(obj, seen, view, more=clauses)
        row = self.row(obj, view)
        return [*steps, self._note(obj, view, row.get("comment") if row is not None else None)] if respecified else steps

    def _note(self, obj: DesiredObject, view: View, current: str | None) -> NoteDigest:
        attributes = {key: value for key, value in self.attributes(obj, view).items() if key != "digest"}
        text = split_comment(renewed_comment(obj, view, current))[0] if current else user_text(obj)
        return NoteDigest(obj.key.name, text, mark_for(obj, view, **attributes))


_CLAUSES: Mapping[str, Any] = {
    "externalAccess": lambda names: sql.equals("EXTERNAL_ACCESS_INTEGRATIONS", sql.names(names)),
    "minInstances": lambda number: sql.equals("MIN_INSTANCES", sql.number(number)),
    "minReadyInstances": lambda number: sql.equals("MIN_READY_INSTANCES", sql.number(number)),
    "maxInstances": lambda number: sql.equals("MAX_INSTANCES", sql.number(number)),
    "warehouse": lambda name: sql.equals("QUERY_WAREHOUSE", cast(Identifier, name).sql),
}


def _spec(obj: DesiredObject) -> ServiceSpec:
    return cast(ServiceSpec, obj.manifest.spec)


def _describe(obj: DesiredObject) -> Describe:
    return Describe("SERVICE", obj.key.name.sql)


def _from_specification(document: service_spec.Document) -> str:
    return f"FROM SPECIFICATION {sql.dollar(chr(10) + service_spec.render(document))}"


def _short(row: Row) -> str:
    return str(row.get("spec_digest") or "")[:_DIGITS]


def _in_step(mark: Mark | None, row: Row, wanted: str) -> bool:
    """Whether both the specification that we wrote and what the account made of it are still as noted."""
    if mark is None or mark.attributes.get("spec") != wanted:
        return False
    return bool(_short(row)) and mark.attributes.get("digest") == _short(row)
