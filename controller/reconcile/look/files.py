"""The user's files with the last good text in place of what is broken, so that a half-saved file neither drops nor holds up anything.

A file whose problems are only an echo of another one (a reference to an object of a broken file) is taken as it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.api.names import Identifier
from controller.api.objects import Graph, ObjectKey
from controller.api.project import ProjectSettings
from controller.kinds.base import Project
from controller.manifests.memory import Memory
from controller.manifests.problems import Problem, place_of, shown
from controller.manifests.project import LoadResult, load_project
from controller.manifests.resolve import existing_objects
from controller.reconcile.state import State

Loader = Callable[[Mapping[Path, str]], LoadResult]
"""`load_project` for one folder and account, given texts that stand in for files."""


def loader(
    path: Path, account: str | None = None, *, connection: str | None = None, local: bool = False, memory: Memory | None = None
) -> Loader:
    """The usual loader; it remembers what has not changed since it loaded last, or since whoever has given the memory did."""
    known = memory or Memory()
    return lambda texts: load_project(path, account, connection=connection, local=local, texts=texts, memory=known)


class NoProject(Exception):
    """The project file cannot be used, so nothing can be said. `problems` say why."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


@dataclass(frozen=True)
class Loaded:
    """What the files say. `stale` are the files that stand with their last good text, and `notes` say so, for people."""

    project: Project
    settings: ProjectSettings
    graph: Graph
    problems: tuple[Problem, ...] = ()
    files: tuple[Path, ...] = ()
    stale: frozenset[Path] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.is_error)

    @property
    def by_key(self) -> dict[ObjectKey, Problem]:
        """The first problem of each object that one is known of."""
        return {problem.key: problem for problem in reversed(self.errors) if problem.key is not None}

    @property
    def invalid(self) -> dict[ObjectKey, str]:
        """Objects to which nothing may be done, and why. What stands as its own file last said it is not among them: that is in force."""
        return {key: str(problem) for key, problem in self.by_key.items() if not self._stands(key, problem.location.file)}

    def _stands(self, key: ObjectKey, file: Path) -> bool:
        obj = self.graph.get(key)
        return file in self.stale and obj is not None and obj.location.file == file

    @property
    def remembered(self) -> dict[Path, str]:
        """The place of the first fault of each file that stands with its last good text: what is in it may be wanted no more."""
        faults = {problem.location.file: place_of(problem.location) for problem in reversed(self.errors)}
        return {file: faults[file] for file in sorted(self.stale)}

    @property
    def prune_off(self) -> str:
        """Why nothing may be pruned; '' when absence from the files is a fact. A warning will do: an empty file may be half saved."""
        first = next(iter((*self.errors, *self.problems)), None)
        return f"{len(self.problems)} problem(s) in the files, the first: {first}" if first else ""


def load_with_last_good(load: Loader, state: State, *, local: bool = False, keep: bool = True) -> Loaded:
    """Load, with broken files as they last were; `keep` remembers what is good now.

    Raises:
        NoProject: the project file cannot be used, and there is no good text of it.
    """
    first = load({})
    good = state.last_good()
    usable = {file: good[file] for file in _broken(first) if file in good and good[file] != first.texts.get(file)}
    result, stale = _narrow(load, load(usable), usable) if usable else (first, {})
    if result.settings is None:
        raise NoProject(result.problems)
    problems = tuple(p for p in first.problems if p.location.file in stale) + result.problems
    broken = _broken(result) | stale.keys()
    if keep:
        state.keep_good({file: text for file, text in result.texts.items() if file not in broken}, complete=not broken)
    settings = result.settings
    existing = frozenset(existing_objects(settings)[0])
    project = Project(settings.project, result.root, settings.warehouse, local, existing, Identifier.parse(settings.role).text)
    notes = tuple(_stand_in(file, state) for file in sorted(stale))
    return Loaded(project, settings, result.graph, problems, result.files, frozenset(stale), notes)


def _stand_in(file: Path, state: State) -> str:
    since = state.good_since(file)
    when = f" of {since:%Y-%m-%d %H:%M:%S} UTC" if since is not None else ""
    return f"{shown(file)}: until it is mended its last good text{when} is used: what exists of it is kept so, and nothing is made from it"


def _broken(result: LoadResult) -> set[Path]:
    return {problem.location.file for problem in result.errors}


def _narrow(load: Loader, result: LoadResult, texts: Mapping[Path, str]) -> tuple[LoadResult, dict[Path, str]]:
    """Take back the old text of each file that is fine once the others stand with theirs."""
    texts = dict(texts)
    for file in sorted(texts):
        if len(texts) == 1:
            break
        fewer = {other: text for other, text in texts.items() if other != file}
        tried = load(fewer)
        if file not in _broken(tried):
            result, texts = tried, fewer
    return result, texts
