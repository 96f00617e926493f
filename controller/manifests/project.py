"""A folder of manifests → checked settings and a graph of objects. The one entry for everything that reads the user's files.

Nothing is raised for bad content. A broken file leaves its objects out of the graph, or as they were last when `last_good` is given, and
everything else goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, Location, ObjectKey
from controller.api.project import PROJECT_FILE, ProjectSettings
from controller.manifests.decode import Broken, Draft, decode
from controller.manifests.explain import findings
from controller.manifests.files import manifest_files, read_text
from controller.manifests.nodes import Node, YamlProblem, documents, dotted
from controller.manifests.plain_secrets import HINT, plain_secrets
from controller.manifests.problems import Problem, Severity
from controller.manifests.resolve import Candidate, existing_objects, place, resolve
from controller.manifests.values import Values

LOCAL_ACCOUNT = "local"


@dataclass(frozen=True)
class LoadResult:
    """What a folder says.

    `settings` is None when the project file cannot be used; then nothing else can be either. `account` is the entry of `accounts` whose
    values were taken. `kept` are objects that the files do not give at present and that stand in the graph as they were last good.
    """

    root: Path
    settings: ProjectSettings | None
    account: str | None = None
    graph: Graph = field(default_factory=lambda: Graph({}))
    problems: tuple[Problem, ...] = ()
    files: tuple[Path, ...] = ()
    kept: frozenset[ObjectKey] = frozenset()

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.is_error)

    @property
    def complete(self) -> bool:
        """Whether everything could be read. Only then is absence a fact, and pruning allowed."""
        return not self.errors


def find_project(start: Path) -> Path | None:
    """The folder of the project file: `start`, its parents, then `manifests` and the only `manifests/*` that has one."""
    folder = start if start.is_dir() else start.parent
    for place_ in (folder, *folder.absolute().parents):
        if (place_ / PROJECT_FILE).is_file():
            return place_
    below = [folder / "manifests", *sorted((folder / "manifests").glob("*"))]
    found = [place_ for place_ in below if (place_ / PROJECT_FILE).is_file()]
    return found[0] if len(found) == 1 or (found and found[0] == below[0]) else None


def load_project(
    path: Path,
    account: str | None = None,
    *,
    connection: str | None = None,
    local: bool = False,
    last_good: Mapping[ObjectKey, DesiredObject] | None = None,
    only: Iterable[Path] | None = None,
) -> LoadResult:
    """Load the project that `path` belongs to.

    Args:
        path: a folder with `snowcat.yaml`, or a folder or file below one.
        account: entry of `accounts` whose values are used; without it the one for `connection`, or `local`.
        last_good: objects of earlier loads, which stand in for those that cannot be read now.
        only: report problems of these files only (`snowcat validate FILE`); everything is loaded all the same.
    """
    root = find_project(path.absolute())
    if root is None:
        message = f"there is no {PROJECT_FILE} here or above"
        problem = Problem(Location(path.absolute(), 1), message, "name the folder that has one, or make one with 'snowcat init DIR'")
        return LoadResult(path.absolute(), None, problems=(problem,))
    settings, problems = _settings(root / PROJECT_FILE)
    if settings is None:
        return LoadResult(root, None, problems=tuple(problems))
    chosen, trouble = _choose(settings, root, account, connection, local)
    if trouble:
        return LoadResult(root, None, problems=(*problems, trouble))
    values = Values({**settings.values, **(settings.accounts[chosen].values if chosen else {})})
    files = manifest_files(root)
    drafts, broken, unreadable = _decode_all(files, values, problems)
    candidates = _placed(drafts, settings, broken)
    spare = _spare(last_good or {}, candidates, broken, unreadable)
    resolved = resolve([*candidates, *spare], broken, settings)
    problems += [problem for part in broken for problem in part.problems]
    problems += resolved.problems
    if not files:
        problems.append(
            Problem(Location(root, 1), "there are no manifests in this folder", "files are named *.yaml, one or more objects in each")
        )
    if only is not None:
        wanted = [p.absolute() for p in only]
        problems = [p for p in problems if any(w == p.location.file or w in p.location.file.parents for w in wanted)]
    problems = sorted(set(problems), key=lambda p: (p.location.file, p.location.line, p.field))
    kept = frozenset(c.key for c in spare if c.key in resolved.graph)
    return LoadResult(root, settings, chosen, resolved.graph, tuple(problems), tuple(files), kept)


# ---- the project file ------------------------------------------------------------------------------------------------------------------


def _settings(file: Path) -> tuple[ProjectSettings | None, list[Problem]]:
    text = read_text(file)
    if isinstance(text, Problem):
        return None, [text]
    try:
        nodes = list(documents(text))
    except YamlProblem as error:
        return None, [Problem(Location(file, error.line), error.message, error.hint, error.field)]
    if len(nodes) != 1 or not isinstance(nodes[0].value, dict):
        hint = "apiVersion, kind: Project, project, role …; 'snowcat init DIR' writes an example"
        return None, [Problem(Location(file, 1), f"{PROJECT_FILE} must hold one mapping", hint)]
    node = nodes[0]
    secrets = [_problem(file, node, path, "a secret stands here in plain text", HINT) for path in plain_secrets(node)]
    if secrets:
        return None, secrets
    try:
        settings = ProjectSettings.model_validate(node.plain, by_alias=True, by_name=False)
    except pydantic.ValidationError as error:
        return None, [Problem(Location(file, f.line), f.message, f.hint, f.field) for f in findings(error, ProjectSettings, node)]
    _, wrong = existing_objects(settings)
    return (None if wrong else settings), [_problem(file, node, ("existing",), message) for message in wrong]


def _problem(file: Path, node: Node, path: tuple[Any, ...], message: str, hint: str = "") -> Problem:
    line, present = node.find(path)
    return Problem(Location(file, line), message, hint, dotted(present))


def _choose(
    settings: ProjectSettings, root: Path, account: str | None, connection: str | None, local: bool
) -> tuple[str | None, Problem | None]:
    """The entry of `accounts` to use, or why there is none. A connection that no entry names uses the project's values alone."""
    if account is not None and account not in settings.accounts:
        known = ", ".join(sorted(settings.accounts)) or "none"
        return None, Problem(Location(root / PROJECT_FILE, 1), f"there is no account {account!r}", f"known: {known}", "accounts")
    if account is not None:
        return account, None
    if local:
        return (LOCAL_ACCOUNT if LOCAL_ACCOUNT in settings.accounts else None), None
    for name, entry in settings.accounts.items():
        if connection is not None and connection in (name, entry.connection):
            return name, None
    return None, None


# ---- the manifests ---------------------------------------------------------------------------------------------------------------------


def _decode_all(files: list[Path], values: Values, problems: list[Problem]) -> tuple[list[Draft], list[Broken], set[Path]]:
    """Checked documents, broken ones, and the files that could not be read at all."""
    drafts: list[Draft] = []
    broken: list[Broken] = []
    unreadable: set[Path] = set()
    for file in files:
        text = read_text(file)
        if isinstance(text, Problem):
            problems.append(text)
            unreadable.add(file)
            continue
        try:
            nodes = list(documents(text))
        except YamlProblem as error:
            problems.append(Problem(Location(file, error.line), error.message, error.hint, error.field))
            unreadable.add(file)
            continue
        if not nodes:
            problems.append(Problem(Location(file, 1), "the file is empty", "remove it, or write a manifest", severity=Severity.WARNING))
        for node in nodes:
            done = decode(node, file, values)
            if isinstance(done, Draft):
                drafts.append(done)
            else:
                broken.append(done)
    return drafts, broken, unreadable


def _placed(drafts: list[Draft], settings: ProjectSettings, broken: list[Broken]) -> list[Candidate]:
    """Drafts with their full names. A manifest whose schema cannot be told is added to `broken`."""
    schemas = {QualifiedName.parse(d.manifest.metadata.database or "").child(d.name) for d in drafts if d.manifest.kind == "Schema"}
    schemas |= {key.name for key in existing_objects(settings)[0] if key.kind == "Schema" and len(key.name.parts) == 2}
    candidates = []
    for draft in drafts:
        placed = place(draft, schemas)
        if isinstance(placed, Candidate):
            candidates.append(placed)
        else:
            broken.append(Broken((placed,), draft.manifest.kind, draft.name, draft.manifest.metadata.schema_))
    return candidates


def _spare(
    last_good: Mapping[ObjectKey, DesiredObject], candidates: list[Candidate], broken: list[Broken], unreadable: set[Path]
) -> list[Candidate]:
    """Objects that were good before and cannot be told now: of files that cannot be read, and of documents that are wrong."""
    present = {candidate.key for candidate in candidates}
    wrong = {(part.kind, part.name) for part in broken}
    return [
        Candidate(key, obj.manifest, obj.location, None)
        for key, obj in last_good.items()
        if key not in present and obj.parent is None and (obj.location.file in unreadable or (key.kind, key.name.name) in wrong)
    ]
