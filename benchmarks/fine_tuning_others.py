"""The other contestants: HF Trainer as people write it, the lab's recipe, and TRL at its best settings.

All of them train the workload's model on the workload's documents. What differs is what their users get: padding, labels on everything,
adapters in float32, checkpointing all or nothing. The counts are of real tokens; padding is no work done.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from fine_tuning_workload import Clock, Document, Workload, memory_bytes

from training.data.packing import Documents
from training.model import attention


@dataclass(frozen=True)
class Recipe:
    """How a contestant is set up. `rows` is the batch of those that pad, in documents."""

    rows: int = 8
    rank: int = 16
    targets: str | tuple[str, ...] = "all-linear"
    chunk: int = 0  # > 0: all documents in one stream, cut into pieces of so many tokens
    eight_bit: bool = False
    checkpointing: bool = True
    our_attention: bool = False  # documents kept apart by our kernel instead of a mask: what attention alone is worth


def hf_trainer(workload: Workload, recipe: Recipe) -> dict[str, Any]:
    """transformers.Trainer with PEFT, dynamic padding or a cut stream, and labels on all tokens."""
    from transformers import Trainer, TrainingArguments

    model = _adapted(_model(workload, recipe), recipe)
    rows = workload.rows()
    if recipe.chunk:
        stream = [int(token) for row in rows for token in row.ids]
        texts = [stream[i : i + recipe.chunk] for i in range(0, len(stream) - recipe.chunk, recipe.chunk)]
    else:
        texts = [row.ids.tolist() for row in rows]
    batch = max(1, workload.tokens // recipe.chunk) if recipe.chunk else recipe.rows
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(**_arguments(workload, folder, batch, recipe.checkpointing))
        return _timed(
            workload, lambda watch: Trainer(model, arguments, train_dataset=_Listed(texts), data_collator=watch.counted(_padded)), recipe
        )


def trl(workload: Workload, recipe: Recipe) -> dict[str, Any]:
    """TRL's SFTTrainer: best-fit packing, loss on answers by its own chunked head, SDPA (its other kernels come from the hub)."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = workload.rows()
    data = Dataset.from_dict({"input_ids": [row.ids.tolist() for row in rows], "completion_mask": [_mask(row) for row in rows]})
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            **_arguments(workload, folder, 1, recipe.checkpointing),
            packing=True,
            packing_strategy="bfd",
            max_length=workload.tokens,
            completion_only_loss=True,
        )

        def made(watch: Watch) -> Any:
            trainer = SFTTrainer(
                model=_model(workload, recipe),
                args=arguments,
                train_dataset=data,
                processing_class=_tokenizer(),
                peft_config=_lora(recipe),
            )
            trainer.data_collator = watch.counted(trainer.data_collator)
            return trainer

        return _timed(workload, made, recipe)


class _Listed(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Texts as a dataset."""

    def __init__(self, texts: list[list[int]]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, place: int) -> dict[str, list[int]]:
        return {"input_ids": self.texts[place]}


class Watch:
    """Counts what each batch holds as it is put together, and marks the ends of steps."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counts: list[tuple[int, int]] = []

    def counted(self, collate: Callable[[Any], dict[str, torch.Tensor]]) -> Callable[[Any], dict[str, torch.Tensor]]:
        def collated(examples: Any) -> dict[str, torch.Tensor]:
            batch = collate(examples)
            mask = batch.get("attention_mask")
            tokens = int(mask.sum()) if mask is not None else batch["input_ids"].numel()
            self.counts.append((tokens, int((batch["labels"][:, 1:] != -100).sum())))
            return batch

        return collated


def _timed(workload: Workload, make: Callable[[Watch], Any], recipe: Recipe) -> dict[str, Any]:
    from transformers import TrainerCallback

    watch = Watch()

    class Marks(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            watch.clock.mark()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            watch.clock.mark()

    trainer = make(watch)
    trainer.add_callback(Marks())
    trainer.train()
    seconds = watch.clock.seconds()
    counts = watch.counts[: len(seconds)]
    return {
        "seconds": seconds,
        "tokens": [tokens for tokens, _ in counts],
        "trained": [trained for _, trained in counts],
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "memoryBytes": memory_bytes(),
        "settings": {key: value for key, value in recipe.__dict__.items() if value},
    }


def _arguments(workload: Workload, folder: str, batch: int, checkpointing: bool) -> dict[str, Any]:
    on_gpu = torch.cuda.is_available()
    os.environ["WANDB_DISABLED"] = "true"
    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch,
        "max_steps": workload.warmup + workload.steps,
        "learning_rate": workload.learning_rate,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": checkpointing and on_gpu,
        "optim": "adamw_torch_fused" if on_gpu else "adamw_torch",
        "logging_steps": workload.steps,
        "save_strategy": "no",
        "report_to": "none",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "seed": workload.seed,
        "dataloader_pin_memory": on_gpu,
    }


def _model(workload: Workload, recipe: Recipe) -> Any:
    model = workload.model("sdpa")
    model.config.use_cache = False
    if recipe.our_attention:
        model.config._attn_implementation = _register_by_positions(attention.choose("auto", workload.dtype))
    if recipe.eight_bit and torch.cuda.is_available():
        _to_eight_bit(model)
    return model


def _register_by_positions(name: str) -> str:
    """Our attention for those that tell of documents only by positions that start again at 0."""
    inner = attention.AttentionInterface()[name]
    known: list[Any] = [lambda: None, None]

    def attend(*args: Any, position_ids: torch.Tensor, **kwargs: Any) -> Any:
        if known[0]() is not position_ids:  # found once for all layers, because it makes the GPU wait
            starts = (position_ids[0] == 0).nonzero().flatten().tolist()
            lengths = [end - start for start, end in zip(starts, [*starts[1:], position_ids.shape[1]], strict=True)]
            known[:] = [weakref.ref(position_ids), Documents.of(lengths).to(position_ids.device)]
        return inner(*args, **attention.arguments(name, known[1]), **kwargs)

    attention.AttentionInterface.register("by_positions", attend)
    return "by_positions"


def _to_eight_bit(model: Any) -> None:
    """LLM.int8 in place of each projection, as the lab's load_in_8bit does."""
    import bitsandbytes

    for module in list(model.model.layers.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear:
                quantised = bitsandbytes.nn.Linear8bitLt(child.in_features, child.out_features, bias=False, has_fp16_weights=False)
                quantised.weight = bitsandbytes.nn.Int8Params(child.weight.data.cpu(), requires_grad=False, has_fp16_weights=False)
                setattr(module, name, quantised.to("cuda"))


def _adapted(model: Any, recipe: Recipe) -> Any:
    from peft import get_peft_model

    adapted = get_peft_model(model, _lora(recipe))
    if recipe.checkpointing:
        adapted.enable_input_require_grads()
    return adapted


def _lora(recipe: Recipe) -> Any:
    from peft import LoraConfig

    targets = recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets)
    return LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=targets, task_type="CAUSAL_LM")


def _padded(examples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(example["input_ids"]) for example in examples)
    ids = torch.full((len(examples), longest), 2)
    mask = torch.zeros_like(ids)
    for i, example in enumerate(examples):
        ids[i, : len(example["input_ids"])] = torch.tensor(example["input_ids"])
        mask[i, : len(example["input_ids"])] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def _mask(row: Document) -> list[int]:
    return [0] * row.answer_start + [1] * row.answer_tokens


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>")
