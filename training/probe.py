"""Measure what a micro-step takes on this hardware: `python -m training.probe BASE [--out calibration.json]`.

Runs two micro-steps at each of two lengths, on made-up tokens, with the same model, adapters, engine and loss as a real training; of a
model that one rank cannot hold, with as many of its layers as it can. Two
lengths give a line; `training.planner` plans with it from then on. Takes seconds after the model is loaded, and needs neither rows nor an
account. On a GPU the memory is that of the whole device, so it should be idle otherwise; on a CPU it is that of this process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from training import engine, hardware
from training.config import Base, Data, Method, Output, Run, Training, TrainingConfig
from training.data.packing import Documents, MicroBatch
from training.errors import OutOfMemoryError, TrainingError, is_out_of_memory
from training.loop import train_step
from training.model import attention, blocks, loading
from training.model.folder import attention_dropout, check_folder
from training.planner import Calibration, Machine, Point, Setting, Shape, Verdict, fit, known_chip
from training.planner.machine import GIB
from training.planner.needs import verdict_of

LENGTHS_GPU, LENGTHS_CPU = (1024, 4096), (128, 512)  # tokens
_LEARNED = 4  # every so many-th part of a row carries loss, as short answers to long questions do


@dataclass(frozen=True)
class Probe:
    """What is measured. `checkpointed` layers compute their activations twice; `layers` of the model are there, None for all."""

    base: Path
    method: Method
    training: Training
    checkpointed: int = 0
    layers: int | None = None

    @property
    def config(self) -> TrainingConfig:
        """A document for the engine; nothing in it but method and training is used."""
        return TrainingConfig(
            run=Run(id="probe", job="probe"),
            base=Base(path=str(self.base)),
            data=Data(table="none"),
            method=self.method,
            training=self.training,
            output=Output(path="none"),
        )

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return hardware.choose_dtype(self.training.dtype)

    @property
    def attention(self) -> str:
        """The name of the attention. Raises BadInputError for one that does not run here."""
        return attention.choose(self.training.attention, self.dtype, attention_dropout(self.base))

    @property
    def compiled(self) -> bool:
        """Whether the layers are."""
        return attention.compiles(self.training.compile, self.attention)

    def setting(self, tokens: int) -> Setting:
        """The same as the planner sees it."""
        whole = Shape.of(json.loads((self.base / "config.json").read_text(encoding="utf-8")))
        shape = replace(whole, layers=self.layers or whole.layers)
        adapter = self.method.adapter
        return Setting(
            shape=shape,
            technique=self.method.technique,
            trained=shape.parameters if adapter is None else shape.adapters(adapter.rank, adapter.targets, dora=adapter.dora),
            zero=0 if adapter is None else 1,  # as one rank trains
            offload="none",
            tokens=tokens,
            checkpointed=min(self.checkpointed, shape.layers),
            document=tokens,
            width=self.dtype.itemsize,
            fused=self.compiled,
            scores=not torch.cuda.is_available() and self.training.attention in ("auto", "eager"),
        )

    def run(self, lengths: Sequence[int]) -> list[Point]:
        """Two micro-steps at each length, the shortest first. Raises TrainingError for a model that cannot be loaded."""
        config, setting = self.config, self.setting(max(lengths))
        engine.prepare_environment()
        with tempfile.TemporaryDirectory(prefix="snowcat-layers-") as folder:
            base = first_layers(self.base, self.layers, Path(folder)) if self.layers else self.base
            loaded = loading.load_model(base, self.dtype, attention=self.attention, four_bit=self.method.qlora is not None)
        trainable = loading.prepare(loaded, self.method)
        blocks.prepare(trainable, stage=setting.zero, checkpointed=setting.checkpointed, compiled=self.compiled)
        trainer = engine.start(trainable, config, setting.zero, 1)
        return [_measure(trainer, setting.shape.vocab, tokens) for tokens in sorted(lengths)]


def machine() -> Machine:
    """This machine with one rank, as the planner describes it."""
    host, cores = hardware.host_memory(), float(torch.get_num_threads())
    if not torch.cuda.is_available():
        return Machine.with_cores(hardware.name(), cores, host / GIB)
    total = float(torch.cuda.get_device_properties(0).total_memory)
    return Machine(hardware.name(), 1, 1, host, cores, total, known_chip(hardware.name()), half=hardware.computes_in_bfloat16())


def calibrate(probe: Probe, lengths: Sequence[int]) -> Calibration:
    """Measure, and compare with the formulas."""
    check_folder(probe.base)
    here = machine()
    fitting = held_by_one(probe, max(lengths), here)
    return fit(hardware.name(), here, [(fitting.setting(point.tokens), point) for point in fitting.run(lengths)])


def held_by_one(probe: Probe, tokens: int, where: Machine) -> Probe:
    """The probe of as many layers as one rank holds; a training spreads the rest, checkpoints it or moves it into host memory.

    What is found holds for any number of layers: bytes at once, and a factor on what a token takes.
    """
    whole = probe.setting(tokens).shape.layers
    fewer = (replace(probe, layers=layers) for layers in range(whole, 0, -1))
    return next((one for one in fewer if verdict_of(one.setting(tokens), where) is Verdict.FITS), replace(probe, layers=1))


def first_layers(base: Path, layers: int, folder: Path) -> Path:
    """A folder of the model with these layers only: what its files have beyond them is not read."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    whole = config["num_hidden_layers"]
    for path in base.iterdir():
        (folder / path.name).symlink_to(path.resolve())
    (folder / "config.json").unlink()
    each = {name: value[:layers] for name, value in config.items() if isinstance(value, list) and len(value) == whole}
    (folder / "config.json").write_text(json.dumps({**config, **each, "num_hidden_layers": layers}), encoding="utf-8")
    return folder


def _measure(trainer: Any, vocabulary: int, tokens: int) -> Point:
    batch = _made_up(vocabulary, tokens)
    _forget_peak()
    train_step(trainer, [batch], 1.0 / batch.trained)  # allocates, and prepares kernels
    _wait()
    started = time.perf_counter()
    train_step(trainer, [batch], 1.0 / batch.trained)
    _wait()
    return Point(tokens, _peak(), time.perf_counter() - started)


def _made_up(vocabulary: int, tokens: int) -> MicroBatch:
    """One document of random tokens; the last part of it is learned."""
    generator = torch.Generator().manual_seed(tokens)
    ids = torch.randint(vocabulary, (1, tokens), generator=generator)
    keep = torch.arange(tokens - 1 - max(1, tokens // _LEARNED), tokens - 1)
    return MicroBatch(ids, Documents.of([tokens]), keep, ids[0, keep + 1], tokens, len(keep))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: the peak of resident memory begins anew


def _peak() -> float:
    """Bytes of the device: what torch held at most, and what is outside of its hands (the context, NCCL's buffers)."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return float(torch.cuda.max_memory_allocated() + (total - free - torch.cuda.memory_reserved()))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return float(line.split()[1]) * 1024


def main(arguments: Sequence[str]) -> int:
    """Entry point; the calibration goes to `--out`, else to the standard output."""
    parser = argparse.ArgumentParser(prog="python -m training.probe", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("base", type=Path, help="folder of the base model")
    parser.add_argument("--method", default="lora", help="full, lora or qlora, or the method's JSON document")
    parser.add_argument("--training", default="{}", help="the training section's JSON document: dtype, attention, compile")
    parser.add_argument("--lengths", type=int, nargs="+", help="tokens of a micro-batch, two or more")
    parser.add_argument("--checkpoint-layers", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    method = json.loads(given.method) if given.method.startswith("{") else given.method
    probe = Probe(given.base, Method.model_validate(method), Training.model_validate_json(given.training), given.checkpoint_layers)
    try:
        found = calibrate(probe, given.lengths or (LENGTHS_GPU if torch.cuda.is_available() else LENGTHS_CPU))
    except TrainingError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(error, file=sys.stderr)
        return OutOfMemoryError.exit_code
    text = json.dumps(found.document(), indent=2) + "\n"
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # as ranks do: libraries' threads may wait for each other at the end
