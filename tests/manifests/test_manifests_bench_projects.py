"""The projects that benchmarks generate are right, whatever else changes about manifests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from controller.manifests.project import load_project

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [10, 100, 1000])
def test_a_project_has_its_size_and_no_problem(size: int, tmp_path: Path) -> None:
    made = load_module("projects").project("bench", size)
    made.write(tmp_path / "project")
    loaded = load_project(tmp_path / "project")
    assert [str(problem) for problem in loaded.problems] == []
    assert len(loaded.graph.objects) == size
    assert made.schemas <= 8 and made.roles <= 4, "scopes do not grow with the number of objects"
