"""What a job left on its stage: the document that it writes last, and whether all files that the document lists arrived.

Files in a mounted stage are uploaded after the write has returned, each by itself. So the last one can be there while an earlier one found
no room, and the job was never told. The listing of the stage decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.account.snapshot import Show
from controller.api.names import QualifiedName
from controller.kinds.base import Gatherer
from controller.kinds.references import schema_scope

_PADDING = 16  # bytes at most that LIST shows more of a file on a stage with encryption SNOWFLAKE_FULL, which pads it to whole blocks
_NAMED = 3  # files in a message


@dataclass(frozen=True)
class Result:
    """`document` is there only when all is; `lacks` says what of it did not arrive."""

    document: Mapping[str, Any] | None = None
    lacks: str = ""


def read_result(stage: QualifiedName, path: str, gatherer: Gatherer) -> Result:
    """The document at `path` on a stage, once it and all files of its list are there; read once for each stage.

    One GET, and one LIST where the document is there, until then; nothing later.
    """
    row = next((r for r in gatherer.show(Show("STAGES", schema_scope(stage))) if r.get("name") == stage.name.text), None)
    if row is None:
        return Result()
    key = f"finished:{stage}:{row.get('created_on')}:{path}"
    known = gatherer.recall(key)
    if known is None:
        known = parsed(gatherer.read_stage_file(stage.sql, path))
        if known is None:
            return Result()
        if lacks := _lacks(stage, path, known, gatherer):
            return Result(lacks=lacks)
        gatherer.remember(key, known)
    return Result(known if isinstance(known, dict) else None)


def parsed(content: bytes | None) -> dict[str, Any] | None:
    """A JSON document on a stage; None where there is none, or none that is whole."""
    try:
        found = json.loads(content or b"null")
    except ValueError:
        return None  # still being written: the next look reads it whole
    return found if isinstance(found, dict) else None


def _lacks(stage: QualifiedName, path: str, document: Mapping[str, Any], gatherer: Gatherer) -> str:
    """Which of the files that a document lists are not in its folder, or not with their sizes; '' when all are, or it lists none."""
    files = document.get("files")
    if not isinstance(files, list) or not files:
        return ""
    folder, _, name = path.rpartition("/")
    listed = gatherer.list_stage_files(stage.sql, folder)
    sizes = {label.partition(f"/{folder}/")[2]: size for label, size in listed.items()}
    wrong = [told for file in files if (told := _wrong(file, sizes))]
    if not wrong:
        return ""
    named = ", ".join(wrong[:_NAMED]) + (f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else "")
    return (
        f"{len(wrong)} of {len(files)} files that {name} lists did not arrive in @{stage.sql}/{folder}: {named}; the stage is full, or an "
        "upload failed: make room on it, or name another stage"
    )


def _wrong(file: Any, sizes: Mapping[str, int]) -> str:
    try:
        path, wanted = str(file["path"]), int(file["bytes"])
    except (TypeError, KeyError, ValueError):
        return f"{file!r:.80} is no path with a number of bytes"
    found = sizes.get(path)
    if found is None:
        return f"{path} is missing"
    return "" if 0 <= found - wanted <= _PADDING else f"{path} has {found} bytes in place of {wanted}"
