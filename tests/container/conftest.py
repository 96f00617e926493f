from __future__ import annotations

import sys
from pathlib import Path

import pytest

# the tiny model is shared with the tests of training
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training_tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "base")
