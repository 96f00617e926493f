"""Who may write into a run's folder: one attempt at a time.

A stage has no locks. So the attempt that begins leaves `owner.json` in the folder, and looks at it again before each
checkpoint. A later attempt of the same job takes over, and the earlier one, should it still be alive, finds that out and
ends. Anybody else's folder is not touched.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.config import Run
from training.errors import BadInputError
from training.files import write_json

OWNER = "owner.json"


@dataclass(frozen=True)
class Owner:
    """This attempt's claim to `folder`; `writer` tells it from any other process that calls itself the same attempt."""

    folder: Path
    run: Run
    writer: str

    @classmethod
    def of(cls, work: Path, folder: Path, run: Run) -> Owner:
        """For the attempt that works in the scratch folder `work`, whose name nobody else has."""
        return cls(folder, run, work.name)

    def claim(self) -> None:
        """Take the folder for this attempt.

        Raises BadInputError when it holds another run, or when this attempt or a later one is being written there.
        """
        found, run = _read(self.folder / OWNER), self.run
        if found is not None:
            whose = (
                f"{self.folder} belongs to attempt {found['attempt']} of job {found['job']} "
                f"(run {found['run']}, {found['by']}, since {found['since']})"
            )
            if (found["run"], found["job"]) != (run.id, run.job):
                raise BadInputError(f"{whose}; give this job an output folder of its own")
            if found["attempt"] > run.attempt or (found["attempt"] == run.attempt and not found["ended"]):
                raise BadInputError(
                    f"{whose}; two cannot write one folder: give this job another name or output stage, or, if that one has ended, start "
                    "a later attempt with `snowcat reconcile`"
                )
        parts = (os.environ.get(f"SNOWFLAKE_{part}") for part in ("DATABASE", "SCHEMA", "SERVICE_NAME"))
        self._write(".".join(part for part in parts if part) or f"process {os.getpid()}", ended=False)

    def lost(self) -> str:
        """Who has taken the folder over, as a sentence; nothing while it is ours."""
        found = _read(self.folder / OWNER)
        if found is None or found["writer"] == self.writer:
            return ""
        return f"attempt {found['attempt']} ({found['by']}) has taken over {self.folder}; attempt {self.run.attempt} ends here"

    def release(self) -> None:
        """Say that this attempt has ended; the same one may begin again."""
        found = _read(self.folder / OWNER)
        if found is not None and found["writer"] == self.writer:
            self._write(found["by"], ended=True)

    def _write(self, by: str, *, ended: bool) -> None:
        document = {
            "version": 1,
            "run": self.run.id,
            "job": self.run.job,
            "attempt": self.run.attempt,
            "writer": self.writer,
            "by": by,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "ended": ended,
        }
        write_json(self.folder / OWNER, document)


def _read(path: Path) -> dict[str, Any] | None:
    """The claim in a folder; None where there is none that can be read (half written is not written)."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {name: document[name] for name in ("run", "job", "attempt", "writer", "by", "since", "ended")}
    except (OSError, ValueError, KeyError):
        return None
