"""Where the rows of a FineTuneJob come from: a Dataset of the project, or a table, a query or a stage file that others keep.

Only of a Dataset are the rows known here: they are part of the run's identity, and their columns are checked before a node is started. Of
the other sources the identity holds the name alone, since looking at the rows would need a warehouse at every look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from controller.api.fine_tune_job import FineTuneJobSpec
from controller.api.names import NameProblem, QualifiedName
from controller.api.objects import DesiredObject, Graph
from controller.kinds.base import Gatherer, Stalled
from controller.kinds.dataset import DatasetFact, dataset_fact, table_of
from controller.kinds.jobs.service import Mount
from controller.kinds.references import manifest_of, name_of

_FILES = "/snowcat/data"
_FORMATS = (".jsonl", ".ndjson", ".csv", ".parquet")


@dataclass(frozen=True)
class JobRows:
    """`source` is that part of the training configuration's `data`; `identity` stands for the rows in the run's identity."""

    source: Mapping[str, str]
    identity: str
    told: str  # in a plan
    fact: DatasetFact | None = None  # of a Dataset
    mounts: tuple[Mount, ...] = ()


def job_rows(obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> JobRows:
    """The rows of a job.

    Raises:
        Stalled: the dataset is none of the project's or lacks a column that the prompt reads; the table or the file is misnamed.
    """
    data = cast(FineTuneJobSpec, obj.manifest.spec).data
    if data.query is not None:
        return JobRows({"query": data.query}, f"query {data.query}", f"query {data.query}")
    if data.table is not None:
        name = _table(obj, data.table)
        return JobRows({"table": name.sql}, f"table {name.sql}", f"table {name}")
    if data.file is not None:
        stage, path = name_of(obj, "data.file.stage"), PurePosixPath(data.file.path.strip("/"))
        if path.suffix.lower() not in _FORMATS or ".." in path.parts:
            raise Stalled(f"{obj.location}: data.file.path: {path} is no file that ends in {', '.join(_FORMATS)}", "BadManifest")
        folder = str(path.parent) if path.parent.parts else ""
        mount = Mount("data", stage, folder, _FILES)
        told = f"file @{stage}/{path}"
        return JobRows({"path": f"{_FILES}/{path.name}"}, f"file @{stage.sql}/{path}", told, mounts=(mount,))
    dataset = manifest_of(obj, "dataset", graph)
    fact = dataset_fact(dataset, gatherer)
    _check_columns(obj, dataset, fact)
    return JobRows({"table": table_of(dataset).sql}, fact.fingerprint, f"fingerprint {fact.fingerprint[:12]}", fact)


def _table(obj: DesiredObject, text: str) -> QualifiedName:
    try:
        name = QualifiedName.parse(text)
    except NameProblem as error:
        raise Stalled(f"{obj.location}: data.table: {error}", "BadManifest") from None
    if len(name.parts) != 3:
        raise Stalled(f"{obj.location}: data.table: {text} is not the full name of a table: database.schema.table", "BadManifest")
    return name


def _check_columns(obj: DesiredObject, data: DesiredObject, fact: DatasetFact) -> None:
    """The trainer asks the same of the table, but only after a node was started for it."""
    spec = cast(FineTuneJobSpec, obj.manifest.spec)
    has = [name.lower() for name, _ in fact.all_columns]
    needed = [*spec.prompt.needed_columns(spec.data.columns), spec.data.columns.split]
    if missing := [name for name in dict.fromkeys(needed) if name.lower() not in has]:
        raise Stalled(
            f"{obj.location}: {data.key} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has {', '.join(has)}; "
            "name the right ones in `data.columns`, or choose another `prompt.template`",
            "BadColumns",
        )
