"""A folder of manifests → checked settings and a graph of objects. The one entry for everything that reads the user's files.

Nothing is raised for bad content. What is wrong leaves its objects out of the graph and everything else goes on; who knows the last
good text of a broken file may load again with that text in its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from controller.api.base import LocalPath
from controller.api.names import QualifiedName
from controller.api.objects import Graph, Location
from controller.api.project import PROJECT_FILE, ProjectSettings
from controller.manifests.decode import Broken, Draft, decode
from controller.manifests.fields import marked_fields
from controller.manifests.files import manifest_files, read_text
from controller.manifests.memory import Memory
from controller.manifests.nodes import Node, YamlProblem, documents
from controller.manifests.problems import Problem, Severity
from controller.manifests.project_file import ProjectFile, read_project_file
from controller.manifests.resolve import Candidate, concerned, existing_objects, place, resolve, resolve_edited
from controller.manifests.values import Values

LOCAL_ACCOUNT = "local"


@dataclass(frozen=True)
class LoadResult:
    """What a folder says.

    `settings` is None when the project file cannot be used; then nothing else can be either. `account` is the entry of `accounts` whose
    values were taken. `texts` holds what was read, the project file included; a file that cannot be read is not in it.
    """

    root: Path
    settings: ProjectSettings | None
    account: str | None = None
    graph: Graph = field(default_factory=lambda: Graph({}))
    problems: tuple[Problem, ...] = ()
    files: tuple[Path, ...] = ()
    texts: Mapping[Path, str] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.is_error)

    @property
    def complete(self) -> bool:
        """Whether everything could be read. Only then is absence a fact, and pruning allowed."""
        return not self.errors


def find_project(start: Path) -> Path | None:
    """The folder of the project file: `start`, its parents, then `manifests` and the only `manifests/*` that has one.

    A folder that takes manifests from another one there by links is a variant of that one: it is never meant without being named.
    """
    folder = start if start.is_dir() else start.parent
    for place_ in (folder, *folder.absolute().parents):
        if (place_ / PROJECT_FILE).is_file():
            return place_
    below = [folder / "manifests", *sorted((folder / "manifests").glob("*"))]
    found = [place_ for place_ in below if (place_ / PROJECT_FILE).is_file()]
    found = [place_ for place_ in found if not _borrows(place_, found)]
    return found[0] if len(found) == 1 or (found and found[0] == below[0]) else None


def _borrows(folder: Path, others: list[Path]) -> bool:
    owners = {other.resolve() for other in others if other != folder}
    return any(file.is_symlink() and file.resolve().parent in owners for file in folder.glob("*.yaml"))


def load_project(
    path: Path,
    account: str | None = None,
    *,
    connection: str | None = None,
    local: bool = False,
    texts: Mapping[Path, str] | None = None,
    only: Iterable[Path] | None = None,
    memory: Memory | None = None,
) -> LoadResult:
    """Load the project that `path` belongs to.

    Args:
        path: a folder with `snowcat.yaml`, or a folder or file below one.
        account: entry of `accounts` whose values are used; without it the one for `connection`, or `local`.
        texts: texts to use in place of what files hold now. A file that is gone stays gone.
        memory: what earlier loads of this folder and account found, to be faster; nothing else changes.
        only: report problems of these files only (`snowcat validate FILE`); everything is loaded all the same.
    """
    root = find_project(path.absolute())
    if root is None:
        message = f"there is no {PROJECT_FILE} here or above"
        problem = Problem(Location(path.absolute(), 1), message, "name the folder that has one, or make one with 'snowcat init DIR'")
        return LoadResult(path.absolute(), None, problems=(problem,))
    reader = _Reader(texts or {})
    said = read_project_file(root / PROJECT_FILE, reader.nodes(root / PROJECT_FILE, reader.text(root / PROJECT_FILE)))
    settings, problems = said.settings, list(said.problems)
    if settings is None:
        return LoadResult(root, None, problems=(*problems, *_other_problems(root, reader, said, only)), texts=reader.seen)
    chosen, trouble = _choose(settings, root, account, connection, local)
    if trouble:
        return LoadResult(root, None, problems=(*problems, trouble, *_other_problems(root, reader, said, only)), texts=reader.seen)
    given = {**settings.values, **(settings.accounts[chosen].values if chosen else {})}
    memory = memory or Memory()
    memory.begin(settings, given)
    values = Values(given)
    files = manifest_files(root)
    found = {file: reader.text(file) for file in files}
    graph = memory.unchanged({file: text for file, text in found.items() if isinstance(text, str)})
    if graph is not None and files and reader.seen.keys() >= found.keys():
        return LoadResult(root, settings, chosen, graph, tuple(problems), tuple(files), reader.seen)
    drafts, broken = _decode_all(root, found, reader, values, problems, memory)
    broken = _without_named_files(drafts, broken)
    graph = resolve_edited(drafts, settings, memory) if not broken else None
    if graph is None:
        schemas = _schemas(drafts, settings)
        resolved = resolve(_placed(drafts, schemas, broken), broken, settings, memory)
        problems += [replace(problem, key=concerned(part, schemas)) for part in broken for problem in part.problems]
        problems += resolved.problems
        graph = resolved.graph
    if not files:
        problems.append(
            Problem(Location(root, 1), "there are no manifests in this folder", "files are named *.yaml, one or more objects in each")
        )
    problems = _sorted(problems, only)
    if chosen is None:
        problems += _account_needed(settings, root, values.undefined)
    return LoadResult(root, settings, chosen, graph, tuple(problems), tuple(files), reader.seen)


def _sorted(problems: Iterable[Problem], only: Iterable[Path] | None) -> list[Problem]:
    """Each once, in the order of files and lines; where only some files are asked about, those of these."""
    if only is not None:
        wanted = [p.absolute() for p in only]
        problems = [p for p in problems if any(w == p.location.file or w in p.location.file.parents for w in wanted)]
    return sorted(set(problems), key=lambda p: (p.location.file, p.location.line, p.field))


class _Reader:
    """Reads files, or the texts that stand in for them, and keeps what was read."""

    def __init__(self, texts: Mapping[Path, str]) -> None:
        self._instead = texts
        self.seen: dict[Path, str] = {}

    def text(self, file: Path) -> str | Problem:
        """What a file says, or why it cannot be read."""
        text = self._instead[file] if file in self._instead and file.exists() else read_text(file)
        if not isinstance(text, Problem):
            self.seen[file] = text
        return text

    def nodes(self, file: Path, text: str | Problem) -> list[Node] | Problem:
        """The documents of a file, or why they cannot be read."""
        if isinstance(text, Problem):
            return text
        try:
            return list(documents(text))
        except YamlProblem as error:
            return Problem(Location(file, error.line), error.message, error.hint, error.field)


# ---- what the project file decides -------------------------------------------------------------------------------------------------------


def _other_problems(root: Path, reader: _Reader, project: ProjectFile, only: Iterable[Path] | None) -> list[Problem]:
    """What is wrong in manifests while the project file cannot be used: all is shown at once, not one file after the other.

    Of a document with a value that nothing defines nothing is said, and what it declares is taken to be there.
    """
    drafts: list[Draft] = []
    broken: list[Broken] = []
    unsure: list[Broken] = []
    for file in manifest_files(root):
        nodes = reader.nodes(file, reader.text(file))
        if isinstance(nodes, Problem):
            broken.append(Broken((nodes,)))
            continue
        for node in nodes:
            values = Values(project.told)
            found = decode(node, file, values, root)
            if isinstance(found, Draft):
                drafts.append(found)
            else:
                (unsure if values.undefined else broken).append(found)
    broken = _without_named_files(drafts, broken)
    references = _wrong_references(drafts, broken, unsure, project.known) if project.known else ()
    return _sorted([*(problem for part in broken for problem in part.problems), *references], only)


def _wrong_references(drafts: list[Draft], broken: list[Broken], unsure: list[Broken], known: ProjectSettings) -> tuple[Problem, ...]:
    schemas = _schemas(drafts, known)
    there = [concerned(part, schemas) for part in unsure]
    names = [f"{key.kind}/{key.name.sql}" for key in there if key is not None]
    if len(names) < len(there):
        return ()  # any name may be one of theirs
    settings = known.model_copy(update={"existing": [*known.existing, *names]})
    return resolve(_placed(drafts, schemas, broken), broken, settings, Memory()).problems


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


def _account_needed(settings: ProjectSettings, root: Path, undefined: set[str]) -> list[Problem]:
    """One hint for all values that are missing only because no account was chosen."""
    able = [name for name, entry in settings.accounts.items() if undefined & entry.values.keys()]
    if not able:
        return []
    ways = [*(["`--local`"] if LOCAL_ACCOUNT in able else []), f"`--account {'|'.join(able)}`"]
    message = "no account is chosen, and some values are defined for single accounts only"
    place = Location(root / PROJECT_FILE, 1)
    return [Problem(place, message, f"choose {' or '.join(ways)}", "accounts", severity=Severity.WARNING)]


# ---- the manifests ---------------------------------------------------------------------------------------------------------------------


def _decode_all(
    root: Path, texts: Mapping[Path, str | Problem], reader: _Reader, values: Values, problems: list[Problem], memory: Memory
) -> tuple[list[Draft], list[Broken]]:
    """Checked documents, and those that are wrong (one stands for a file that cannot be read). Warnings are added to `problems`."""
    drafts: list[Draft] = []
    broken: list[Broken] = []
    for file, text in texts.items():
        known = memory.drafts(file, text) if isinstance(text, str) else None
        if known is not None:
            drafts += known
            continue
        nodes = reader.nodes(file, text)
        if isinstance(nodes, Problem):
            broken.append(Broken((nodes,)))
            continue
        if not nodes:
            problems.append(Problem(Location(file, 1), "the file is empty", "remove it, or write a manifest", severity=Severity.WARNING))
        found = [decode(node, file, values, root) for node in nodes]
        right = [done for done in found if isinstance(done, Draft)]
        drafts += right
        broken += [done for done in found if isinstance(done, Broken)]
        if isinstance(text, str) and nodes and len(right) == len(found):
            memory.keep(file, text, right)
    return drafts, broken


def _without_named_files(drafts: list[Draft], broken: list[Broken]) -> list[Broken]:
    """What is no manifest but named by one, such as a service's specification beside it, is not wrong."""
    if not broken:
        return broken
    named = {
        os.path.normpath(draft.file.parent / value)
        for draft in drafts
        for _, value, marker in marked_fields(draft.manifest.spec, LocalPath, ("spec",))
        if not marker.glob
    }
    return [part for part in broken if part.kind or not all(os.path.normpath(p.location.file) in named for p in part.problems)]


def _schemas(drafts: list[Draft], settings: ProjectSettings) -> set[QualifiedName]:
    """Full names of the schemas that the project has or knows."""
    schemas = {QualifiedName.parse(d.manifest.metadata.database or "").child(d.name) for d in drafts if d.manifest.kind == "Schema"}
    return schemas | {key.name for key in existing_objects(settings)[0] if key.kind == "Schema" and len(key.name.parts) == 2}


def _placed(drafts: list[Draft], schemas: set[QualifiedName], broken: list[Broken]) -> list[Candidate]:
    """Drafts with their full names. A manifest whose schema cannot be told is added to `broken`."""
    candidates = []
    for draft in drafts:
        placed = place(draft, schemas)
        if isinstance(placed, Candidate):
            candidates.append(placed)
        else:
            broken.append(Broken((placed,), draft.manifest.kind, draft.name, draft.manifest.metadata.schema_))
    return candidates
