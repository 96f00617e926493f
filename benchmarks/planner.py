"""Predicted against measured memory and speed over twelve settings: method × checkpointing × tokens.

`make bench-planner` (a few minutes on one GPU, no network). The model is made here with random weights: Llama-2-7B's shape on a GPU, a
small one of the same make on a CPU. Every method with its checkpointing is a process of its own (`training.probe`), at three lengths.

Two predictions stand beside each figure: that of the formulas alone, and that after a calibration with two of the twelve settings (the
two shorter lengths of the first process), which are then left out of the errors. A CPU run is marked as such: it shows that the script
works and how good the formulas are for a process's memory there, and says nothing of GPUs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # where a GPU is lent, nothing is installed

from training.config import Method, Training  # noqa: E402
from training.planner import Calibration, Point, Setting, fit, gib  # noqa: E402
from training.planner.memory import Correction, on_rank  # noqa: E402
from training.planner.speed import tokens_per_second  # noqa: E402
from training.probe import Probe, machine  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "planner.json"
GPU: dict[str, Any] = {"methods": ("lora", "qlora"), "lengths": (1024, 4096, 8192), "dtype": "bfloat16"}
CPU: dict[str, Any] = {"methods": ("lora", "full"), "lengths": (128, 384, 768), "dtype": "float32"}
LLAMA_2_7B: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
}
SMALL: dict[str, Any] = {
    "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8,
    "num_key_value_heads": 4, "vocab_size": 8192,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One setting. Bytes of a rank, tokens a second; predictions by the formulas and after calibration."""

    method: str
    checkpointed: int
    tokens: int
    measured: float
    formulas: float
    calibrated: float
    speed: float
    modelled_speed: float
    used_for_calibration: bool

    @property
    def errors(self) -> tuple[float, float]:
        """Of both predictions, as shares of what was measured."""
        return self.formulas / self.measured - 1, self.calibrated / self.measured - 1


def make_model(folder: Path, sizes: dict[str, Any], on_gpu: bool) -> None:
    """A folder in Hugging Face form with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    dtype = torch.bfloat16 if on_gpu else torch.float32
    with torch.device("cuda" if on_gpu else "cpu"):
        model: Any = LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=16384))
    model = model.to(dtype)
    model.save_pretrained(str(folder))


def measured(base: Path, method: str, layers: int, grid: dict[str, Any]) -> list[Point]:
    """One process at all lengths."""
    command = [sys.executable, "-m", "training.probe", str(base), "--method", method, "--checkpoint-layers", str(layers)]
    command += ["--training", json.dumps({"dtype": grid["dtype"]}), "--lengths", *map(str, grid["lengths"])]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "calibration.json"
        subprocess.run([*command, "--out", str(out)], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        found = Calibration.parse(out.read_text(encoding="utf-8"))
    assert found is not None, "the probe wrote no calibration"
    return list(found.points)


def rows(base: Path, grid: dict[str, Any], layers: int) -> Iterable[Row]:
    """All settings, each with both predictions."""
    here, correction, reached = machine(), Correction(), None
    for method in grid["methods"]:
        for checkpointed in (0, layers):
            probe = Probe(base, Method.model_validate(method), Training(dtype=grid["dtype"]), checkpointed)
            points = measured(base, method, checkpointed, grid)
            first = not correction.measured
            if first:
                calibration = fit(here.name, here, [(probe.setting(point.tokens), point) for point in points[:2]])
                correction, reached = calibration.correction, calibration.reached
            for number, point in enumerate(points):
                setting: Setting = probe.setting(point.tokens)
                yield Row(
                    method,
                    checkpointed,
                    point.tokens,
                    point.peak,
                    on_rank(setting, here).needed,
                    on_rank(setting, here, correction).needed,
                    point.tokens / point.seconds,
                    tokens_per_second(setting, here, point.tokens, reached),
                    first and number < 2,
                )


def table(found: list[Row]) -> str:
    """For people, the worst errors last."""
    titles = ("method", "ckpt", "tokens", "measured", "formulas", "", "calibrated", "", "tok/s", "model")
    lines = [" ".join(f"{title:>{width}}" for title, width in zip(titles, (6, 4, 6, 10, 10, 7, 10, 7, 8, 8), strict=True))]
    for row in found:
        plain, better = row.errors
        mark = " *" if row.used_for_calibration else ""
        lines.append(
            f"{row.method:6} {row.checkpointed:>4} {row.tokens:>6} {gib(row.measured):>10} {gib(row.formulas):>10} {plain:>+7.1%} "
            f"{gib(row.calibrated):>10} {better:>+7.1%} {row.speed:>8.0f} {row.modelled_speed:>8.0f}{mark}"
        )
    fresh = [row for row in found if not row.used_for_calibration]
    worst = [max(abs(row.errors[which]) for row in fresh) for which in (0, 1)]
    lines.append(
        f"worst error: formulas {worst[0]:.1%}, calibrated {worst[1]:.1%} (* two settings were used to calibrate and are left out)"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write the JSON."""
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    grid, sizes = (GPU, LLAMA_2_7B) if on_gpu else (CPU, SMALL)
    with tempfile.TemporaryDirectory(prefix="snowcat-bench-") as folder:
        make_model(Path(folder), sizes, on_gpu)
        if on_gpu:
            torch.cuda.empty_cache()
        found = list(rows(Path(folder), grid, sizes["num_hidden_layers"]))
    print(table(found))
    document = {
        "device": machine().name,
        "isGpu": on_gpu,
        "note": "" if on_gpu else "CPU-sized: resident memory of a process; says nothing of a GPU",
        "model": sizes,
        "torch": torch.__version__,
        "rows": [{**asdict(row), "errors": [round(error, 4) for error in row.errors]} for row in found],
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
