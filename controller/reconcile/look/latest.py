"""The files as the loop last loaded them, for as long as it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        before = self.loaded
        try:
            loaded = self.engine.load()
        except NoProject as error:
            if before is None:
                raise
            loaded = replace(before, problems=error.problems)
        if before is not None and loaded.project.root != before.project.root:
            gone = Problem(Location(before.project.root / PROJECT_FILE, 1), "the project file is gone", "put it back; until then all stays")
            loaded = replace(before, problems=(gone,))
        self.loaded = loaded
        return before
