"""The files as the loop last loaded them, for as long as it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from controller.api.objects import Location
from controller.api.project import PROJECT_FILE
from controller.manifests.problems import Problem
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import Loaded, NoProject


@dataclass
class LatestFiles:
    """For one thread."""

    engine: Engine
    loaded: Loaded | None = None
    _usable: Loaded | None = field(default=None, init=False)  # as of when the project file could be used last

    @property
    def now(self) -> Loaded:
        """What was loaded last; to be asked after the first `load`."""
        if self.loaded is None:
            raise ValueError("the files were not loaded yet")
        return self.loaded

    def load(self) -> Loaded | None:
        """Load them, and give what they said before. While the project file is gone they stay as they last were; a project in a folder
        above is another one.

        Raises:
            NoProject: it cannot be used, and never could.
        """
        before, usable = self.loaded, self._usable
        try:
            self.loaded = self.engine.load()
        except NoProject as error:
            if usable is None:
                raise
            self.loaded = replace(usable, problems=(*error.problems, *usable.problems))
            return before
        if usable is not None and self.loaded.project.root != usable.project.root:
            gone = Problem(Location(usable.project.root / PROJECT_FILE, 1), "the project file is gone", "put it back; until then all stays")
            self.loaded = replace(usable, problems=(gone, *usable.problems))
            return before
        self._usable = self.loaded
        return before
