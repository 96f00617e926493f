"""`snowcat init DIR`: the lab's manifests as a beginning."""

from __future__ import annotations

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
    """Copy the lab. Nothing that exists is overwritten.

    Raises:
        Failure: the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failure(f"{folder} is not empty; nothing was written. Name a new folder", INVALID)
    hidden = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(templates(), folder, ignore=hidden, dirs_exist_ok=True)
    typer.echo(f"wrote the lab to {folder}. Next:\n  snowcat validate {folder}\n  snowcat plan --offline --account local {folder}")
    typer.echo(f"  snowcat apply --local {folder}     # on this machine, no account needed")
