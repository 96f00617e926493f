"""Simple kinds as a table of properties: what each field is called in SQL and in SHOW, and how the two are compared.

A kind that is no more than this names its table and is done; one with states, deep reads or steps of its own overrides a method or two.

A field that the manifest leaves out has the default that its model gives, and CREATE says it; a value changed by hand is therefore drift. A
property that `inherits` (the account's or the database's default applies) is compared only when the manifest sets it, and unset when an
earlier manifest did: the mark's `set` attribute remembers which.

What SHOW does not tell is `deep`: it is compared whenever the kind's deep read (DESCRIBE, or SHOW PARAMETERS) has an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Describe, Read, Row, Show, Snapshot
from controller.api.base import Scope
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import FieldChange, Health, Inventory, Kind, Observation, Sql, Step, View
from controller.kinds.comments import comment_drift, remarked, renewed_comment
from controller.kinds.exporting import table_spec
from controller.kinds.mark import Mark, mark_of, split_comment
from controller.kinds.property import Property

_NAME = {  # the columns that make up a full name
    Scope.ACCOUNT: ("name",),
    Scope.DATABASE: ("database_name", "name"),
    Scope.SCHEMA: ("database_name", "schema_name", "name"),
}

# ---- reading columns -------------------------------------------------------------------------------------------------------------------


def as_bool(value: Any) -> bool | None:
    """SHOW gives booleans as text: `true`/`false`, `Y`/`N`; None for anything else."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False, "y": True, "n": False, "yes": True, "no": False}.get(str(value).strip().lower())


def as_int(value: Any) -> int | None:
    """Numbers come as numbers or as text; None for NULL and ''."""
    text = str(value).strip() if value is not None else ""
    return int(float(text)) if text and text.lower() != "null" else None


def as_upper(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text.upper() if text and text.lower() != "null" else None


def as_list(value: Any) -> tuple[str, ...]:
    """A list in a text column, `[A, B]`, `('A','B')` or `A,B`; empty for NULL."""
    text = "" if value is None else str(value).strip().strip("[]()")
    return tuple(part.strip().strip("'\"") for part in text.split(",") if part.strip().strip("'\""))


def as_upper_list(value: Any) -> tuple[str, ...]:
    return tuple(part.upper() for part in (as_list(value) if isinstance(value, str) or value is None else value))


# ---- names that are values ----


def name_sql(value: str) -> str:
    """A name as a person writes it, as SQL text."""
    return Identifier.parse(value).sql


def stored_name(value: str | None) -> str | None:
    """The same as Snowflake stores it; None for none."""
    return None if value is None else Identifier.parse(value).text


def as_name(value: Any) -> str | None:
    """A name in a column; None for NULL, '' and the text `null`."""
    text = "" if value is None else str(value)
    return text if text.lower() not in ("", "null") else None


# ---- the table -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """Health of one object with a sentence for people and a CamelCase reason."""

    health: Health = Health.HEALTHY
    message: str = ""
    reason: str = ""


class TableKind(Kind):
    """A kind made of properties. Subclasses name `what` (`COMPUTE POOL`), `plural` (`COMPUTE POOLS`) and `properties`."""

    what: ClassVar[str]
    plural: ClassVar[str]
    properties: ClassVar[tuple[Property, ...]] = ()

    # ---- what a kind may add ----

    def attributes(self, obj: DesiredObject, view: View) -> dict[str, str]:
        """Attributes of the mark, beyond the common ones."""
        inheriting = sorted(p.path for p in self.properties if p.inherits and p.value(obj) is not None)
        return {"set": ",".join(inheriting)}

    def deep_question(self, name: QualifiedName) -> Read:
        """The question whose answer holds the `deep` properties."""
        return Describe(self.what, name.sql)

    def create_word(self, obj: DesiredObject) -> str:
        """What follows CREATE, where that is more than `what`: `TRANSIENT DATABASE`."""
        return self.what

    def clauses(self, obj: DesiredObject, view: View) -> list[str]:
        """Clauses of CREATE before the comment."""
        return [clause for p in self.properties if (clause := p.for_create(obj)) is not None]

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        """Differences that no column shows."""
        return ()

    def compared(self, obj: DesiredObject, row: Row) -> Row:
        """The row without columns that say nothing at the moment."""
        return row

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        return Verdict()

    def observed(self, row: Row) -> Mapping[str, Any]:
        """Facts for `snowcat describe`."""
        return {}

    # ---- the four verbs ----

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (self.show(obj.key.name),)

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Read]:
        row = self.row(obj, view)
        mark = mark_of(row)
        if row is not None and any(prop.wants_deep(obj, mark) for prop in self.properties):
            yield self.deep_question(obj.key.name)

    def told(self, obj: DesiredObject, view: View) -> Row:
        """What the deep read says, by lower-case key; empty as long as it was not asked."""
        return self.told_of(obj.key.name, view.snapshot)

    def show(self, name: QualifiedName) -> Show:
        """The SHOW that lists this object with its siblings."""
        scope = self.manifest.scope
        if scope is Scope.ACCOUNT:
            return Show(self.plural)
        return Show(self.plural, f"{scope.upper()} {_parent(name).sql}")

    def row(self, obj: DesiredObject, view: View) -> Row | None:
        return view.snapshot.row(self.show(obj.key.name), obj.key.name)

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        row = self.row(obj, view)
        if row is None:
            return Observation(exists=False, health=Health.MISSING, message="does not exist", reason="Missing")
        comment = row.get("comment")
        mark = split_comment(comment)[1]
        shown, told = self.compared(obj, row), self.told(obj, view)
        drift = [change for p in self.properties if (change := p.drift(obj, told if p.deep else shown, mark)) is not None]
        drift += [*self.more_drift(obj, row, view), *comment_drift(obj, view, comment, **self.attributes(obj, view))]
        verdict = self.verdict(obj, row, view)
        return Observation(
            exists=True,
            health=verdict.health,
            message=verdict.message,
            reason=verdict.reason,
            drift=tuple(drift),
            mark=mark,
            owner=row.get("owner"),
            born=str(row.get("created_on") or ""),
            observed={key: value for key, value in self.observed(row).items() if value not in (None, "")},
        )

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        comment = renewed_comment(obj, view, None, **self.attributes(obj, view))
        clauses = [*self.clauses(obj, view), sql.equals("COMMENT", sql.text(comment))]
        return (Sql(sql.create(self.create_word(obj), obj.key.name, clauses)),)

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        return self.alterations(obj, seen, view)

    def alterations(
        self,
        obj: DesiredObject,
        seen: Observation,
        view: View,
        more: Sequence[str] = (),
        *,
        skip: frozenset[str] = frozenset(),
        comment: bool = True,
    ) -> list[Step]:
        """One UNSET and one SET: the fields that drifted but those to `skip`, `more` clauses, and the comment if it is due."""
        paths = {change.path for change in seen.drift} - skip
        changed = [p for p in self.properties if p.path in paths and p.mutable]
        to_set = [p for p in changed if p.action is None and not p.to_unset(obj)]
        clauses = [*(p.clause_for(p.value(obj)) for p in to_set), *more]
        clauses += [sql.equals("COMMENT", sql.text(text)) for text in self.due_comment(obj, view) if comment]
        steps: list[Step] = []
        steps += [Sql(sql.alter(self.what, obj.key.name, p.action(p.value(obj)))) for p in changed if p.action is not None]
        if unset := [p.clause for p in changed if p.action is None and p.to_unset(obj)]:
            steps.append(Sql(sql.alter_unset(self.what, obj.key.name, unset)))
        if clauses:
            steps.append(Sql(sql.alter_set(self.what, obj.key.name, clauses)))
        return steps

    def due_comment(self, obj: DesiredObject, view: View) -> list[str]:
        """The comment to write, as a list of one; empty when it stands as it should."""
        row = self.row(obj, view)
        current = (row.get("comment") if row is not None else None) or ""
        wanted = renewed_comment(obj, view, current, **self.attributes(obj, view))
        return [] if wanted == current else [wanted]

    def remark(self, obj: DesiredObject, view: View, attributes: Mapping[str, str]) -> Sequence[Step]:
        row = self.row(obj, view)
        comment = remarked(row.get("comment"), view, attributes) if row is not None else None
        return [] if comment is None else [Sql(sql.alter_set(self.what, obj.key.name, [sql.equals("COMMENT", sql.text(comment))]))]

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        return (Sql(sql.drop(self.what, key.name), tolerate=frozenset({2003, 2043})),)

    # ---- export ----

    def export_reads(self) -> Iterable[Show]:
        return self.inventory_reads()

    def exported_name(self, row: Row) -> QualifiedName | None:
        return self.name_of(row)

    def export_details(self, name: QualifiedName, row: Row) -> Iterable[Read]:
        if any(prop.deep for prop in self.properties):
            yield self.deep_question(name)

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        return table_spec(self.properties, self.manifest, row, self.told_of(name, snapshot))

    def told_of(self, name: QualifiedName, snapshot: Snapshot) -> Row:
        """What the deep read says of one object, by lower-case key; empty as long as it was not asked."""
        question = self.deep_question(name)
        return by_key(snapshot.rows(question), self.what) if snapshot.asked(question) else {}

    # ---- leftovers ----

    def inventory_reads(self) -> Iterable[Show]:
        return (Show(self.plural, "" if self.manifest.scope is Scope.ACCOUNT else "ACCOUNT"),)

    def inventory(self, view: View) -> Iterable[Inventory]:
        found: dict[ObjectKey, Mark] = {}
        for read in view.snapshot.answers:
            if isinstance(read, Show) and read.what == self.plural:
                for row in view.snapshot.rows(read):
                    mark = mark_of(row)
                    name = self.name_of(row)
                    if name is not None and mark is not None and (mark.project, mark.kind) == (view.project.name, self.name):
                        found[ObjectKey(self.name, name)] = mark
        return [Inventory(key, mark) for key, mark in sorted(found.items(), key=lambda item: item[0].rank)]

    def name_of(self, row: Row) -> QualifiedName | None:
        """The full name of a row; None when the row does not say where the object lives."""
        parts = [row.get(column) for column in _NAME[self.manifest.scope]]
        return QualifiedName(tuple(Identifier(str(part)) for part in parts)) if all(parts) else None


def by_key(rows: Sequence[Row], level: str) -> Row:
    """A deep answer as one mapping: the single row of most DESCRIBEs, or rows of `property` and `property_value`, or of SHOW PARAMETERS.

    A parameter has its value where the object itself (`level`) sets it, and None where it inherits.
    """
    if not rows:
        return {}
    if "property" in rows[0]:
        return {str(row["property"]).lower(): row.get("property_value") for row in rows}
    if "level" in rows[0] and "key" in rows[0]:
        return {str(row["key"]).lower(): row.get("value") if row["level"] == level else None for row in rows}
    return rows[0]


def _parent(name: QualifiedName) -> QualifiedName:
    if name.parent is None:
        raise ValueError(f"{name} names no schema")  # the loader gives every object of a schema its full name
    return name.parent
