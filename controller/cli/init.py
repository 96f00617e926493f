"""`snowcat init DIR`: the lab's manifests as a beginning."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import typer

from controller.api.project import PROJECT_FILE
from controller.cli.errors import INVALID, Failure

_PACKAGE = Path(__file__).resolve().parents[1]


def templates() -> Path:
    """The lab's manifests: within an installed package, or of the checkout that this runs from.

    Raises:
        Failure: this installation has none.
    """
    for folder in (_PACKAGE / "templates" / "lab", _PACKAGE.parent / "manifests" / "lab"):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise Failure("this installation of snowcat has no templates; install it again")


def init(folder: Path) -> None:
    """Copy the lab under a project name of its own. Nothing that exists is overwritten.

    Raises:
        Failure: the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failure(f"{folder} is not empty; nothing was written. Name a new folder", INVALID)
    hidden = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(templates(), folder, ignore=hidden, dirs_exist_ok=True)
    file, name = folder / PROJECT_FILE, project_name(folder)
    file.write_text(re.sub(r"(?m)^project: *[^\s#]+", f"project: {name}", file.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    typer.echo(f"wrote the lab to {folder} as project {name}. Next:\n  snowcat validate {folder}")
    typer.echo(f"  snowcat plan --offline --account local {folder}")
    typer.echo(f"  snowcat apply --local {folder}     # on this machine, no account needed")


def project_name(folder: Path) -> str:
    """The folder's name as a project's: two projects of one name in one account would take each other's objects for their own."""
    name = re.sub(r"[^a-z0-9_]+", "-", folder.resolve().name.lower()).strip("-")
    return (name if name[:1].isalpha() else f"lab-{name}")[:40].rstrip("-")
