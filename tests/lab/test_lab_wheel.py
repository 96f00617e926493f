"""What an installed Snowcat carries: its packages and the lab as a template, and nothing that would clash in site-packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_only_the_packages_are_at_the_top(names: list[str]) -> None:
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"controller", "training", "container", "emulator"}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("controller/templates/lab/snowcat.yaml", "`snowcat init` writes it"),
        ("controller/templates/lab/data/transcripts.jsonl", "the lab's rows"),
        ("controller/templates/lab/notebooks/lab1_base_model.ipynb", "the lab's notebooks"),
        ("controller/templates/Dockerfile", "our images are built from it"),
        ("container/trainer.py", "and from these files"),
    ],
)
def test_the_lab_travels_as_package_data(names: list[str], file: str, reason: str) -> None:
    assert file in names, reason


def test_nothing_that_a_run_left_behind_travels(names: list[str]) -> None:
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db")) or ".ipynb_checkpoints" in name]
