"""Function: a SQL function in front of a service's endpoint. Internal: manifests get theirs through a ModelDeployment.

The mark holds `spec=`, a hash of the definition, and `usage=`, the roles that were granted its use, since grants carry no comment. What was
changed by hand shows only in DESCRIBE FUNCTION. Service, endpoint and the rules for batches are altered in place; another path or type
needs CREATE OR REPLACE, which takes the grants away.

Source: docs.snowflake.com, sql-reference/sql/ create-function-spcs, alter-function-spcs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

from controller.account import statements as sql
from controller.account.snapshot import Describe, Missing, Read, Row, Show
from controller.api.base import Manifest, Scope, Spec
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import FieldChange, Health, Inventory, Kind, Observation, Sql, Step, View
from controller.kinds.comments import comment_drift, marked_comment, remarked, renewed_comment
from controller.kinds.mark import Mark, split_comment
from controller.kinds.properties import as_int, as_upper
from controller.kinds.property import Property
from controller.kinds.references import schema_scope
from controller.kinds.services.roles import service_role_grant
from controller.kinds.usage import Grant, Usage

_ARGUMENT, _TYPES = "prompt", "(VARCHAR)"
_BATCHES = (
    Property("max_batch_rows", "MAX_BATCH_ROWS", sql.number, "max_batch_rows", as_int),
    Property("max_batch_retries", "MAX_BATCH_RETRIES", sql.number, "max_batch_retries", as_int, implied=3),
    Property("on_batch_failure", "ON_BATCH_FAILURE", sql.word, "on_batch_failure", as_upper, implied="ABORT"),
    Property("batch_timeout_seconds", "BATCH_TIMEOUT_SECS", sql.number, "batch_timeout_secs", as_int, implied=3600),
)


class FunctionSpec(Spec):
    """`<name>(prompt VARCHAR)` that posts batches of rows to `path` of a service's endpoint."""

    service: str
    endpoint: str
    path: str
    returns: Literal["VARCHAR", "OBJECT"]
    max_batch_rows: int
    max_batch_retries: int | None = None  # Snowflake's own when not set: 3
    on_batch_failure: Literal["ABORT", "RETURN_NULL"] = "ABORT"
    batch_timeout_seconds: int | None = None  # Snowflake's own when not set: 3600
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

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Read]:
        if _row(obj, view) is not None:
            yield _describe(obj)
            yield from _usage(obj).questions()

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        row = _row(obj, view)
        if row is None:
            return Observation(exists=False, health=Health.MISSING, message="does not exist", reason="Missing")
        comment = row.get("description")
        mark = split_comment(comment)[1]
        drift = [*self._drift(obj, view), *_usage(obj).drift(mark, view.snapshot)]
        noted = mark.attributes.get("spec") if mark is not None else None
        if noted != _digest(obj) and not drift and not self._told_all(obj, view):
            drift.append(FieldChange("definition", noted, _digest(obj)))
        drift += comment_drift(obj, view, comment, **_attributes(obj, mark))
        spec = _spec(obj)
        return Observation(
            exists=True,
            message=f"{spec.path} of {spec.service}",
            reason="Created",
            drift=tuple(drift),
            mark=mark,
            owner=row.get("owner"),
            born=str(row.get("created_on") or ""),
            observed={"arguments": row.get("arguments"), "service": spec.service, "path": spec.path},
        )

    def _drift(self, obj: DesiredObject, view: View) -> Iterable[FieldChange]:
        """What DESCRIBE shows otherwise; a property that it does not show is not compared."""
        seen, spec = _described(obj, view), _spec(obj)
        if "body" in seen and str(seen["body"]).strip().strip("'") != spec.path:
            yield FieldChange("path", seen["body"], spec.path)
        if "returns" in seen and str(seen["returns"]).upper().partition("(")[0] != spec.returns:
            yield FieldChange("returns", seen["returns"], spec.returns)
        if seen.get("service") and _last(str(seen["service"])) != _last(spec.service):
            yield FieldChange("service", seen["service"], spec.service)
        if seen.get("endpoint") and str(seen["endpoint"]).strip('"').lower() != spec.endpoint:
            yield FieldChange("endpoint", seen["endpoint"], spec.endpoint)
        for prop in _BATCHES:
            found = prop.seen(seen.get(str(prop.column)))
            wanted = prop.value(obj) if prop.value(obj) is not None else prop.implied
            if prop.column in seen and (prop.implied if found is None else found) != wanted:
                yield FieldChange(prop.path, found, wanted)

    @staticmethod
    def _told_all(obj: DesiredObject, view: View) -> bool:
        """Whether DESCRIBE showed all of the definition: where it did, only the mark is out of date."""
        return {"body", "returns", "service", "endpoint", "max_batch_rows"} <= _described(obj, view).keys()

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        return [self._definition(obj, marked_comment(obj, view, **_attributes(obj, None))), *_usage(obj).steps(None, view.snapshot)]

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        paths = {change.path for change in seen.drift}
        row = _row(obj, view)
        current = row.get("description") if row is not None else None
        comment = renewed_comment(obj, view, current, **_attributes(obj, seen.mark))
        if paths & {"path", "returns", "definition"}:
            return [self._definition(obj, comment, replace=True), *_usage(obj).steps(None, view.snapshot)]  # a replaced one has no grants
        target, spec, steps = f"ALTER FUNCTION {obj.key.name.sql}{_TYPES}", _spec(obj), list[Step]()
        clauses = [prop.clause_for(prop.value(obj)) for prop in _BATCHES if prop.path in paths and not prop.to_unset(obj)]
        if paths & {"service", "endpoint"}:
            clauses = [sql.equals("SERVICE", QualifiedName.parse(spec.service).sql), sql.equals("ENDPOINT", _endpoint(spec)), *clauses]
        if unset := [prop.clause for prop in _BATCHES if prop.path in paths and prop.to_unset(obj)]:
            steps.append(Sql(f"{target} UNSET {', '.join(unset)}"))
        steps += _usage(obj).steps(seen.mark, view.snapshot)  # before the mark forgets what is to be taken back
        if comment != (current or ""):
            clauses.append(sql.equals("COMMENT", sql.text(comment)))
        if clauses:
            steps.append(Sql(f"{target} SET {' '.join(clauses)}"))
        return steps

    def remark(self, obj: DesiredObject, view: View, attributes: Mapping[str, str]) -> Sequence[Step]:
        row = _row(obj, view)
        comment = remarked(row.get("description"), view, attributes) if row is not None else None
        return [] if comment is None else [Sql(f"ALTER FUNCTION {obj.key.name.sql}{_TYPES} SET COMMENT = {sql.text(comment)}")]

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
            sql.equals("ENDPOINT", _endpoint(spec)),
            sql.equals("COMMENT", sql.text(comment)),
            *(clause for prop in _BATCHES if (clause := prop.for_create(obj)) is not None),
            f"AS {sql.text(spec.path)}",
        )
        return Sql("\n  ".join(lines))


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


def _attributes(obj: DesiredObject, mark: Mark | None) -> dict[str, str]:
    return {"spec": _digest(obj), "usage": _usage(obj).note(mark)}


def _described(obj: DesiredObject, view: View) -> dict[str, Any]:
    """Property → value of DESCRIBE; empty where it was not asked in this look."""
    read = _describe(obj)
    if view.snapshot.offline or isinstance(view.snapshot.answers.get(read, Missing("")), Missing):
        return {}
    return {str(row.get("property", "")).lower(): row.get("value") for row in view.snapshot.rows(read)}


def _usage(obj: DesiredObject) -> Usage:
    """A role that may call the function needs its USAGE, and the endpoint behind it."""
    target = f"FUNCTION {obj.key.name.sql}{_TYPES}"

    def grants(entry: str) -> list[Grant]:
        role = Identifier(entry)
        give, take = sql.grant(["USAGE"], target, role), sql.revoke(["USAGE"], target, role)
        return [Grant(role, Show("GRANTS", f"ON {target}"), give, take), service_role_grant(QualifiedName.parse(_spec(obj).service), role)]

    return Usage(_spec(obj).usage, grants, left="usage" in obj.manifest.metadata.ignore)


def _endpoint(spec: FunctionSpec) -> str:
    return sql.word(spec.endpoint).lower()


def _digest(obj: DesiredObject) -> str:
    spec: Mapping[str, Any] = _spec(obj).model_dump(exclude={"usage", "comment"})
    return hashlib.sha256(repr(sorted(spec.items())).encode()).hexdigest()[:12]


def _last(name: str) -> str:
    return name.replace('"', "").rpartition(".")[2].upper()
