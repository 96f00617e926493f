"""At stage 3 no rank ever holds the whole base: not while it is loaded, nor while it is scored, merged or written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_held import METHODS, PIECE

from training.files import describe

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spread")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, str(HERE / "training_spread.py"), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    line = next((line for line in ended.stdout.splitlines() if line.startswith("FOUND ")), None)
    assert ended.returncode == 0 and line is not None, ended.stdout[-2000:] + ended.stderr[-4000:]
    told: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return told


@pytest.mark.parametrize("method", METHODS)
def test_a_base_is_spread_while_it_is_loaded(found: dict[str, Any], method: str) -> None:
    expected, whole = found["curves"][f"{method}, zero 0"]
    losses, held = found["curves"][f"{method}, zero 3"]
    assert expected[-1] < 0.99 * expected[0], "it learns"
    assert losses == pytest.approx(expected, rel=1e-4), method
    assert whole / 2 <= held < 0.51 * whole, f"{method}: its half, and padding where a matrix cannot be halved"


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_is_spread_scores_the_same_as_a_whole_one(found: dict[str, Any], method: str) -> None:
    whole, spread = found["scores"][method]
    assert (whole["held"], spread["held"]) == ("whole", "spread over the ranks")
    assert spread["base"] == whole["base"] and spread["tuned"] == whole["tuned"]
    assert spread["few"] == whole["few"], "one row for two ranks: the other one computes in vain"
    assert whole["tuned"][0] != whole["base"][0], "it has learned something"
    answers = whole["base"][1] + whole["tuned"][1]
    assert len({len(answer) for answer in answers}) > 2, "ranks end their answers at different times"


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_from_spread_weights_is_the_same_to_the_byte(found: dict[str, Any], method: str) -> None:
    whole, spread = (describe(Path(run["artefacts"])) for run in found["scores"][method])
    assert spread == whole
    written = {entry.path for entry in spread}
    assert {"merged/model.safetensors", "merged/config.json", "merged/tokenizer.json"} <= written
    assert ("adapter/adapter_model.safetensors" in written) == (method != "full")


@pytest.mark.parametrize("method", METHODS)
def test_no_rank_holds_all_of_a_spread_model_while_it_is_scored(found: dict[str, Any], method: str) -> None:
    whole, spread = found["scores"][method]
    assert whole["most"] == whole["whole"]
    counted = 0.51 * spread["whole"] + 2 * spread["layer"] + spread["largest"]
    assert spread["most"] <= counted < 0.95 * spread["whole"], "its half, two layers and one matrix"


def test_spread_weights_are_written_in_files_of_a_bounded_size(found: dict[str, Any], folder: Path) -> None:
    base = load_file(str(folder / "base/model.safetensors"))
    index = json.loads((folder / "pieces/model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    parts = [load_file(str(folder / "pieces" / file)) for file in files]
    read = {name: tensor for part in parts for name, tensor in part.items()}
    sizes = [sum(tensor.nbytes for tensor in part.values()) for part in parts]
    assert all(size <= PIECE or len(part) == 1 for size, part in zip(sizes, parts, strict=True)), "only one weight by itself may be larger"
    assert all(size + following > PIECE for size, following in pairwise(sizes)), "no more files than that takes"
    assert len(files) > 1 and files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert {name: index["weight_map"][name] for name in read} == index["weight_map"]
    assert read.keys() == base.keys()
    assert all(torch.equal(read[name], base[name].to(torch.float16)) for name in base)
    assert json.loads((folder / "pieces/config.json").read_text())["dtype"] == "float16"
