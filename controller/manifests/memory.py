"""What earlier loads of a folder found, so that a file that has not changed is not checked again.

Files are compared by their whole text, never by size or time. What is kept are only manifests that were right, from files where all of them
were, and only those that name no file of the user's (whether such a file exists must be looked at each time). A change of the values, or
of the project file, forgets everything. So a load with a memory and one without give the same; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.api.base import LocalPath
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.api.project import ProjectSettings
from controller.manifests.decode import Draft
from controller.manifests.fields import marked_fields


@dataclass
class Memory:
    """One for each folder and account that is loaded again and again. For one thread."""

    _settings: ProjectSettings | None = None
    _values: Mapping[str, Any] | None = None
    _files: dict[Path, tuple[str, tuple[Draft, ...]]] = field(default_factory=dict)
    _drafts: dict[ObjectKey, Draft] = field(default_factory=dict)
    _graph: Graph | None = None  # of the last load, if nothing was wrong in it

    def begin(self, settings: ProjectSettings, values: Mapping[str, Any]) -> None:
        """A load starts: what others were read with does not count."""
        if settings != self._settings or values != self._values:
            self._settings, self._values = settings, dict(values)
            self._files, self._drafts, self._graph = {}, {}, None

    def drafts(self, file: Path, text: str) -> tuple[Draft, ...] | None:
        """What that text was read as before, if it was right."""
        known = self._files.get(file)
        return known[1] if known is not None and known[0] == text else None

    def keep(self, file: Path, text: str, drafts: Sequence[Draft]) -> None:
        """A file in which everything was right."""
        if any(next(marked_fields(draft.manifest.spec, LocalPath), None) for draft in drafts):
            self._files.pop(file, None)
        else:
            self._files[file] = (text, tuple(drafts))

    def unchanged(self, texts: Mapping[Path, str]) -> Graph | None:
        """The graph of the last load, if these are all files, and just the ones that it was made from; else None."""
        if self._graph is None or any(self.drafts(file, text) is None for file, text in texts.items()):
            return None
        now = {id(draft) for file in texts for draft in self._files[file][1]}
        return self._graph if now == {id(draft) for draft in self._drafts.values()} else None

    def objects(self, drafts: Mapping[ObjectKey, Draft]) -> Graph | None:
        """The objects of the last load that are the same now; None unless just these keys were in it.

        What a reference means depends on nothing but its own manifest, the keys that there are, and the settings.
        """
        if self._graph is None or drafts.keys() != self._drafts.keys():
            return None
        return Graph({key: self._graph.objects[key] for key, draft in drafts.items() if self._drafts[key] is draft})

    def edited(self, drafts: Sequence[Draft]) -> tuple[Graph, dict[ObjectKey, Draft]] | None:
        """The graph of the last load, and what of `drafts` is not as it was then; None unless all names are the same, in that order."""
        if self._graph is None or len(drafts) != len(self._drafts):
            return None
        changed = {key: new for (key, old), new in zip(self._drafts.items(), drafts, strict=True) if old is not new}
        return (self._graph, changed) if all(new.key == key for key, new in changed.items()) else None

    def patched(self, changed: Mapping[ObjectKey, Draft], objects: Mapping[ObjectKey, DesiredObject]) -> Graph:
        """The graph of the last load with some objects in the place of those of before: the last load from now on."""
        before = self._graph.objects if self._graph is not None else {}
        self._drafts = {**self._drafts, **changed}
        self._graph = Graph({**before, **objects})
        return self._graph

    def waits_alike(self, objects: Mapping[ObjectKey, DesiredObject]) -> bool:
        """Whether each object waits for just what it waited for in the last load: then there is no cycle, as there was none."""
        before = self._graph
        return (
            before is not None
            and objects.keys() == before.objects.keys()
            and all(obj is (old := before.objects[key]) or obj.depends_on == old.depends_on for key, obj in objects.items())
        )

    def resolved(self, drafts: Mapping[ObjectKey, Draft], graph: Graph, *, right: bool) -> Graph:
        """The graph of a load whose references were looked up; the one before in its place when they are the same object by object."""
        before = self._graph
        if before is not None and len(before.objects) == len(graph.objects) and all(obj is before.get(obj.key) for obj in graph):
            graph = before
        self._drafts, self._graph = (dict(drafts), graph) if right else ({}, None)
        return graph
