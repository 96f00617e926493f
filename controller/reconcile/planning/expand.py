"""Composite kinds turned into the simple objects they stand for, before anything is compared.

A child whose parent cannot be expanded yet is not a leftover: the failure is kept beside the graph, so that pruning leaves it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

import structlog

from controller.account.redact import redact
from controller.account.snapshot import Describe, Show
from controller.api.objects import DesiredObject, ObjectKey
from controller.kinds.base import Kind, KindError, Stalled, View, Waiting
from controller.reconcile.log import trace
from controller.reconcile.planning.change import Block

log = structlog.get_logger("snowcat.reconcile")
Kinds = Mapping[str, Kind]
T = TypeVar("T")
P = ParamSpec("P")
_DEPTH = 4  # composites of composites; deeper nesting is a kind that expands into itself


@dataclass(frozen=True)
class Refusal:
    """Why a kind could not say what was asked of it."""

    block: Block
    message: str
    reason: str


def attempt(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Refusal:
    """The answer of a kind, or why there is none. A mistake in one kind must not hold up the objects of the others."""
    try:
        return call(*args, **kwargs)
    except Waiting as error:
        return Refusal(Block.WAITING, redact(str(error)), "Waiting")
    except Stalled as error:
        return Refusal(Block.STALLED, redact(str(error)), error.reason)
    except KindError as error:
        return Refusal(Block.STALLED, redact(str(error)), "Stalled")
    except Exception as error:  # noqa: BLE001 - see above
        question = error.args[0] if isinstance(error, KeyError) and error.args else None
        if isinstance(question, (Show, Describe)):
            return Refusal(Block.STALLED, f"the account did not answer {question.sql}", "NotRead")
        log.error("a kind failed", traceback=trace(error))
        return Refusal(Block.STALLED, redact(f"internal error, please report it: {type(error).__name__}: {error}"), "InternalError")


def _children(kinds: Kinds, obj: DesiredObject, view: View) -> Sequence[DesiredObject]:
    return kinds[obj.key.kind].expand(obj, view)


@dataclass(frozen=True)
class Expansion:
    """`view` with all children in its graph, and why some composites have none."""

    view: View
    refused: Mapping[ObjectKey, Refusal]
    children: Mapping[ObjectKey, tuple[ObjectKey, ...]]


def expand_all(view: View, kinds: Kinds) -> Expansion:
    """Expand every composite, and what they expand to. Pure."""
    refused: dict[ObjectKey, Refusal] = {}
    children: dict[ObjectKey, tuple[ObjectKey, ...]] = {}
    waiting: list[DesiredObject] = list(view.graph)
    for _ in range(_DEPTH):
        found: list[DesiredObject] = []
        for obj in waiting:
            answer = attempt(_children, kinds, obj, view)
            if isinstance(answer, Refusal):
                refused[obj.key] = answer
            elif answer:
                children[obj.key] = tuple(child.key for child in answer)
                found.extend(child for child in answer if child.key not in view.graph)
        if not found:
            break
        view = replace(view, graph=view.graph.with_objects(found))
        waiting = found
    return Expansion(view, refused, children)
