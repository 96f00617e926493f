"""Dataset: the rows of a file as a table with `_ROW_ID` and `_SPLIT`.

The fingerprint over row ids and splits stands in the table's mark (`data=`), next to a hash of the columns (`columns=`). So the file is
compared with the table by SHOW alone, and the warehouse is used only when rows are loaded. A table that lost or gained rows by hand is
loaded again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from controller.account import statements as sql
from controller.account.errors import NotFound, NoWarehouse
from controller.account.snapshot import Row, Show
from controller.api.dataset import Dataset, DatasetSpec
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import (
    Effect,
    EffectContext,
    FieldChange,
    Gatherer,
    Health,
    Inventory,
    Kind,
    Observation,
    Sql,
    Stalled,
    Step,
    View,
    Waiting,
)
from controller.kinds.comments import comment_drift, marked_comment, marked_name, remarked, renewed_comment
from controller.kinds.mark import Mark, mark_of
from controller.kinds.properties import as_int
from controller.kinds.references import schema_of, schema_scope, warehouse_of
from controller.kinds.rows import ROW_ID, SPLIT, RowsError, SplitRule, column_name, read_rows, survey

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_ ]*(\(\s*\d+\s*(,\s*\d+\s*)?\))?")
_FACTS_VERSION = 1  # part of the cache key: raise it when the meaning of a fact changes


@dataclass(frozen=True)
class DatasetFact:
    """What the file holds. `columns` are name and SQL type in order, without the two that are added."""

    file: Path
    rule: SplitRule
    columns: tuple[tuple[str, str], ...]
    rows: int
    splits: Mapping[str, int]
    fingerprint: str

    @property
    def all_columns(self) -> list[tuple[str, str]]:
        return [*self.columns, (ROW_ID, "VARCHAR"), (SPLIT, "VARCHAR")]

    @property
    def columns_hash(self) -> str:
        return hashlib.sha256(json.dumps(self.all_columns).encode()).hexdigest()[:8]


def dataset_fact(obj: DesiredObject, gatherer: Gatherer) -> DatasetFact:
    """Read the file, or what is remembered of it.

    Raises:
        Stalled: the file is missing or holds a bad line.
    """
    spec = cast(DatasetSpec, obj.manifest.spec)
    file = (obj.location.file.parent / spec.file).resolve()
    split = spec.split
    rule = SplitRule(split.train, split.eval, split.test, split.stratify_by, split.seed)
    chosen = {column_name(name, str(obj.location)): kind for name, kind in spec.columns.items()} if spec.columns else None
    for name, kind in (chosen or {}).items():
        if not _TYPE.fullmatch(kind):
            raise Stalled(f"{obj.location}: columns.{name}: {kind!r} is not an SQL type such as VARCHAR or NUMBER(10, 2)", "BadManifest")
    if not file.is_file():
        raise Stalled(f"{obj.location}: file: there is no {file}", "FileNotFound")
    question = json.dumps([_FACTS_VERSION, split.model_dump(), chosen], sort_keys=True)
    key = f"dataset:{gatherer.hash_files([file])}:{hashlib.sha256(question.encode()).hexdigest()[:16]}"
    known = gatherer.recall(key)
    if known is None:
        known = _look(file, rule, chosen)
        gatherer.remember(key, known)
    columns = tuple((str(name), str(kind)) for name, kind in known["columns"])
    return DatasetFact(file, rule, columns, known["rows"], known["splits"], known["fingerprint"])


def _look(file: Path, rule: SplitRule, chosen: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        found = survey(_chosen_rows(file, chosen), rule)
    except RowsError as error:
        raise Stalled(str(error), "BadData") from None
    if chosen:
        missing = [name for name in chosen if name not in found.columns]
        if missing:
            raise Stalled(f"{file}: there is no column {missing[0]}; columns: {', '.join(found.columns)}", "BadData")
    columns = [(name, (chosen or {}).get(name, kind)) for name, kind in found.columns.items()]
    return {"columns": columns, "rows": len(found.row_ids), "splits": found.counts, "fingerprint": found.fingerprint}


def _chosen_rows(file: Path, chosen: Mapping[str, str] | None) -> Iterable[dict[str, Any]]:
    rows = read_rows(file)
    return rows if chosen is None else ({name: value for name, value in row.items() if name in chosen} for row in rows)


def table_of(obj: DesiredObject) -> QualifiedName:
    """The full name of the table."""
    spec = cast(DatasetSpec, obj.manifest.spec)
    return schema_of(obj.key.name).child(Identifier.parse(spec.table)) if spec.table else obj.key.name


@dataclass(frozen=True)
class LoadRows(Effect):
    """Replace the table's rows by the file's, in one transaction, and note the fingerprint in the comment."""

    table: QualifiedName
    fact: DatasetFact
    warehouse: str
    comment: str

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self.fact.splits.items())
        return f"load {self.fact.rows} rows of {self.fact.file.name} into {self.table} ({counts})"

    def run(self, context: EffectContext) -> None:
        local = context.workdir / "rows.jsonl.gz"
        self._write(local)
        stage = schema_of(self.table).child(Identifier(f"SNOWCAT_LOAD_{self.fact.fingerprint[:12].upper()}"))
        session = context.session
        try:
            with session.warehouse(self.warehouse):
                context.progress(f"loading {self.fact.rows} rows")
                session.execute(sql.create("TEMPORARY STAGE", stage, or_replace=True))
                try:
                    session.put_file(local, stage)
                    self._load(session, stage, local.name)
                finally:
                    session.execute(sql.drop("STAGE", stage))
        except (NoWarehouse, NotFound) as error:
            text = f"rows cannot be loaded into {self.table}: warehouse {self.warehouse} is suspended or missing ({error.message})"
            raise type(error)(text, errno=error.errno, sqlstate=error.sqlstate, statement=error.statement) from None

    def _load(self, session: Any, stage: QualifiedName, file: str) -> None:
        session.execute("BEGIN")
        try:
            session.execute(f"DELETE FROM {self.table.sql}")  # noqa: S608 (a quoted name)
            copied = session.execute(
                f"COPY INTO {self.table.sql} FROM {sql.stage_path(stage, file)} "
                "FILE_FORMAT = (TYPE = JSON) MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE ON_ERROR = ABORT_STATEMENT"
            )
            loaded = sum(as_int(row.get("rows_loaded")) or 0 for row in copied.rows)
            if loaded != self.fact.rows:
                raise Waiting(f"{loaded} of {self.fact.rows} rows arrived in {self.table}; trying again")
            session.execute("COMMIT")
        except BaseException:
            session.execute("ROLLBACK")
            raise
        session.execute(sql.comment("TABLE", self.table, self.comment))

    def _write(self, local: Path) -> None:
        """The rows as JSON lines, every column in its stored name."""
        chosen = dict(self.fact.columns)
        found = survey(_chosen_rows(self.fact.file, chosen), self.fact.rule)
        if found.fingerprint != self.fact.fingerprint:
            raise Waiting(f"{self.fact.file} changed while its load was planned; looking again")
        rows = _chosen_rows(self.fact.file, chosen)
        with gzip.open(local, "wt", encoding="utf-8", compresslevel=5) as out:
            for row, row_id, split in zip(rows, found.row_ids, found.splits, strict=True):
                out.write(json.dumps({**row, ROW_ID: row_id, SPLIT: split}, ensure_ascii=False) + "\n")


class DatasetKind(Kind):
    name: ClassVar[str] = "Dataset"
    manifest: ClassVar[type[Dataset]] = Dataset

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> DatasetFact:
        return dataset_fact(obj, gatherer)

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (_show(obj),)

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        fact = _fact(obj, view)
        row = view.snapshot.row(_show(obj), table_of(obj))
        if row is None:
            return Observation(exists=False, health=Health.MISSING, message="does not exist", reason="Missing")
        mark = mark_of(row)
        attributes = mark.attributes if mark else {}
        drift: list[FieldChange] = []
        if attributes.get("columns") != fact.columns_hash:
            drift.append(FieldChange("columns", attributes.get("columns"), fact.columns_hash))
        if attributes.get("data") != fact.fingerprint[:12]:
            drift.append(FieldChange("data", attributes.get("data"), fact.fingerprint[:12]))
        elif (rows := as_int(row.get("rows"))) is not None and rows != fact.rows:
            drift.append(FieldChange("rows", rows, fact.rows))
        if not drift:
            drift += comment_drift(obj, view, row.get("comment"), **_attributes(fact))
        loaded = not any(change.path in ("columns", "data", "rows") for change in drift)
        counts = ", ".join(f"{number} {name}" for name, number in fact.splits.items())
        return Observation(
            exists=True,
            health=Health.HEALTHY if loaded else Health.PROGRESSING,
            message=f"{fact.rows} rows: {counts}" if loaded else "the rows are not those of the file yet",
            reason="Loaded" if loaded else "NotLoaded",
            drift=tuple(drift),
            mark=mark,
            owner=row.get("owner"),
            born=str(row.get("created_on") or ""),
            observed={
                "table": table_of(obj).sql,
                "rows": row.get("rows"),
                "fingerprint": fact.fingerprint[:12],
                "splits": dict(fact.splits),
            },
            conditions=_left_behind(obj, view),
        )

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        return (self._table(obj, view), self._load(obj, view))

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        changed = {change.path for change in seen.drift}
        if "columns" in changed or seen.mark is None:
            remembered = bool(seen.born) and view.births.get(obj.key) == seen.born  # only its comment was written over
            if seen.mark is None and not remembered:  # adopted: its columns are not ours to replace unseen
                raise Stalled(f"{table_of(obj)} exists and was not loaded by Snowcat; choose another `table`, or drop it", "NotOwned")
            return (self._table(obj, view, replace=True), self._load(obj, view))
        if changed & {"data", "rows"}:
            return (self._load(obj, view),)
        row = view.snapshot.row(_show(obj), table_of(obj))
        current = row.get("comment") if row is not None else None
        return (Sql(sql.comment("TABLE", table_of(obj), renewed_comment(obj, view, current, **_attributes(_fact(obj, view))))),)

    def remark(self, obj: DesiredObject, view: View, attributes: Mapping[str, str]) -> Sequence[Step]:
        row = view.snapshot.row(_show(obj), table_of(obj))
        comment = remarked(row.get("comment"), view, attributes) if row is not None else None
        return [] if comment is None else [Sql(sql.comment("TABLE", table_of(obj), comment))]

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        obj = view.graph.get(key)
        table = table_of(obj) if obj is not None else self._table_by_mark(key, view)
        return (Sql(sql.drop("TABLE", table), tolerate=frozenset({2003, 2043})),)

    def inventory_reads(self) -> Iterable[Show]:
        return (Show("TABLES", "ACCOUNT"),)

    def inventory(self, view: View) -> Iterable[Inventory]:
        found = {}
        for row, mark in _marked_tables(view):
            if name := marked_name(mark):
                found[ObjectKey(self.name, _schema(row).child(name))] = mark
        return [Inventory(key, mark) for key, mark in sorted(found.items(), key=lambda item: item[0])]

    def _table_by_mark(self, key: ObjectKey, view: View) -> QualifiedName:
        """The table of a dataset whose manifest is gone; it may have had another name."""
        for row, mark in _marked_tables(view):
            if marked_name(mark) == key.name.name and _schema(row) == schema_of(key.name):
                return schema_of(key.name).child(Identifier(str(row["name"])))
        return key.name

    def _table(self, obj: DesiredObject, view: View, *, replace: bool = False) -> Sql:
        fact = _fact(obj, view)
        columns = ",\n  ".join(f"{Identifier(name).sql} {kind}" for name, kind in fact.all_columns)
        comment = marked_comment(obj, view, columns=fact.columns_hash)
        head = f"CREATE {'OR REPLACE ' if replace else ''}TABLE {table_of(obj).sql}"
        keep = "\nCOPY GRANTS" if replace else ""
        return Sql(f"{head} (\n  {columns}\n){keep}\nCOMMENT = {sql.text(comment)}")

    def _load(self, obj: DesiredObject, view: View) -> LoadRows:
        warehouse = warehouse_of(obj, view)
        if warehouse is None:
            raise Stalled(f"{obj.key}: loading rows needs a warehouse: set `warehouse` in snowcat.yaml", "NoWarehouse")
        fact = _fact(obj, view)
        return LoadRows(table_of(obj), fact, warehouse.sql, marked_comment(obj, view, **_attributes(fact)))


def _left_behind(obj: DesiredObject, view: View) -> dict[str, tuple[bool, str, str]]:
    """A condition that names the tables that this dataset had before its manifest named another one: they hold data, so they stay."""
    old = sorted(
        str(row["name"])
        for row in view.snapshot.rows(_show(obj))
        if (mark := _dataset_mark(row, view)) is not None
        and marked_name(mark) == obj.key.name.name
        and row["name"] != table_of(obj).name.text
    )
    text = f"the rows of before are still in {', '.join(sorted(old))}; drop what is not needed any more"
    return {"TableLeft": (True, "TableRenamed", text)} if old else {}


def _fact(obj: DesiredObject, view: View) -> DatasetFact:
    return cast(DatasetFact, view.fact(obj.key))


def _attributes(fact: DatasetFact) -> dict[str, str]:
    return {"columns": fact.columns_hash, "data": fact.fingerprint[:12]}


def _show(obj: DesiredObject) -> Show:
    return Show("TABLES", schema_scope(obj.key.name))


def _schema(row: Row) -> QualifiedName:
    return QualifiedName((Identifier(str(row["database_name"])), Identifier(str(row["schema_name"]))))


def _marked_tables(view: View) -> Iterable[tuple[Row, Mark]]:
    for read in view.snapshot.answers:
        if isinstance(read, Show) and read.what == "TABLES":
            for row in view.snapshot.rows(read):
                mark = _dataset_mark(row, view)
                if mark is not None:
                    yield row, mark


def _dataset_mark(row: Row, view: View) -> Mark | None:
    """The mark of one of this project's datasets."""
    mark = mark_of(row)
    return mark if mark is not None and (mark.project, mark.kind) == (view.project.name, "Dataset") else None
