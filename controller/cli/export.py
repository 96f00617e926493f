"""`snowcat export`: manifests for what an account has, on the screen or in a folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import typer
import yaml

from controller.account.connections import Connection, find_connection, local_connection
from controller.account.errors import Rejected
from controller.account.pool import SessionPool
from controller.account.reader import current_role, read
from controller.account.snapshot import Missing, Read, Row
from controller.api.names import SYSTEM_ROLES, Identifier, NameProblem, QualifiedName
from controller.api.project import PROJECT_FILE, ProjectSettings
from controller.cli.errors import INVALID, Failure
from controller.cli.silence import heard
from controller.cli.target import connect
from controller.cli.words import Wanted
from controller.kinds.exporting import identifier_text
from controller.kinds.registry import KINDS
from controller.reconcile.export import Export, Exported, Exporter
from controller.reconcile.log import configure
from controller.reconcile.look.deep import Answers
from controller.reconcile.look.files import NoProject

_SESSIONS = 6


@dataclass(frozen=True)
class Manner:
    """`schema` narrows it to one schema; `folder` is where files are written; `project` names the one that is begun there.

    `role` is the one that looks: the project's when not given, or without a project the connection's.
    """

    schema: str | None = None
    folder: Path | None = None
    adopt: bool = False
    project: str = "exported"
    role: str | None = None


def export(wanted: Wanted, manner: Manner) -> None:
    """Write manifests; a whole project where there is none yet.

    Raises:
        Failure: the folder holds manifests already, or a name is none.
        AccountError: the account could not be read.
    """
    if not structlog.is_configured():
        configure(as_json=False, level=logging.WARNING)
    scope = _schema(manner.schema)
    settings = _settings(wanted)
    if manner.folder is not None:
        _refuse_full(manner.folder)
    with _opened(wanted, settings, manner.role) as pool:
        inside = manner.folder is None or _below(manner.folder, wanted, settings)
        own = settings.project if settings is not None and inside else ""
        found = Exporter(KINDS, lambda reads: _ask(pool, reads), own, manner.adopt, wanted.matches, scope).run()
        role = current_role(pool)
    if (wanted.names or scope) and not found.objects and not found.left_out:
        raise Failure("there is nothing of that name that this role may see")
    if manner.folder is None:
        typer.echo(_file(found.objects), nl=False)
    else:
        _write(manner.folder, found, _project_file(manner, role, found) if not inside else "")
    _tell(found, manner)


def _tell(found: Export, manner: Manner) -> None:
    for name, why in found.left_out.items():
        typer.echo(f"left out {name}: {why}", err=True)
    if manner.folder is not None:
        kinds = len({one.key.kind for one in found.objects})
        typer.echo(
            f"{len(found.objects)} objects of {kinds} kinds written to {manner.folder}; 'snowcat plan {manner.folder}' compares", err=True
        )


# ---- where from ------------------------------------------------------------------------------------------------------------------------


def _settings(wanted: Wanted) -> ProjectSettings | None:
    """Of the project around, if there is one."""
    try:
        return wanted.target.settings()
    except NoProject:
        return None


@contextmanager
def _opened(wanted: Wanted, settings: ProjectSettings | None, role: str | None) -> Iterator[SessionPool]:
    target = wanted.target
    connection: Connection
    if settings is not None:
        connection = connect(target, settings)
    elif target.local:
        connection = local_connection(target.local_account.start())
    else:
        connection = find_connection(target.connection)
    role = role or (settings.role if settings is not None else None)
    pool = SessionPool(connection, _SESSIONS, role=role, limits=heard(connection))
    try:
        yield pool
    finally:
        pool.close()


def _ask(pool: SessionPool, reads: Iterable[Read]) -> Answers:
    """All answers; a question that this account does not take (it has no such kind of object) is left without one."""
    wanted = list(reads)
    try:
        return read(pool, wanted)
    except Rejected:
        answers: dict[Read, tuple[Row, ...] | Missing] = {}
        for question in wanted:
            with suppress(Rejected):
                answers.update(read(pool, [question]))
        return answers


def _schema(text: str | None) -> QualifiedName | None:
    if text is None:
        return None
    try:
        name = QualifiedName.parse(text)
    except NameProblem as error:
        raise Failure(str(error), INVALID) from None
    if len(name.parts) != 2:
        raise Failure(f"--schema {text} is not DATABASE.SCHEMA", INVALID)
    return name


# ---- where to --------------------------------------------------------------------------------------------------------------------------


def _refuse_full(folder: Path) -> None:
    there = sorted(path.name for path in folder.glob("*.y*ml")) if folder.is_dir() else []
    if folder.exists() and not folder.is_dir():
        raise Failure(f"{folder} is a file", INVALID)
    if there:
        raise Failure(f"{folder} holds {', '.join(there[:3])} already: choose a new or an empty folder", INVALID)


def _below(folder: Path, wanted: Wanted, settings: ProjectSettings | None) -> bool:
    """Whether the folder is part of the project around, which then needs no project file of its own."""
    return settings is not None and folder.resolve().is_relative_to(wanted.target.load().root.resolve())


def _project_file(manner: Manner, role: str, found: Export) -> str:
    own = identifier_text(Identifier(role)) if role and role not in SYSTEM_ROLES else f"{manner.project.replace('-', '_')}_role"
    if role in SYSTEM_ROLES:
        typer.echo(f"{role} has looked, which no project may work as: 'role: {own}' in {PROJECT_FILE} is to be the owner's role", err=True)
    document: dict[str, Any] = {"apiVersion": "snowcat/v1", "kind": "Project", "project": manner.project, "role": own}
    mine = f"Role/{own}"
    existing = [entry for entry in found.existing if entry != mine]
    if existing:
        document["existing"] = existing
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _write(folder: Path, found: Export, project_file: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if project_file:
        (folder / PROJECT_FILE).write_text(project_file, encoding="utf-8")
    elif found.existing:
        typer.echo(f"list under 'existing' of {PROJECT_FILE} what is not declared: {', '.join(found.existing)}", err=True)
    by_kind: dict[str, list[Exported]] = {}
    for one in found.objects:
        by_kind.setdefault(one.key.kind, []).append(one)
    for kind, objects in by_kind.items():
        (folder / f"{_file_name(kind)}.yaml").write_text(_file(objects), encoding="utf-8")


def _file_name(kind: str) -> str:
    """`compute-pool` for ComputePool."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind).lower()


def _file(objects: tuple[Exported, ...] | list[Exported]) -> str:
    return "---\n".join(manifest_text(one) for one in objects)


def manifest_text(one: Exported) -> str:
    """One manifest as it stands in a file."""
    notes = "".join(f"# {note}\n" for note in one.notes)
    return notes + yaml.safe_dump(_escaped(dict(one.document)), sort_keys=False, allow_unicode=True, width=120)


def _escaped(value: Any) -> Any:
    """Texts in which `${` stands for itself."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list) else value
