"""A small project, and the command line in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import OBJECTS, PROJECT, Snowcat, environment


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "snowcat.yaml").write_text(PROJECT)
    (folder / "objects.yaml").write_text(OBJECTS)
    return folder


@pytest.fixture
def snowcat(project: Path, tmp_path: Path) -> Snowcat:
    return Snowcat(project, environment(tmp_path))


@pytest.fixture
def local(project: Path, tmp_path: Path) -> Iterator[Snowcat]:
    """The command with an embedded account of its own, stopped at the end."""
    caller = Snowcat(project, {**environment(tmp_path), "SNOWCAT_LOCAL_STATE": str(tmp_path / "account")})
    yield caller
    caller("local", "stop")
