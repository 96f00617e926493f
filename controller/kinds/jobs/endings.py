"""How the attempts of a job ended: what their containers and logs say last, and whether a repetition could mend it.

A container that was killed leaves no word of its own. Where the account says that it was out of memory, that is the reason: it would be
out of memory again. A node that was lost is told by nothing but the kill, and is worth another attempt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.account.snapshot import Row
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject
from controller.kinds.base import Gatherer
from controller.kinds.properties import as_int
from controller.kinds.service_health import containers_of

CONTAINER = "main"
LOG_LINES = 200
_PROGRESS = "SNOWCAT_PROGRESS "
_OUT_OF_MEMORY = re.compile(r"OOM ?Kill|out of memory", re.IGNORECASE)  # "Container was OOMKilled due to resource usage"

# exit codes of the trainer and the fetcher that a repetition cannot mend; 12 (saved after SIGTERM) and others are tried again
_STOPPED, _DOES_NOT_FIT = 12, 11
HOPELESS: Mapping[int, str] = {10: "BadInput", _DOES_NOT_FIT: "DoesNotFit", 13: "NeedsPerson"}


@dataclass(frozen=True)
class Ending:
    """How a failed attempt ended. `message` is its own last word, or the account's."""

    code: int | None
    message: str


def ending_of(job: QualifiedName, row: Row, obj: DesiredObject, gatherer: Gatherer) -> Ending:
    """How the failed `job` of an object ended; `row` is that of SHOW SERVICES. Read once, and remembered."""
    key = f"ending:{job}:{row.get('created_on')}"
    known = gatherer.recall(key)
    if known is None:
        rows = sorted(gatherer.show(containers_of(job)), key=_tells_most)
        first = rows[0] if rows else {}
        code = _code(first)
        log = gatherer.service_logs(job.sql, as_int(first.get("instance_id")) or 0, CONTAINER, LOG_LINES)
        message = _last_word(log) or str(first.get("message") or str(row.get("status") or "unknown").lower())
        if code == _DOES_NOT_FIT and code != as_int(first.get("last_exit_code")):
            message = _without_memory(first, obj, log)
        known = {"code": code, "message": message}
        gatherer.remember(key, known)
    return Ending(known["code"], known["message"])


def _code(container: Row) -> int | None:
    """The exit code of a container; that of a run that does not fit, where it was killed for want of memory before it could say so."""
    code = as_int(container.get("last_exit_code"))
    killed = code not in HOPELESS and _OUT_OF_MEMORY.search(str(container.get("message") or ""))
    return _DOES_NOT_FIT if killed else code


def _without_memory(container: Row, obj: DesiredObject, log: str | None) -> str:
    """Which memory, how much of it there was, and what to change."""
    resources = getattr(obj.manifest.spec, "resources", None)
    limit = resources.limits.memory if resources is not None and resources.limits is not None else None
    whose = f"the {limit} of resources.limits.memory" if limit else "all memory of a node of its pool"
    held = (last_progress(log) or {}).get("memoryBytes")
    last = f" (the last that it told of itself: {held / (1 << 30):.1f} GiB)" if isinstance(held, int | float) else ""
    node = as_int(container.get("instance_id")) or 0
    less = (
        ", set deepspeed.offload: none, make training.microBatchTokens, training.maxLength or evaluation.batchRows smaller, "
        "or take method: lora"
    )
    return (
        f"out of host memory on node {node}: the container needed more than {whose}{last} and was killed ({container.get('message')}); "
        f"take an instance family with more memory or a larger limit{less if hasattr(obj.manifest.spec, 'deepspeed') else ''}"
    )


def _tells_most(container: Row) -> tuple[int, int]:
    """Of several nodes the one whose end explains the others': what a repetition cannot mend, then a node that broke, then what
    was asked to stop or ended because of another."""
    code = _code(container)
    if code in HOPELESS:
        weight = 0
    elif code is not None and code not in (0, 1, _STOPPED):
        weight = 1
    else:
        weight = 2 if code == 1 else 3 if code == _STOPPED else 4
    return weight, as_int(container.get("instance_id")) or 0


def last_progress(log: str | None) -> Mapping[str, Any] | None:
    """The last progress document of a log; a line that was cut off is passed over."""
    for line in reversed((log or "").splitlines()):
        if line.startswith(_PROGRESS):
            try:
                document = json.loads(line.removeprefix(_PROGRESS))
            except ValueError:
                continue
            if isinstance(document, dict):
                return document
    return None


def _last_word(log: str | None) -> str:
    """Why a job failed: the message of its `failed` progress, else its last line that is not empty."""
    progress = last_progress(log)
    if progress is not None and progress.get("phase") == "failed" and progress.get("message"):
        return str(progress["message"])
    lines = [line.strip() for line in (log or "").splitlines() if line.strip() and not line.startswith(_PROGRESS)]
    return lines[-1][:500] if lines else ""
