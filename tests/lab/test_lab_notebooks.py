"""The notebooks as files: valid, without output, and without anything that should not be in git. `test_lab_end_to_end` runs them."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "manifests" / "lab" / "notebooks").glob("*.ipynb"))


def test_both_labs_have_one() -> None:
    assert [path.name for path in NOTEBOOKS] == ["lab1_base_model.ipynb", "lab2_fine_tune.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_is_valid_and_has_no_output(path: Path) -> None:
    document = nbformat.read(path, as_version=4)
    nbformat.validate(document)
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    assert len(code) >= 5
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_no_cell_holds_a_secret_or_asks_for_one(path: Path) -> None:
    """The guide wrote a Hugging Face token into a cell."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert not re.search(r"hf_\w{8,}|password\s*=|token\s*=|--token|getpass|input\(", cell.source), cell.source
