"""A plan in a file: a promise of what `snowcat apply --plan` will do, no more and no less, as long as nothing moved meanwhile.

The file holds no steps to replay. Applying plans anew from the same files and the same account, and lets through only what the file
promised; so a secret need not be kept, and a pool that went to sleep meanwhile is no obstacle. What only becomes known while the plan is
carried out is planned then, where the file said so: the attempts of a job, the parts of a composite that waits, the deployment of a
fine-tune that is still to run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from controller.account.redact import redact
from controller.api.objects import DesiredObject
from controller.reconcile.look.facts import FileHashes
from controller.reconcile.planning.change import Action, Block, Change, Plan
from controller.reconcile.planning.evidence import CONTEXT, Evidence, ObjectEvidence, digest, moved, object_files
from controller.reconcile.state import identity

FORMAT = "snowcat-plan/1"
_BOOKKEEPING = frozenset({"mark", "suspended"})
"""Fields of Snowcat's own steps: the mark, and a pool that it suspended to change its family and must wake."""

_ATTEMPT = re.compile(r"\b(attempt=|NAME = \S+_)\d+")
_FOLLOWED_BY = {
    Action.CREATE: {Action.CREATE, Action.UPDATE},
    Action.UPDATE: {Action.UPDATE},
    Action.ADOPT: {Action.ADOPT, Action.UPDATE},
    Action.REPLACE: {Action.REPLACE, Action.CREATE, Action.UPDATE},
    Action.DELETE: {Action.DELETE},
}


class BadPlanFile(Exception):
    """The file is no saved plan that this version can use. The message says why, and what to do."""


@dataclass(frozen=True)
class SavedChange:
    """What the file promises for one object. `paths` are the fields that differ; `steps` the statements and effects as printed."""

    action: Action
    waits: bool
    paths: frozenset[str]
    steps: tuple[str, ...]

    @property
    def planned(self) -> bool:
        return self.action in _FOLLOWED_BY


@dataclass(frozen=True)
class SavedPlan:
    """`changes` by the full name of their objects; `later` are objects that may follow a job of the plan."""

    snowcat: str
    created: str
    project: str
    account: str
    evidence: Evidence
    plan: Mapping[str, Any]
    changes: Mapping[str, SavedChange]
    later: frozenset[str]

    @property
    def drops(self) -> int:
        return sum(change.action is Action.DELETE for change in self.changes.values())

    def mismatch(self, project: str, account: str) -> str:
        """Why the plan is not for this project and account at all; '' when it is."""
        pairs = (("project", self.project, project), ("account", self.account, account), ("version of snowcat", self.snowcat, _version()))
        return "; ".join(f"it was made for {what} {then!r}, this is {now!r}" for what, then, now in pairs if then != now)

    def moved(self, now: Evidence) -> list[str]:
        """What is not as it was when the plan was made, a line each."""
        return list(moved(self.evidence, now))

    def broken(self, now: Plan) -> list[str]:
        """Promises that cannot be kept although nothing moved: what would be done now is something else, or needs a person first."""
        lines = []
        for entry in now:
            saved = self.changes.get(identity(entry.key))
            change = entry.change
            if saved is None or not saved.planned or change.action is Action.NONE:
                continue
            if change.action is Action.BLOCKED and change.block is not Block.WAITING:
                lines.append(f"{entry.key} cannot be changed now: {redact(change.reason)}")
        return lines


@dataclass(eq=False)
class Promise:
    """The `Permit` of a run that carries out a saved plan."""

    saved: SavedPlan
    root: Path
    hashes: FileHashes = field(default_factory=FileHashes)
    refused: dict[str, str] = field(default_factory=dict)  # objects that would have been changed → why they were not

    def __call__(self, change: Change, obj: DesiredObject | None) -> str:
        why = self._why_not(change, obj)
        if why:
            self.refused[str(change.key)] = why
        return why

    def _why_not(self, change: Change, obj: DesiredObject | None) -> str:
        saved = self.saved.changes.get(identity(change.key))
        if obj is not None and (file := self._moved_file(obj)):
            return f"not done: {file} has changed since the plan was made"
        if saved is not None and saved.planned:
            return _beyond(saved, change)
        parent = identity(obj.parent) if obj is not None and obj.parent is not None else ""
        foreseen = (saved is not None and saved.waits) or identity(change.key) in self.saved.later or self._open(parent)
        if foreseen and not change.destructive:
            return ""
        return "not in the saved plan; it became known only later: 'snowcat plan' shows what is left"

    def _open(self, parent: str) -> bool:
        """Whether the parts of a composite were to be known only later."""
        if not parent:
            return False
        saved = self.saved.changes.get(parent)
        return parent in self.saved.later or (saved is not None and (saved.waits or saved.planned))

    def _moved_file(self, obj: DesiredObject) -> str:
        """A file of the object that moved while the plan is carried out; its manifest cannot, it was read once."""
        if obj.parent is not None or (then := self.saved.evidence.objects.get(identity(obj.key))) is None:
            return ""
        now = dict(object_files(obj, None, self.root, self.hashes))
        known = {path: sha for path, sha in then.files.items() if not path.endswith(f"({CONTEXT})")}
        return next((path for path in sorted(known.keys() | now.keys()) if known.get(path) != now.get(path)), "")


def _beyond(saved: SavedChange, change: Change) -> str:
    """How a change goes beyond what was promised for its object; '' when it does not."""
    if change.action not in _FOLLOWED_BY[saved.action]:
        return f"not done: the saved plan says {saved.action.value}, and now it would be {change.action.value}"
    if change.action is Action.CREATE and saved.action is Action.CREATE and _steps(change) != saved.steps:
        return "not done: it would be made differently from what the saved plan says"
    extra = sorted({f.path for f in change.fields} - saved.paths - _BOOKKEEPING)
    if extra and saved.action not in (Action.CREATE, Action.REPLACE):
        return f"not done: {', '.join(extra)} moved since the plan was made"
    return ""


def _steps(change: Change) -> tuple[str, ...]:
    """Statements and effects as they are compared: without the number of a job's attempt."""
    return tuple(_ATTEMPT.sub(r"\1", text) for text in (*change.statements, *change.effects))


# ---- the file --------------------------------------------------------------------------------------------------------------------------


def save(path: Path, plan: Plan, evidence: Evidence) -> None:
    """Write the file, readable by its owner only, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    document: Any = {
        "format": FORMAT,
        "snowcat": _version(),
        "createdAt": datetime.now(UTC).isoformat(timespec="seconds"),
        "project": plan.project,
        "account": plan.account,
        "hashes": {"manifests": evidence.manifests, "columns": evidence.columns},
        "plan": plan.as_dict(),
        "names": {str(index): identity(change.key) for index, change in enumerate(_listed(plan))},
        "later": sorted(identity(key) for key in plan.later),
        "files": dict(evidence.files),
        "objects": {name: asdict(found) for name, found in evidence.objects.items()},
    }
    document = _redacted(document)
    document["sha256"] = digest(document)
    folder = path.parent
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")  # made with mode 0600
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2, ensure_ascii=False, default=str)
            file.write("\n")
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def read(path: Path) -> SavedPlan:
    """The plan of a file.

    Raises:
        BadPlanFile: it is none, or one of another format.
        OSError: it cannot be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document["format"]
        if found != FORMAT:
            raise BadPlanFile(f"{path} has the format {found!r}, this version reads {FORMAT!r}; make the plan again")
        evidence = Evidence(document["files"], {name: ObjectEvidence(**value) for name, value in document["objects"].items()})
        if document.pop("sha256") != digest(document):
            raise BadPlanFile(f"{path} was changed after it was written; make the plan again")
        rows: Sequence[Mapping[str, Any]] = document["plan"]["changes"]
        names: Mapping[str, str] = document["names"]
        changes = {names[str(index)]: _saved(row) for index, row in enumerate(rows)}
        made_by, made, project, account = (str(document[name]) for name in ("snowcat", "createdAt", "project", "account"))
        return SavedPlan(made_by, made, project, account, evidence, document["plan"], changes, frozenset(document["later"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadPlanFile(f"{path} is no plan saved by 'snowcat plan --out'") from None


def _saved(row: Mapping[str, Any]) -> SavedChange:
    blocked = row["blocked"]
    steps = tuple(_ATTEMPT.sub(r"\1", text) for text in (*row["statements"], *row["effects"]))
    waits = blocked is not None and blocked["by"] == "waiting"
    return SavedChange(Action(row["action"]), waits, frozenset(f["path"] for f in row["fields"]), steps)


def _listed(plan: Plan) -> Iterator[Change]:
    """The changes in the order of `Plan.as_dict`."""
    return (change for change in plan.changes if change.action is not Action.NONE)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(key): _redacted(inner) for key, inner in value.items()}
    return [_redacted(inner) for inner in value] if isinstance(value, list | tuple) else value


def _version() -> str:
    try:
        return version("snowcat")
    except PackageNotFoundError:
        return "not installed"
