"""Service: any long-running service from its specification.

The mark holds `spec=`, a hash of the specification that we wrote, and `digest=`, the start of the spec_digest that SHOW gave right after.
While both match nobody has touched it. Else DESCRIBE decides: where its text means the same, only the mark is written anew. What no SHOW
tells stands in the mark too: `images=` (see `services.images`), `blocks=` (`services.volumes`), `log=` (LOG_LEVEL) and `usage=`, the
service roles that were granted.

A service that somebody suspended by hand is drift (`suspended`) and is resumed; not so one that suspends itself (autoSuspendSeconds, a
suspend policy), or that was suspended on purpose (`paused=` and `held=` in its mark or its pool's).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from controller.account import statements as sql
from controller.account.snapshot import Read, Row, Show, Snapshot
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.api.service import Service, ServiceSpec
from controller.api.specification import Container, ImageReference
from controller.kinds.base import FieldChange, Gatherer, Load, Observation, Sql, Stalled, Step, View, Waiting
from controller.kinds.image import image_path
from controller.kinds.mark import Mark, mark_of
from controller.kinds.properties import TableKind, Verdict, as_bool, as_int, as_upper, as_upper_list
from controller.kinds.property import Property
from controller.kinds.references import name_of, names_of, warehouse_of
from controller.kinds.service_health import look_closer, verdict
from controller.kinds.services import comparison, exported, images, room, source, specification, volumes
from controller.kinds.services.kept import kept
from controller.kinds.services.known import Known, describe
from controller.kinds.services.note import NoteDigest, parsed
from controller.kinds.services.roles import usage_of
from controller.kinds.services.suspension import POOLS, suspended_by_hand

VERSION_LABEL = "snowcat/version"
"""Label of a deployment's service: what it serves. Kept in the mark as `version=`, since SHOW does not tell the specification."""


@dataclass(frozen=True)
class _Instances(Property):
    """A number of instances that follows minInstances where the manifest leaves it out."""

    def drift(self, obj: DesiredObject, row: Row, mark: Mark | None) -> FieldChange | None:
        seen, value = as_int(row.get(self.column)) if self.column else None, self.value(obj)
        wanted = value if value is not None else _spec(obj).min_instances
        if seen is None or seen == wanted:
            return None
        fixed = bool(mark is not None and mark.attributes.get("blocks"))
        way_out = "a service with block volumes keeps the number of instances that it was made with; put the old number back"
        return FieldChange(self.path, seen, wanted, immutable=fixed, way_out=way_out if fixed else "")


class _AutoResume(Property):
    """Off while the service is suspended to make room for another; see `services.room`."""

    def drift(self, obj: DesiredObject, row: Row, mark: Mark | None) -> FieldChange | None:
        return None if mark is not None and "held" in mark.attributes else super().drift(obj, row, mark)


class ServiceKind(TableKind):
    """Source: docs.snowflake.com, sql-reference/sql/create-service, alter-service, show-services, desc-service, drop-service."""

    name: ClassVar[str] = "Service"
    manifest: ClassVar[type[Service]] = Service
    what: ClassVar[str] = "SERVICE"
    plural: ClassVar[str] = "SERVICES"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("auto_suspend_seconds", "AUTO_SUSPEND_SECS", sql.number, "auto_suspend_secs", as_int, implied=0),
        Property(
            "external_access",
            "EXTERNAL_ACCESS_INTEGRATIONS",
            sql.names,
            "external_access_integrations",
            lambda value: sorted(as_upper_list(value)),
            lambda names: sorted(name.text for name in names or ()),
            read=lambda obj: [name.name for name in names_of(obj, "externalAccess")],
        ),
        _AutoResume("auto_resume", "AUTO_RESUME", sql.flag, "auto_resume", as_bool, implied=True),
        _Instances("min_instances", "MIN_INSTANCES", sql.number, "min_instances", as_int),
        _Instances("min_ready_instances", "MIN_READY_INSTANCES", sql.number, "min_ready_instances", as_int),
        _Instances("max_instances", "MAX_INSTANCES", sql.number, "max_instances", as_int),
        Property("log_level", "LOG_LEVEL", sql.text),
    )

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> source.SourceFact | None:
        look_closer(obj.key.name, gatherer)
        return source.read_source(obj)

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        yield from super().reads(obj, graph)
        yield POOLS
        yield from images.image_reads(obj, graph)

    # ---- the specification ----

    def document(self, obj: DesiredObject, view: View) -> comparison.Document:
        """The specification with the images' current tags and the secrets' full names."""

        def image(container: Container, number: int) -> str:
            written = container.image.ref if isinstance(container.image, ImageReference) else container.image
            return image_path(obj, f"specification.spec.containers[{number}].image.ref", written, view)

        def secret(written: str, number: int, place: int) -> str:
            field = f"specification.spec.containers[{number}].secrets[{place}].snowflakeSecret"
            key = obj.references.get(field) or obj.references.get(field + ".objectName")
            return key.name.sql if key is not None else written

        return specification.build(source.specification_of(obj, view), image, secret)

    def _known(self, obj: DesiredObject, row: Row, view: View) -> Known:
        return Known(obj.key.name, row, self.document(obj, view), view)

    def _images_there(self, obj: DesiredObject, view: View) -> str:
        return images.noted(images.current_digests(self.document(obj, view), view.snapshot))

    def attributes(self, obj: DesiredObject, view: View) -> dict[str, str]:
        document, row = self.document(obj, view), None if view.snapshot.offline else self.row(obj, view)
        found = {
            "spec": specification.digest(document),
            "version": obj.manifest.metadata.labels.get(VERSION_LABEL, "") if obj.parent else "",
            "blocks": volumes.blocks_note(document),
            "log": _spec(obj).log_level or "",
            "usage": usage_of(obj).note(mark_of(row)),
        }
        return found if row is None else {**found, **Known(obj.key.name, row, document, view).notes()}

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Read]:
        row = self.row(obj, view)
        if row is None:
            return
        if self._known(obj, row, view).in_doubt:
            yield describe(obj.key.name)
        yield from usage_of(obj).questions()

    # ---- the rest ----

    def clauses(self, obj: DesiredObject, view: View) -> list[str]:
        warehouse = warehouse_of(obj, view)
        return [
            f"IN COMPUTE POOL {name_of(obj, 'computePool').sql}",
            source.clause(obj, self.document(obj, view), view),
            *super().clauses(obj, view),
            *([sql.equals("QUERY_WAREHOUSE", warehouse.sql)] if warehouse is not None else []),
        ]

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        pool = name_of(obj, "computePool").name.text
        if "compute_pool" in row and as_upper(row.get("compute_pool")) != pool:
            way_out = (
                f"put computePool: {str(row.get('compute_pool')).lower()} back, or set metadata.replace: allowed: the service is dropped "
                "and made again in the other pool, and its public endpoints get new URLs"
            )
            yield FieldChange("computePool", row.get("compute_pool"), pool, immutable=True, way_out=way_out)
        known = self._known(obj, row, view)
        yield from known.drift or known.moved
        if known.mark is not None and known.noted("log") != (_spec(obj).log_level or ""):
            yield FieldChange("logLevel", known.noted("log") or "default", _spec(obj).log_level or "default")
        yield from usage_of(obj).drift(known.mark, view.snapshot)
        warehouse, seen = warehouse_of(obj, view), as_upper(row.get("query_warehouse"))
        if seen != (warehouse.text if warehouse is not None else None):
            yield FieldChange("warehouse", seen, warehouse.text if warehouse is not None else None)
        yield from suspended_by_hand(obj, row, known.mark, view)

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        return verdict(obj.key.name, row, view.snapshot)

    def observed(self, row: Row) -> Mapping[str, Any]:
        columns = ("status", "current_instances", "target_instances", "dns_name", "compute_pool", "spec_digest")
        return {key: row.get(key) for key in columns}

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        note = NoteDigest(obj.key.name, found=self._images_there(obj, view))
        return [*super().create(obj, view), note, *usage_of(obj).steps(None, view.snapshot)]

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        paths = {change.path for change in seen.drift}
        steps: list[Step] = []
        whole = True
        respecified = any(path.startswith(("specification", "imageDigest")) for path in paths)
        if respecified:
            document, whole = self._to_send(obj, view)
            text = source.clause(obj, document, view) if whole else source.written(document)
            steps.append(Sql(f"ALTER SERVICE {obj.key.name.sql}\n  {text}"))
        warehouse, clauses = warehouse_of(obj, view), []
        if "warehouse" in paths and warehouse is None:
            steps.append(Sql(sql.alter_unset(self.what, obj.key.name, ["QUERY_WAREHOUSE"])))
        elif "warehouse" in paths and warehouse is not None:
            clauses.append(sql.equals("QUERY_WAREHOUSE", warehouse.sql))
        steps += usage_of(obj).steps(seen.mark, view.snapshot)
        steps += self.alterations(obj, seen, view, more=clauses)
        steps += [NoteDigest(obj.key.name, whole, self._images_there(obj, view))] if respecified else []
        return [*steps, Sql(sql.alter(self.what, obj.key.name, "RESUME"))] if "suspended" in paths else steps

    def _to_send(self, obj: DesiredObject, view: View) -> tuple[comparison.Document, bool]:
        """The specification for ALTER, and whether it is the manifest's: what is ignored in it stays as it is in the account.

        Raises:
            Waiting, Stalled: what is there now is not known, so it cannot be kept.
        """
        document = self.document(obj, view)
        ignored = [path for path in obj.manifest.metadata.ignore if path.split(".")[0] == "specification"]
        if not ignored:
            return document, True
        row = self.row(obj, view)
        known = self._known(obj, row, view) if row is not None else None
        if known is not None and known.hidden:
            raise Stalled(
                f"metadata.ignore leaves {', '.join(ignored)} to others, and this role may not see what is there: let it own the service, "
                "or take that out of metadata.ignore",
                "CannotKeep",
            )
        if known is None or known.seen is None:
            raise Waiting("its specification is read first, since metadata.ignore leaves a part of it to others")
        result = kept(document, known.seen, ignored)
        return result, specification.digest(result) == specification.digest(document)

    # ---- its place on the pool ----

    def load(self, obj: DesiredObject, view: View) -> Load | None:
        return room.load_of(obj, view)

    def hold(self, obj: DesiredObject, by: str, view: View) -> Sequence[Step]:
        row = self.row(obj, view)
        return room.hold(obj, row, by, self.attributes(obj, view), view) if row is not None else ()

    def release(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        row = self.row(obj, view)
        return room.release(obj, row, self.attributes(obj, view), view) if row is not None else ()

    def exported_name(self, row: Row) -> QualifiedName | None:
        return super().exported_name(row) if exported.is_manifest_like(row) else None

    def export_details(self, name: QualifiedName, row: Row) -> Iterable[Read]:
        yield self.deep_question(name)

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        """None where this role may not see the specification."""
        document = parsed(self.told_of(name, snapshot).get("spec"))
        spec = super().export(name, row, snapshot)
        return None if document is None or spec is None else {**spec, **exported.service_spec(row, document, name.parent)}

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        questions = (self.show(key.name), *self.inventory_reads())
        rows = (view.snapshot.row(read, key.name) for read in questions if view.snapshot.asked(read))
        row = next((row for row in rows if row is not None), None)
        return (volumes.drop(key.name, mark_of(row)),)


def _spec(obj: DesiredObject) -> ServiceSpec:
    return cast(ServiceSpec, obj.manifest.spec)
