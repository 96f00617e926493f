"""`snowcat apply --plan FILE`: check that nothing moved, then let nothing be done but what the file says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer

from controller.account.redact import redact
from controller.api.project import PROJECT_FILE
from controller.cli.errors import Failure
from controller.cli.plan import take_look
from controller.cli.target import Opened
from controller.manifests.project import LoadResult
from controller.reconcile.look.files import Loaded, Loader
from controller.reconcile.planning.evidence import collect
from controller.reconcile.planning.saved_plan import BadPlanFile, Promise, SavedPlan, read

_MOST = 20  # lines of what moved


def hold_to(project: Opened, path: Path) -> Promise:
    """Bind the project's engine to a saved plan. From here on manifests are taken as they are now.

    Raises:
        Failure: the plan is of another project or account, or something that it rests on has moved; the message names it.
        NoProject, AccountError.
    """
    try:
        saved = read(path)
    except BadPlanFile as error:
        raise Failure(str(error)) from None
    if other := saved.mismatch(project.settings.project, project.engine.account):
        raise Failure(f"{path} cannot be applied here: {other}")
    engine = project.engine
    promise = Promise(saved, project.target.load().root, engine.hashes)
    engine.permit = promise
    engine.allow_prune = saved.drops
    look = take_look(project)
    wrong = [str(problem) for problem in look.problems if problem.is_error]
    evidence = collect(look.loaded, look.view, look.plan, engine.kinds, engine.hashes)
    lines = wrong + saved.moved(evidence) or saved.broken(look.plan)
    if lines:
        raise Failure(_refusal(path, saved, lines))
    engine.load_files = _frozen(engine.load_files, look.loaded)
    promise.refused.clear()
    return promise


def say_refused(promise: Promise) -> None:
    """What would have been changed and was not, because the plan does not say so."""
    for name, why in sorted(promise.refused.items()):
        typer.echo(redact(f"{name}: {why}"), err=True)


def _refusal(path: Path, saved: SavedPlan, lines: list[str]) -> str:
    more = [f"  … and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    told = "\n".join([f"  {line}" for line in lines[:_MOST]] + more)
    return (
        f"{path} is not applied, nothing was changed: since it was made ({saved.created}) this has moved:\n{told}\n"
        f"'snowcat plan --out {path}' makes it anew"
    )


def _frozen(load: Loader, loaded: Loaded) -> Loader:
    """The loader with today's texts for good: what is saved while the plan is carried out waits for the next one."""
    root = loaded.project.root
    texts = {file: file.read_text(encoding="utf-8") for file in (root / PROJECT_FILE, *loaded.files)}

    def load_frozen(instead: Mapping[Path, str]) -> LoadResult:
        return load({**texts, **instead})

    return load_frozen
