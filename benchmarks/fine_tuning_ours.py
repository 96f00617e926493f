"""Snowcat's own loop in the contest, with DeepSpeed or without it, in the settings that are compared."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fine_tuning_workload import MARK, Clock, Rows, Workload, memory_bytes

from training import engine
from training.config import TrainingConfig
from training.data.batches import BatchPlan, learning_rate, plan_batches
from training.data.packing import micro_batch
from training.loop import train_step
from training.model import attention, blocks
from training.model.forward import install
from training.planner import Rows as RowSizes


@dataclass(frozen=True)
class Setting:
    """One way of running it. `stage` is DeepSpeed's; None is the same loop without DeepSpeed. `full` trains all weights."""

    attention: str = "auto"
    packing: bool = True
    layers: str = "auto"
    compiled: bool = False
    fused: bool = True
    stage: int | None = 1
    full: bool = False


class Plain:
    """What the loop asks of an engine, by torch alone. Weights in bfloat16 have masters in float32 here too."""

    def __init__(self, model: Any, config: TrainingConfig, accumulation: int) -> None:
        self.module = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        half = any(p.dtype == torch.bfloat16 for p in self.parameters)
        self.masters = [p.detach().float() for p in self.parameters] if half else self.parameters
        self.optimizer = torch.optim.AdamW(
            self.masters,
            lr=config.training.learning_rate,
            betas=engine.BETAS,
            weight_decay=config.training.weight_decay,
            fused=torch.cuda.is_available(),
        )
        self.clip, self.accumulation, self.done, self.norm = config.training.clip, accumulation, 0, torch.zeros(())

    def __call__(self, **batch: Any) -> Any:
        return self.module(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        (loss / self.accumulation).backward()

    def step(self) -> None:
        self.done += 1
        if self.done % self.accumulation == 0:
            for master, parameter in zip(self.masters, self.parameters, strict=True):
                if master is not parameter:
                    master.grad, parameter.grad = parameter.grad.float(), None
            self.norm = torch.nn.utils.clip_grad_norm_(self.masters, self.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
            if self.masters is not self.parameters:
                torch._foreach_copy_([p.data for p in self.parameters], self.masters)


def adapted(workload: Workload, name: str) -> Any:
    """The contest's model with adapters as Snowcat makes them."""
    from peft import LoraConfig, get_peft_model

    base = install(workload.model(name))
    lora = LoraConfig(r=workload.rank, lora_alpha=2 * workload.rank, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(workload.seed)
    return get_peft_model(base, lora, autocast_adapter_dtype=False).train()


def configuration(workload: Workload, setting: Setting) -> TrainingConfig:
    layers = setting.layers if setting.layers in ("auto", "none", "all") else int(setting.layers)
    document = {
        "run": {"id": "bench", "job": "bench"},
        "base": {"path": "."},
        "data": {"table": "T"},
        "output": {"path": "."},
        "method": "full" if setting.full else {"lora": {"rank": workload.rank, "alpha": 2 * workload.rank}},
        "training": {
            "maxSteps": workload.warmup + workload.steps,
            "learningRate": workload.learning_rate,
            "microBatchTokens": workload.tokens,
            "tokensPerStep": workload.tokens,
            "packing": setting.packing,
            "checkpointLayers": layers,
            "dtype": str(workload.dtype).removeprefix("torch."),
        },
    }
    return TrainingConfig.model_validate(document)


def started(workload: Workload, setting: Setting, rows: Rows) -> tuple[Any, BatchPlan, TrainingConfig, blocks.Blocks]:
    """Model, plan and engine, ready to train."""
    config = configuration(workload, setting)
    _group(setting.stage)
    name = attention.choose(setting.attention, workload.dtype)
    model = install(workload.model(name)).train() if setting.full else adapted(workload, name)
    plan = plan_batches(rows.lengths, config.training, 1, on_gpu=torch.cuda.is_available())
    sizes = RowSizes(len(rows.rows), sum(rows.lengths) / len(rows.rows), max(rows.lengths))
    stage = setting.stage or 0
    with tempfile.TemporaryDirectory() as folder:
        layers = blocks.layers_to_checkpoint(workload.folder(Path(folder)), config, (stage, "none"), sizes, workload.tokens)
    built = blocks.prepare(model, stage=stage if setting.fused else 3, checkpointed=layers, compiled=setting.compiled)
    if setting.stage is None:
        return Plain(model, config, plan.accumulation), plan, config, built
    return engine.start(model, config, setting.stage, plan.accumulation), plan, config, built


class Run:
    """A training that goes on step by step."""

    def __init__(self, workload: Workload, setting: Setting) -> None:
        self.rows = Rows(workload.rows())
        self.trainer, self.plan, self.config, self.built = started(workload, setting, self.rows)
        self.losses: list[torch.Tensor] = []
        self.counts: list[tuple[int, int]] = []  # (tokens, trained tokens) of each step
        self.clock = Clock()
        self.clock.mark()

    def step(self) -> None:
        """The next one. Nothing is waited for."""
        step = len(self.losses)
        for group in self.trainer.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.training, step, self.plan.steps)
        chosen = self.plan.step(step)[0]
        batches = [micro_batch(self.rows, some, 2, "answer", width=self.plan.capacity) for some in chosen]
        trained = sum(batch.trained for batch in batches)
        self.losses.append(train_step(self.trainer, batches, self.plan.accumulation / trained) / trained)
        self.counts.append((sum(batch.tokens for batch in batches), trained))
        self.clock.mark()


def run(workload: Workload, setting: Setting) -> dict[str, Any]:
    """Train, and tell each step's seconds, tokens and loss."""
    training = Run(workload, setting)
    for _ in range(workload.warmup + workload.steps):
        training.step()
    return {
        "seconds": training.clock.seconds(),
        "tokens": [tokens for tokens, _ in training.counts],
        "trained": [trained for _, trained in training.counts],
        "losses": [float(loss) for loss in training.losses],
        "memoryBytes": memory_bytes(),
        "settings": {
            **setting.__dict__,
            "layersDone": str(training.built),
            "attentionUsed": attention.choose(setting.attention, workload.dtype),
        },
    }


def take_turns(workload: Workload, setting: Setting) -> None:
    """Do one step for each line of standard input, and answer with its seconds and loss; a first answer says that all is warm.

    Another such training shares the GPU: half of the layers are checkpointed, so that both have room.
    """
    if torch.cuda.is_available():
        setting = replace(setting, layers=str(workload.config().num_hidden_layers // 2))
    training = Run(workload, setting)
    for _ in range(workload.warmup):
        training.step()
    print(f"{MARK}{json.dumps({'memoryBytes': memory_bytes(), 'built': str(training.built)})}", flush=True)
    for _ in sys.stdin:
        training.clock = Clock()
        training.clock.mark()
        training.step()
        seconds = training.clock.seconds()[0]
        print(f"{MARK}{json.dumps({'seconds': seconds, 'loss': float(training.losses[-1])})}", flush=True)


def _group(stage: int | None) -> None:
    if stage is not None:
        engine.prepare_environment()
    elif not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", store=dist.HashStore(), rank=0, world_size=1)
