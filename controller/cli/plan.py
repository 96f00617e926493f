"""`snowcat plan`: what would be done, as a person reads it, as a script does, as SQL, or kept in a file for `apply --plan`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from controller.account.redact import redact
from controller.cli.errors import CHANGES, FAILED, INVALID, Failure
from controller.cli.options import PlanFormat
from controller.cli.plan_forms import change_lines, markdown, plan_lines, script, shown, sql_lines, summary
from controller.cli.tables import print_document
from controller.cli.target import Opened, Target, opened
from controller.kinds.base import View
from controller.kinds.instance_families import unknown_families
from controller.manifests.problems import Problem, place_of
from controller.manifests.watch import Watcher
from controller.reconcile.look.files import Loaded, NoProject
from controller.reconcile.planning.change import Block, Change, ObjectPlan, Plan
from controller.reconcile.planning.evidence import collect
from controller.reconcile.planning.saved_plan import save

ALL_DEEP_READS = 100_000  # a plan is looked at once, so it reads all that can be read


@dataclass(frozen=True)
class Look:
    """One plan, and what it was made of."""

    plan: Plan
    loaded: Loaded
    view: View

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.loaded.problems


@dataclass(frozen=True)
class Manner:
    """How a plan is printed. `full` cuts nothing."""

    output: PlanFormat
    full: bool = False


def plan(target: Target, offline: bool, watch: bool, exit_code: bool, manner: Manner, out: Path | None) -> int:
    """Plan once, or again at every save; `out` keeps the plan in a file. The exit code.

    Raises:
        Failure: the plan cannot be kept.
    """
    if out is not None and (offline or watch):
        raise Failure("--out keeps the plan of one look at an account: leave --offline and --watch out", INVALID)
    if out is not None and not out.parent.is_dir():
        raise Failure(f"--out {out}: folder {out.parent} does not exist", INVALID)
    with opened(target, offline=offline) as project:
        if watch:
            return _watch(project, manner)
        now = take_look(project)
        _print(now.plan, manner)
        for problem in (*now.problems, *unknown_families(now.loaded.graph, now.view.snapshot), *now.loaded.notes):
            typer.echo(str(problem), err=True)
        if any(problem.is_error for problem in now.problems):
            if out is not None:
                typer.echo(f"{out} is not written: first mend what is wrong in the files", err=True)
            return INVALID
        if out is not None:
            save(out, now.plan, collect(now.loaded, now.view, now.plan, project.engine.kinds, project.engine.hashes))
            typer.echo(f"saved; 'snowcat apply --plan {out}' does this and nothing else", err=True)
        if blocked := [entry for entry in now.plan if entry.change.block is Block.STALLED]:
            _say_blocked(blocked)
            return FAILED
        return CHANGES if exit_code and not now.plan.empty else 0


def _say_blocked(blocked: list[ObjectPlan]) -> None:
    """What `apply` would not get done, so that a plan with it does not pass for a good one."""
    typer.echo(f"{len(blocked)} blocked: 'snowcat apply' cannot do {'it' if len(blocked) == 1 else 'them'} before a person acts:", err=True)
    for entry in blocked:
        where = f" ({place_of(entry.desired.location)})" if entry.desired is not None else ""
        typer.echo(redact(f"  {entry.key}{where}: {entry.change.reason}"), err=True)


def take_look(project: Opened) -> Look:
    """A plan on all that can be read.

    Raises:
        NoProject, AccountError.
    """
    loaded = project.engine.load(keep=False)
    project.engine.deep.budget = ALL_DEEP_READS
    view = project.engine.look(loaded)
    return Look(project.engine.plan(loaded, view), loaded, view)


def _print(plan: Plan, manner: Manner) -> None:
    if manner.output in (PlanFormat.JSON, PlanFormat.YAML):
        print_document(plan.as_dict(), manner.output)
    elif manner.output is PlanFormat.MARKDOWN:
        typer.echo(markdown(plan), nl=False)
    else:
        for line in sql_lines(plan) if manner.output is PlanFormat.SQL else plan_lines(plan, full=manner.full):
            typer.echo(redact(line))


# ---- again at every save ---------------------------------------------------------------------------------------------------------------


def _watch(project: Opened, manner: Manner) -> int:
    """Plan at every save and show the changes that are new or different. Ends with Ctrl-C."""
    changed = threading.Event()
    root = project.engine.load(keep=False).project.root
    watcher = Watcher([root], changed.set)
    watcher.start()
    try:
        watch_plans(lambda: take_look(project), changed, manner, lambda: False)
    finally:
        watcher.stop()
    return 0


def watch_plans(look: Callable[[], Look], changed: threading.Event, manner: Manner, done: Callable[[], bool]) -> None:
    """The body of `plan --watch`, until `done`."""
    before: dict[str, str] = {}
    problems: tuple[str, ...] = ()
    first = True
    while not done():
        changed.clear()
        try:
            now = look()
        except NoProject as error:
            typer.echo(str(error))
        else:
            fresh = {str(change.key): change for change in shown(now.plan)}
            told = {name: "\n".join(_lines(change, manner)) for name, change in fresh.items()}
            new = [text for name, text in told.items() if before.get(name) != text]
            gone = [name for name in before if name not in told]
            wrong = tuple(str(problem) for problem in now.problems)
            if first or new or gone or wrong != problems:
                for text in new:
                    typer.echo(redact(text))
                for name in gone:
                    typer.echo(f"  {name}: nothing to do any more")
                for text in wrong if wrong != problems else ():
                    typer.echo(text)
                typer.echo(f"── {summary(now.plan)} ── waiting for a file to change (Ctrl-C ends)")
            before, problems, first = told, wrong, False
        while not changed.wait(0.5):
            if done():
                return


def _lines(change: Change, manner: Manner) -> list[str]:
    return list(script(change) if manner.output is PlanFormat.SQL else change_lines(change, full=manner.full))
