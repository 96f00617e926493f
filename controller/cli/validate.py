"""`snowcat validate` and `snowcat schema`: what can be said without any account."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from controller.api.objects import ObjectKey
from controller.api.registry import KINDS, json_schema
from controller.cli.errors import INVALID, Failure
from controller.kinds.instance_families import unknown_families
from controller.manifests.problems import Problem, did_you_mean
from controller.manifests.project import find_project, load_project


def validate(paths: list[Path], account: str | None, connection: str | None, local: bool) -> int:
    """Check each path within its own project; without a choice, for every account of the project. The exit code."""
    problems: dict[str, Problem] = {}
    objects: set[ObjectKey] = set()
    for path in paths:
        if not path.exists():
            raise Failure(f"there is no file or folder {path}", INVALID)
        for name in _accounts(path, account, connection, local):
            result = load_project(path, name, connection=connection, local=local, only=[path] if _partial(path) else None)
            problems |= {str(problem): problem for problem in result.problems}
            meant = (obj for obj in result.graph if not _partial(path) or obj.location.file.is_relative_to(path.absolute()))
            problems |= {str(problem): problem for problem in unknown_families(meant)}
            objects |= result.graph.objects.keys()
    for text, problem in problems.items():
        typer.echo(text, err=problem.is_error)
    errors = [problem for problem in problems.values() if problem.is_error]
    if errors:
        typer.echo(f"{len(errors)} problem{'s' if len(errors) > 1 else ''}", err=True)
        return INVALID
    typer.echo(f"{len(objects)} object{'' if len(objects) == 1 else 's'}, no problems")
    return 0


def _partial(path: Path) -> bool:
    """Whether only a part of a project is asked about."""
    return path.absolute() != find_project(path.absolute())


def _accounts(path: Path, account: str | None, connection: str | None, local: bool) -> list[str | None]:
    if account or connection or local:
        return [account]
    settings = load_project(path).settings
    return list(settings.accounts) if settings and settings.accounts else [None]


def print_schema(kind: str | None) -> None:
    names = {name.lower(): name for name in (*KINDS, "Project")}
    if kind is not None and kind.lower() not in names:
        raise Failure(f"unknown kind {kind!r}; {did_you_mean(kind, names.values()) or 'known: ' + ', '.join(names.values())}", INVALID)
    typer.echo(json.dumps(json_schema(names[kind.lower()] if kind else None), indent=2, ensure_ascii=False))
