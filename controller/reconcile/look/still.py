"""Leases as they are seen: without what their holders write every few seconds, or no two looks at an account would ever be the same.

A look that shows what the last one showed is not worked out again; the comment of a lease, in a listing of stages, would defeat that.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.account.snapshot import Missing, Read, Row, Show
from controller.kinds.mark import LEASE, is_lease

_STILL = f"{LEASE} …]"

Answer = tuple[Row, ...] | Missing


def still(answers: Mapping[Read, Answer]) -> dict[Read, Answer]:
    """The same answers, with one comment for all leases."""
    return {question: _without_renewals(answer) if _of_stages(question) else answer for question, answer in answers.items()}


def _of_stages(question: Read) -> bool:
    return isinstance(question, Show) and question.what == "STAGES"


def _without_renewals(answer: Answer) -> Answer:
    if isinstance(answer, Missing):
        return answer
    return tuple({**row, "comment": _STILL} if is_lease(row.get("comment")) else row for row in answer)
