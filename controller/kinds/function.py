"""Function: a SQL function in front of a service's endpoint. Internal: manifests get theirs through a ModelDeployment.

The mark holds `spec=`, a hash of the definition, and `usage=`, the roles that were granted its use, since grants carry no comment. What was
changed by hand shows only in DESCRIBE FUNCTION.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

from controller.account import statements as sql
from controller.account.snapshot import Describe, Missing, Row, Show
from controller.api.base import Manifest, Scope, Spec
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import FieldChange, Health, Inventory, Kind, Observation, Sql, Step, View
from controller.kinds.comments import comment_drift, marked_comment, renewed_comment
from controller.kinds.mark import Mark, split_comment
from controller.kinds.properties import as_int
from controller.kinds.references import schema_scope

_ARGUMENT, _TYPES = "prompt", "(VARCHAR)"


class FunctionSpec(Spec):
    """`<name>(prompt VARCHAR)` that posts batches of rows to `path` of a service's endpoint."""

    service: str
    endpoint: str
    path: str
    returns: Literal["VARCHAR", "OBJECT"]
    max_batch_rows: int
    usage: tuple[str, ...] = ()  # roles, as stored
    comment: str | None = None


class Function(Manifest):
    """A service function of one text argument."""

    kind: Literal["Function"]
    spec: FunctionSpec
    scope: ClassVar[Scope] = Scope.SCHEMA


class FunctionKind(Kind):
    name: ClassVar[str] = "Function"
    manifest: ClassVar[type[Function]] = Function

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (functions_in(obj.key.name),)

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Describe]:
        if _row(obj, view) is not None:
            yield _describe(obj)

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        row = _row(obj, view)
        if row is None:
            return Observation(exists=False, health=Health.MISSING, message="does not exist", reason="Missing")
        comment = row.get("description")
        mark = split_comment(comment)[1]
        drift = list(self._drift(obj, view))
        noted = mark.attributes.get("spec") if mark is not None else None
        if noted != _digest(obj) and not drift:
            drift.append(FieldChange("definition", noted, _digest(obj)))
        drift += comment_drift(obj, view, comment, **_attributes(obj)) if not drift else ()
        spec = _spec(obj)
        return Observation(
            exists=True,
            message=f"{spec.path} of {spec.service}",
            reason="Created",
            drift=tuple(drift),
            mark=mark,
            owner=row.get("owner"),
            observed={"arguments": row.get("arguments"), "service": spec.service, "path": spec.path},
        )

    def _drift(self, obj: DesiredObject, view: View) -> Iterable[FieldChange]:
        """What DESCRIBE shows otherwise; a property that it does not show is not compared."""
        read = _describe(obj)
        if view.snapshot.offline or read not in view.snapshot.answers or isinstance(view.snapshot.answers[read], Missing):
            return
        seen = {str(row.get("property", "")).lower(): row.get("value") for row in view.snapshot.rows(read)}
        spec = _spec(obj)
        if "body" in seen and str(seen["body"]).strip().strip("'") != spec.path:
            yield FieldChange("path", seen["body"], spec.path)
        if "returns" in seen and str(seen["returns"]).upper().partition("(")[0] != spec.returns:
            yield FieldChange("returns", seen["returns"], spec.returns)
        if seen.get("service") and _last(str(seen["service"])) != _last(spec.service):
            yield FieldChange("service", seen["service"], spec.service)
        if seen.get("endpoint") and str(seen["endpoint"]).strip('"').lower() != spec.endpoint:
            yield FieldChange("endpoint", seen["endpoint"], spec.endpoint)
        if (rows := as_int(seen.get("max_batch_rows"))) is not None and rows != spec.max_batch_rows:
            yield FieldChange("maxBatchRows", rows, spec.max_batch_rows)

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        return [self._definition(obj, marked_comment(obj, view, **_attributes(obj))), *self._grants(obj, _spec(obj).usage)]

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        paths = {change.path for change in seen.drift}
        before = _usage(seen.mark)
        wanted = _spec(obj).usage
        row = _row(obj, view)
        comment = renewed_comment(obj, view, row.get("description") if row is not None else None, **_attributes(obj))
        if paths <= {"comment", "mark"}:
            steps: list[Step] = [Sql(f"ALTER FUNCTION {obj.key.name.sql}{_TYPES} SET COMMENT = {sql.text(comment)}")]
            steps += self._grants(obj, [role for role in wanted if role not in before])
            return steps + self._revokes(obj, [role for role in before if role not in wanted])
        return [self._definition(obj, comment, replace=True), *self._grants(obj, wanted)]  # a replaced function has lost its grants

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        return (Sql(f"DROP FUNCTION {key.name.sql}{_TYPES}", tolerate=frozenset({2003, 2043})),)

    def inventory_reads(self) -> Iterable[Show]:
        return (Show("USER FUNCTIONS", "ACCOUNT"),)

    def inventory(self, view: View) -> Iterable[Inventory]:
        found: dict[ObjectKey, Mark] = {}
        for read in view.snapshot.answers:
            if isinstance(read, Show) and read.what == "USER FUNCTIONS":
                for row in view.snapshot.rows(read):
                    mark = split_comment(row.get("description"))[1]
                    parts = [row.get(column) for column in ("catalog_name", "schema_name", "name")]
                    if mark is not None and (mark.project, mark.kind) == (view.project.name, self.name) and all(parts):
                        found[ObjectKey(self.name, QualifiedName(tuple(Identifier(str(part)) for part in parts)))] = mark
        return [Inventory(key, mark) for key, mark in sorted(found.items(), key=lambda item: item[0])]

    def _definition(self, obj: DesiredObject, comment: str, *, replace: bool = False) -> Sql:
        spec = _spec(obj)
        lines = (
            f"CREATE {'OR REPLACE ' if replace else ''}FUNCTION {obj.key.name.sql}({_ARGUMENT} VARCHAR)",
            f"RETURNS {spec.returns}",
            f"SERVICE = {QualifiedName.parse(spec.service).sql}",
            f"ENDPOINT = {sql.word(spec.endpoint).lower()}",
            sql.equals("COMMENT", sql.text(comment)),
            sql.equals("MAX_BATCH_ROWS", sql.number(spec.max_batch_rows)),
            f"AS {sql.text(spec.path)}",
        )
        return Sql("\n  ".join(lines))

    def _grants(self, obj: DesiredObject, roles: Iterable[str]) -> list[Step]:
        service = QualifiedName.parse(_spec(obj).service).sql
        steps: list[Step] = []
        for role in roles:
            name = Identifier(role).sql
            steps.append(Sql(f"GRANT USAGE ON FUNCTION {obj.key.name.sql}{_TYPES} TO ROLE {name}"))
            steps.append(Sql(f"GRANT SERVICE ROLE {service}!ALL_ENDPOINTS_USAGE TO ROLE {name}"))
        return steps

    def _revokes(self, obj: DesiredObject, roles: Iterable[str]) -> list[Step]:
        gone = frozenset({2003, 2043})
        return [
            Sql(f"REVOKE USAGE ON FUNCTION {obj.key.name.sql}{_TYPES} FROM ROLE {Identifier(role).sql}", tolerate=gone) for role in roles
        ]


def functions_in(name: QualifiedName) -> Show:
    return Show("USER FUNCTIONS", schema_scope(name))


def _spec(obj: DesiredObject) -> FunctionSpec:
    return cast(FunctionSpec, obj.manifest.spec)


def _row(obj: DesiredObject, view: View) -> Row | None:
    """The row of `<name>(VARCHAR)`; functions of one name may differ in their arguments."""
    for row in view.snapshot.rows(functions_in(obj.key.name)):
        arguments = str(row.get("arguments") or "").partition("RETURN")[0].replace(" ", "").upper()
        if row.get("name") == obj.key.name.name.text and (not arguments or arguments.endswith(_TYPES)):
            return row
    return None


def _describe(obj: DesiredObject) -> Describe:
    return Describe("FUNCTION", obj.key.name.sql + _TYPES)


def _attributes(obj: DesiredObject) -> dict[str, str]:
    return {"spec": _digest(obj), "usage": ",".join(_spec(obj).usage)}


def _usage(mark: Mark | None) -> tuple[str, ...]:
    return tuple(filter(None, mark.attributes.get("usage", "").split(","))) if mark is not None else ()


def _digest(obj: DesiredObject) -> str:
    spec: Mapping[str, Any] = _spec(obj).model_dump(exclude={"usage", "comment"})
    return hashlib.sha256(repr(sorted(spec.items())).encode()).hexdigest()[:12]


def _last(name: str) -> str:
    return name.replace('"', "").rpartition(".")[2].upper()
