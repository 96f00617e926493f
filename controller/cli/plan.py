"""`snowcat plan`: what would be done, as a person reads it, as a script does, or as SQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import typer

from controller.account.redact import redact
from controller.cli.errors import CHANGES, INVALID
from controller.cli.options import PlanFormat
from controller.cli.tables import print_document
from controller.cli.target import Opened, Target, opened
from controller.manifests.problems import Problem
from controller.manifests.watch import Watcher
from controller.reconcile.change import Action, Block, Change, Plan
from controller.reconcile.files import NoProject

_SIGNS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "±",
    Action.DELETE: "-",
    Action.ADOPT: "=",
    Action.BLOCKED: "!",
    Action.NONE: " ",
}


@dataclass(frozen=True)
class _Look:
    """One plan, and what is wrong in the files."""

    plan: Plan
    problems: tuple[Problem, ...]


def plan(target: Target, offline: bool, watch: bool, exit_code: bool, output: PlanFormat) -> int:
    """Plan once, or again at every save. The exit code."""
    with opened(target, offline=offline) as project:
        if watch:
            return _watch(project, output)
        look = _look(project)
        _print(look.plan, output)
        for problem in look.problems:
            typer.echo(str(problem), err=True)
        if any(problem.is_error for problem in look.problems):
            return INVALID
        return CHANGES if exit_code and not look.plan.empty else 0


def _look(project: Opened) -> _Look:
    loaded = project.engine.load(keep=False)
    return _Look(project.engine.plan(loaded, project.engine.look(loaded)), loaded.problems)


def _print(plan: Plan, output: PlanFormat) -> None:
    if output in (PlanFormat.JSON, PlanFormat.YAML):
        print_document(plan.as_dict(), output)
        return
    lines = {PlanFormat.TABLE: plan_lines, PlanFormat.SQL: sql_lines, PlanFormat.MARKDOWN: markdown_lines}[output]
    for line in lines(plan):
        typer.echo(redact(line))


# ---- forms -----------------------------------------------------------------------------------------------------------------------------


def plan_lines(plan: Plan) -> Iterator[str]:
    """For people: each change with its reason, its fields and its SQL, and a sum at the end."""
    for change in _shown(plan):
        yield from change_lines(change)
    yield summary(plan)


def change_lines(change: Change) -> Iterator[str]:
    """One change."""
    reason = f"  {change.reason}" if change.reason else ""
    yield f"{_SIGNS[change.action]} {change.action.value:<8} {change.key}{reason}"
    for field in change.fields:
        note = "  (cannot be changed in place)" if field.immutable else ""
        yield f"      {field.path}: {_value(field.before)} → {_value(field.after)}{note}"
    if change.after:
        yield f"      after {', '.join(str(key) for key in change.after)}"
    for effect in change.effects:
        yield f"      * {effect}"
    for statement in change.statements:
        yield from (f"      {line}" for line in f"{statement};".splitlines())


def summary(plan: Plan) -> str:
    """`3 to create, 1 to update, 20 as they should be. Credits per hour: 0 → 0.22`."""
    counts = {action: sum(change.action is action for change in plan.changes) for action in Action}
    words = [f"{counts[action]} to {action.value}" for action in Action if counts[action] and action not in (Action.NONE, Action.BLOCKED)]
    waiting = sum(change.block is Block.WAITING for change in plan.changes)
    held = sum(change.block is Block.HELD for change in plan.changes)
    stalled = counts[Action.BLOCKED] - waiting - held
    words += [f"{count} {text}" for count, text in ((waiting, "waiting"), (held, "left alone"), (stalled, "blocked")) if count]
    words += [f"{counts[Action.NONE]} as they should be"] if counts[Action.NONE] else []
    cost = plan.cost
    credits_ = f". Credits per hour: {cost.before or 0:g} → {cost.after or 0:g}" if cost else ""
    return f"{', '.join(words) or 'nothing here'}{credits_}"


def sql_lines(plan: Plan) -> Iterator[str]:
    """A script that a person can read: every statement in order; what is no SQL stands in comments."""
    for change in _shown(plan):
        yield f"-- {change.action.value} {change.key}" + (f": {change.reason}" if change.reason else "")
        yield from (f"-- {effect}" for effect in change.effects)
        yield from (f"{statement};" for statement in change.statements)
        yield ""


def markdown_lines(plan: Plan) -> Iterator[str]:
    """For a pull request's comment."""
    yield f"**{summary(plan)}**"
    shown = list(_shown(plan))
    if shown:
        yield ""
        yield "| | object | what | credits/h |"
        yield "|---|---|---|---|"
    for change in shown:
        fields = "<br>".join(f"`{f.path}`: {_value(f.before)} → {_value(f.after)}" for f in change.fields)
        text = (fields or change.reason).replace("|", "\\|").replace("\n", " ")
        cost = f"{change.cost.before or 0:g} → {change.cost.after or 0:g}" if change.cost else ""
        yield f"| {change.action.value}{' ⚠' if change.destructive else ''} | `{change.key}` | {text} | {cost} |"
    statements = list(sql_lines(plan))
    if statements:
        yield ""
        yield "<details><summary>SQL</summary>\n\n```sql"
        yield from statements
        yield "```\n</details>"


def _shown(plan: Plan) -> list[Change]:
    return [change for change in plan.changes if change.action is not Action.NONE]


def _value(value: object) -> str:
    text = str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 120 else text[:119] + "…"


# ---- again at every save ---------------------------------------------------------------------------------------------------------------


def _watch(project: Opened, output: PlanFormat) -> int:
    """Plan at every save and show the changes that are new or different. Ends with Ctrl-C."""
    changed = threading.Event()
    root = project.engine.load(keep=False).project.root
    watcher = Watcher([root], changed.set)
    watcher.start()
    try:
        watch_plans(lambda: _look(project), changed, output, lambda: False)
    finally:
        watcher.stop()
    return 0


def watch_plans(look: Callable[[], _Look], changed: threading.Event, output: PlanFormat, done: Callable[[], bool]) -> None:
    """The body of `plan --watch`, until `done`."""
    shown: dict[str, str] = {}
    problems: tuple[str, ...] = ()
    first = True
    while not done():
        changed.clear()
        try:
            now = look()
        except NoProject as error:
            typer.echo(str(error))
        else:
            fresh = {str(change.key): change for change in _shown(now.plan)}
            told = {name: "\n".join(_lines(change, output)) for name, change in fresh.items()}
            new = [text for name, text in told.items() if shown.get(name) != text]
            gone = [name for name in shown if name not in told]
            wrong = tuple(str(problem) for problem in now.problems)
            if first or new or gone or wrong != problems:
                for text in new:
                    typer.echo(redact(text))
                for name in gone:
                    typer.echo(f"  {name}: nothing to do any more")
                for text in wrong if wrong != problems else ():
                    typer.echo(text)
                typer.echo(f"── {summary(now.plan)} ── waiting for a file to change (Ctrl-C ends)")
            shown, problems, first = told, wrong, False
        while not changed.wait(0.5):
            if done():
                return


def _lines(change: Change, output: PlanFormat) -> Iterator[str]:
    if output is PlanFormat.SQL:
        yield f"-- {change.action.value} {change.key}"
        yield from (f"{statement};" for statement in change.statements)
    else:
        yield from change_lines(change)
