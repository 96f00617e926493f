"""Model folders on a stage: written with a manifest last, read only when the manifest fits.

A base model carries `model.json`; a tuned model lies in `merged/` beside its run's `run.json`. Both list every file
with size and sha256, so half a copy or a changed weight is found before it is served.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.errors import BadInputError
from training.files import RUN_MANIFEST, FileEntry, problems, read_entries

MODEL_MANIFEST = "model.json"


def verify(folder: Path) -> dict[str, Any]:
    """Check every listed file of a model folder; returns the manifest. Raises BadInputError."""
    manifest, files = _manifest(folder)
    found = problems(folder, files, hashes=True)
    if found:
        raise BadInputError(f"the model in {folder} does not fit its manifest: {'; '.join(found[:3])}")
    return manifest


def _manifest(folder: Path) -> tuple[dict[str, Any], list[FileEntry]]:
    own, run = folder / MODEL_MANIFEST, folder.parent / RUN_MANIFEST
    path = own if own.is_file() else run
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = read_entries(document)
    except FileNotFoundError as error:
        raise BadInputError(
            f"no finished model in {folder}: neither {own.name} in it nor {run.name} beside it; "
            "wait for the BaseModel or FineTuneJob that writes it, or correct the path"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path} cannot be read as a manifest: {error}") from error
    if path == run:
        start = f"{folder.name}/"
        entries = [
            FileEntry(entry.path.removeprefix(start), entry.bytes, entry.sha256) for entry in entries if entry.path.startswith(start)
        ]
    if not entries:
        raise BadInputError(f"{path} lists no files of {folder.name}")
    return document, entries
