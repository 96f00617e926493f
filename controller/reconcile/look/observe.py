"""One look at the account: which questions are asked, in which rounds, and the `View` that comes of the answers.

The number of SHOWs depends on kinds and scopes, not on objects; DESCRIBEs are granted within a budget: `controller.reconcile.look.deep`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from controller.account.errors import TimedOut
from controller.account.snapshot import Missing, Read, Row, Show, Snapshot
from controller.api.base import Replace
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import Project, View
from controller.reconcile.look import scopes
from controller.reconcile.look.deep import Answers, Ask, DeepReads, Shallow
from controller.reconcile.planning.expand import Expansion, Kinds, Refusal, attempt, expand_all
from controller.reconcile.planning.prune import undeclared

_ROUNDS = 3  # children of composites may live in scopes that nobody asked about yet
RUNTIME = frozenset(
    {
        *("state", "status", "resumed_on", "is_current", "is_default"),
        *("current_instances", "target_instances", "active_nodes", "idle_nodes", "target_nodes", "num_services", "num_jobs"),
        *("running", "queued", "started_clusters", "available", "provisioning", "quiescing", "other"),
    }
)
"""Columns that move by themselves and tell nothing of what was declared."""


def look(
    project: Project,
    graph: Graph,
    facts: Mapping[ObjectKey, Any],
    kinds: Kinds,
    ask: Ask,
    deep: DeepReads,
    *,
    role: str = "",
    first: Answers | None = None,
    full: bool = True,
    dropping: bool = False,
    ask_wide: Ask | None = None,
    ask_details: Ask | None = None,
) -> View:
    """Ask and put together. `first` holds answers that gathering facts has got already.

    `ask_wide` sees what our role alone may not: it answers what is inside of that which may be dropped.

    `ask_details` asks what only DESCRIBE tells; `ask`, where it is left out.

    `full` also looks for leftovers; `dropping` also at what is inside everything that may be dropped.

    Raises:
        AccountError: the account could not be read; nothing can be said of any object.
    """
    ask_details = _if_answered(ask_details or ask)
    answers: dict[Read, tuple[Row, ...] | Missing] = dict(first or {})
    derived: set[Read] = set()
    before = deep.shallow if deep.shallow is not None and not dropping and deep.shallow.fits(graph, facts) else None
    if before is not None:
        answers.update(ask([question for question in before.asked if question not in answers and question not in before.derived]))
        if answers == before.told:  # the rows of before stand, so that nobody compares or keeps them twice
            details = deep.look(before.questions, before.stamps, ask_details, full=full)
            return View(project, graph, Snapshot({**before.answers, **details}, role), before.facts)
        more, parts = _asked(list(before.derived), answers, ask)
        answers.update(more)
        derived |= parts
    asked = {*answers, *(before.asked if before is not None else ())}  # a question that the account does not take stays without an answer
    wanted: list[Read] = [question for obj in graph for question in _reads(obj, graph, kinds)]
    if full:
        wanted += [question for kind in kinds.values() for question in kind.inventory_reads()]
    view = View(project, graph, Snapshot({}, role), facts)
    expansion = Expansion(view, {}, {})
    asked_wide: set[Read] = set()
    for _ in range(_ROUNDS):
        missing = [question for question in dict.fromkeys(wanted) if question not in asked]
        if missing:
            more, parts = _asked(missing, answers, ask)
            answers.update(more)
            derived |= parts
            asked.update(missing)
        view = replace(view, snapshot=Snapshot(answers, role))
        expansion = expand_all(view, kinds)
        wanted = [question for obj in expansion.view.graph for question in _reads(obj, expansion.view.graph, kinds)]
        inner = [question for question in _before_drops(expansion, kinds, everything=dropping) if question not in asked_wide]
        if inner:
            answers.update((ask_wide or ask)(list(dict.fromkeys(inner))))
            asked.update(inner)
            asked_wide.update(inner)
        elif all(question in asked for question in wanted):
            break
    wide = expansion.view
    questions = {obj.key: found for obj in wide.graph if (found := _deep_reads(obj, wide, kinds))}
    stamps = {key: _stamp(wide.graph.objects[key], wide, kinds) for key in questions}
    usual = (full or before is not None) and not dropping and not asked_wide
    deep.shallow = Shallow(graph, facts, tuple(asked), frozenset(derived), dict(answers), questions, stamps) if usual else None
    answers.update(deep.look(questions, stamps, ask_details, full=full))
    return replace(view, snapshot=Snapshot(answers, role))


def _asked(questions: list[Read], known: Answers, ask: Ask) -> tuple[Answers, frozenset[Read]]:
    """The answers; of what stands in a wider answer only that is asked for. And which were taken from a wider one."""
    wide = scopes.put_off({*questions, *known})
    first = [question for question in questions if question not in wide]
    answers = dict(ask(first)) if first else {}
    rest = [question for question in questions if question in wide]
    parts = scopes.derived(rest, {**known, **answers})
    left = [question for question in rest if question not in parts]
    if left:
        answers.update(ask(left))
    return {**answers, **parts}, frozenset(parts)


def _if_answered(ask: Ask) -> Ask:
    """For details: the account has just answered SHOWs, so DESCRIBEs that all hang cost only the objects that need them."""

    def some(questions: Iterable[Read]) -> Answers:
        try:
            return ask(questions)
        except TimedOut:
            return {}

    return some


def offline_view(project: Project, graph: Graph, facts: Mapping[ObjectKey, Any]) -> View:
    """A look at an account that has nothing."""
    return View(project, graph, Snapshot(offline=True), facts)


def _reads(obj: DesiredObject, graph: Graph, kinds: Kinds) -> tuple[Show, ...]:
    answer = attempt(lambda: tuple(kinds[obj.key.kind].reads(obj, graph)))
    return () if isinstance(answer, Refusal) else answer


def _deep_reads(obj: DesiredObject, view: View, kinds: Kinds) -> tuple[Read, ...]:
    answer = attempt(lambda: tuple(kinds[obj.key.kind].deep_reads(obj, view)))
    return () if isinstance(answer, Refusal) else answer


def _before_drops(expansion: Expansion, kinds: Kinds, *, everything: bool) -> list[Show]:
    """What must be known of containers that may be dropped: leftovers, those that may be replaced, or all."""
    keys = list(undeclared(expansion, kinds))
    keys += [obj.key for obj in expansion.view.graph if everything or obj.manifest.metadata.replace is Replace.ALLOWED]
    return [question for key in keys for question in kinds[key.kind].drop_reads(key)]


def _stamp(obj: DesiredObject, view: View, kinds: Kinds) -> str:
    """Stands for what SHOW says of an object, without what moves by itself."""
    digest = hashlib.sha256()
    for question in _reads(obj, view.graph, kinds):
        row = view.snapshot.row(question, obj.key.name) if view.snapshot.asked(question) else None
        for column, value in sorted((row or {}).items()):
            if column not in RUNTIME:
                digest.update(f"{column}={value}\n".encode())
    return digest.hexdigest()[:16]
