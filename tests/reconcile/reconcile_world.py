"""A project in a folder and rows of an account as data: what the pure parts of the loop are tested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

from controller.account.snapshot import Describe, Missing, Row, Show, Snapshot
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, ObjectKey
from controller.kinds.base import View
from controller.kinds.comments import mark_for
from controller.kinds.mark import join_comment
from controller.kinds.registry import KINDS
from controller.reconcile.look.deep import DeepReads
from controller.reconcile.look.facts import FactGatherer, FileHashes, gather_all
from controller.reconcile.look.files import Loaded, load_with_last_good, loader
from controller.reconcile.look.observe import look
from controller.reconcile.planning.change import Change, ObjectPlan, Plan
from controller.reconcile.planning.plan import plan
from controller.reconcile.planning.prune import Rules
from controller.reconcile.state import State

PROJECT = "apiVersion: snowcat/v1\nkind: Project\nproject: proj\nrole: worker\nresync: 30s\n"

WAREHOUSE = {"size": "X-Small", "auto_suspend": 60, "auto_resume": "true", "state": "STARTED"}
POOL = {
    "min_nodes": 1,
    "max_nodes": 1,
    "instance_family": "CPU_X64_XS",
    "auto_resume": "true",
    "auto_suspend_secs": 3600,
    "state": "IDLE",
    "active_nodes": 0,
    "idle_nodes": 1,
    "target_nodes": 1,
}
STAGE = {"type": "INTERNAL NO CSE", "directory_enabled": "Y"}


def key(kind: str, name: str) -> ObjectKey:
    return ObjectKey(kind, QualifiedName.parse(name))


def write(folder: Path, **files: str) -> Path:
    """Write manifests, each file's text given by its name without `.yaml`; documents without their apiVersion line."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "snowcat.yaml").exists():
        (folder / "snowcat.yaml").write_text(PROJECT)
    for name, text in files.items():
        documents = [dedent(part).strip() for part in dedent(text).split("\n---\n")]
        half = folder / f".{name}.tmp"
        half.write_text("\n---\n".join(f"apiVersion: snowcat/v1\n{part}" for part in documents) + "\n")
        half.replace(folder / f"{name}.yaml")  # as editors save: no reader ever sees half a file
    return folder


def warehouse(name: str = "wh", spec: str = "size: xsmall, autoSuspend: 60", **metadata: Any) -> str:
    extra = "".join(f", {field}: {value}" for field, value in metadata.items())
    return f"kind: Warehouse\nmetadata: {{name: {name}{extra}}}\nspec: {{{spec}}}"


@dataclass
class Account:
    """Rows by SHOW plural; answers any question about them, and counts the questions."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: list[Show | Describe] = field(default_factory=list)

    def put(self, what: str, name: str, comment: str | None, **columns: Any) -> dict[str, Any]:
        parts = QualifiedName.parse(name).parts
        place = dict(zip(("name", "schema_name", "database_name"), (p.text for p in reversed(parts)), strict=False))
        if what == "SCHEMAS":
            place = {"name": parts[-1].text, "database_name": parts[0].text}
        row = {"owner": "WORKER", "comment": comment, **place, **columns}
        self.rows.setdefault(what, []).append(row)
        return row

    def ask(self, reads: Any) -> dict[Any, tuple[Row, ...] | Missing]:
        answers = {}
        for read in reads:
            self.asked.append(read)
            answers[read] = tuple(self.rows.get(read.what, ())) if isinstance(read, Show) else ()
        return answers


@dataclass
class World:
    """A folder, an account and all between them but the loop."""

    folder: Path
    account: Account = field(default_factory=Account)
    state: State = field(default_factory=lambda: State(None))
    deep: DeepReads = field(default_factory=DeepReads)
    rules: Rules = field(default_factory=lambda: Rules(share=1.0))

    def load(self) -> Loaded:
        return load_with_last_good(loader(self.folder), self.state)

    def view(self, loaded: Loaded | None = None, *, dropping: bool = False) -> View:
        loaded = loaded or self.load()
        gatherer = FactGatherer(loaded.project, self.state, None, FileHashes())
        facts = gather_all(loaded.graph, KINDS, gatherer)
        return look(loaded.project, loaded.graph, facts, KINDS, self.account.ask, self.deep, role="WORKER", dropping=dropping)

    def plan(self) -> Plan:
        loaded = self.load()
        rules = replace(self.rules, off=loaded.prune_off)
        return plan(self.view(loaded), KINDS, prune=rules, invalid=loaded.invalid, remembered=loaded.remembered)

    def entry(self, kind: str, name: str) -> ObjectPlan:
        return self.plan().objects[key(kind, name)]

    def change(self, kind: str, name: str) -> Change:
        return self.entry(kind, name).change

    def desired(self, kind: str, name: str) -> DesiredObject:
        return self.load().graph.objects[key(kind, name)]

    def comment(self, kind: str, name: str, text: str = "") -> str:
        """The comment that the object of the manifest carries once it is made."""
        return join_comment(text, mark_for(self.desired(kind, name), self._bare()))

    def _bare(self) -> View:
        loaded = self.load()
        return View(loaded.project, loaded.graph, Snapshot())


def mark(kind: str, name: str, project: str = "proj", **attributes: str) -> str:
    """A comment that is nothing but a mark."""
    tail = "".join(f" {k}={v}" for k, v in sorted(attributes.items()))
    return f"[snowcat {project}/{kind}/{name}{tail}]"


def words(change: Change) -> Mapping[str, Any]:
    """The parts of a change that tables compare."""
    return {"action": change.action.value, "reason": change.block_reason, "fields": [f.path for f in change.fields]}
