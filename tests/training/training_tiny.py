"""A tiny random Llama with a byte-level tokenizer, rows for it, and a way to run ranks: what the tests share.

The tokenizer has the traits that make trouble in real ones: a chat template, and a padding token that is the end token.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from training_forks import Rank
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from container import results
from training.config import Data, Prompt, TrainingConfig
from training.data.encoded import TrainingSet
from training.data.examples import Chosen, Encoding, Row, choose_rows, render
from training.data.rows import as_text, open_rows, read_file, text_batch
from training.data.rows import write_rows as write_arrow
from training.data.tokens import Tokens
from training.files import describe, write_json

REPOSITORY = Path(__file__).parents[2]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CITIES = ["Oslo", "Lima", "Bern", "Kyiv", "Rome", "Cork"]
TOYS = ["kite", "drum", "robot", "train", "doll"]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*MARKERS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(marker, special=True, normalized=False) for marker in MARKERS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=CHATML,
    )


def write_tiny_model(folder: Path, *, context: int = 512) -> Path:
    """A model folder in Hugging Face form with its `model.json`."""
    torch.manual_seed(7)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    files = [entry.document() for entry in describe(folder)]
    write_json(folder / "model.json", {"version": 1, "identity": "tiny", "sha256": "0" * 64, "files": files})
    return folder


def tiny_rows(count: int = 24) -> list[dict[str, Any]]:
    rows = []
    for i in range(count):
        city, toy = CITIES[i % len(CITIES)], TOYS[i % len(TOYS)]
        rows.append(
            {
                "INSTRUCTION": "JSON, please.",
                "INPUT": json.dumps(f"call {i} from {city}:\na {toy}"),
                "OUTPUT": json.dumps({"toy_list": [toy], "location": city}),
                "_ROW_ID": f"row{i:03d}",
                "_SPLIT": "train" if i % 4 else "eval",
            }
        )
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tiny_table(rows: list[dict[str, Any]], data: Data | None = None, prompt: Prompt | None = None) -> pa.Table:
    """Rows as the trainer would have fetched them."""
    texts = [{name: as_text(value) for name, value in row.items()} for row in rows]
    with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
        names = dict.fromkeys(name for row in rows for name in row)
        write_arrow([text_batch(texts, names)] if rows else [], data or Data(table="T"), prompt or Prompt(), Path(file.name))
        return open_rows(Path(file.name))


@dataclass(frozen=True)
class Selected:
    train: tuple[Row, ...]
    eval: tuple[Row, ...]
    splits: dict[str, int]


def select_rows(rows: list[dict[str, Any]], data: Data, prompt: Prompt, eval_rows: int) -> Selected:
    """Fetched, chosen and rendered."""
    table = tiny_table(rows, data, prompt)
    chosen: Chosen = choose_rows(table, data, eval_rows)
    train, held_out = (tuple(render(table, numbers, data, prompt)) for numbers in (chosen.train, chosen.eval))
    return Selected(train, held_out, chosen.splits)


def encode_rows(rows: Iterable[Row], tokens: Tokens, max_length: int) -> TrainingSet:
    """Encoded into memory, loss on answers, long rows left out."""
    return Encoding(tokens, max_length).encode(rows)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tiny_config(output: Path, base: Path, rows: Path, **parts: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "run": {"id": "run1", "job": "tiny"},
        "base": {"path": str(base)},
        "data": {"path": str(rows)},
        "training": {"maxSteps": 24, "learningRate": 2e-2, "dtype": "float32"},
        "evaluation": {"rows": 4, "maxNewTokens": 4},
        "output": {"path": str(output)},
    }
    for name, part in parts.items():
        document[name] = {**document.get(name, {}), **part}
    return document


class Ranks:
    """The ranks of one attempt, started without torchrun, each a copy of a process that has imported torch and DeepSpeed."""

    def __init__(self, folder: Path, config: dict[str, Any], world: int) -> None:
        self.work = folder
        self.config = TrainingConfig.model_validate(config)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        shared |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(REPOSITORY)}
        checked = TrainingConfig.model_validate(config)
        write_arrow(read_file(Path(config["data"]["path"])), checked.data, checked.prompt, folder / "rows.arrow")
        arguments = [folder / "config.json", folder / "rows.arrow", config["base"]["path"], folder]
        self.log = folder / "log"
        self.processes = []
        for rank in range(world):
            environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            log = self.log if rank == 0 else folder / f"log{rank}"
            self.processes.append(Rank([*map(str, arguments), config["output"]["path"]], environment, log, folder))

    def wait(self) -> list[int]:
        """The exit codes of the ranks; the results of a finished run are published as the trainer does it."""
        try:
            codes = [process.wait(timeout=240) for process in self.processes]
            results.finish(self.config, self.work, Path(self.config.output.path))
            return codes
        finally:
            for process in self.processes:
                process.kill()
                process.wait()

    def progress(self) -> list[dict[str, Any]]:
        lines = self.log.read_text(encoding="utf-8").splitlines()
        prefix = "SNOWCAT_PROGRESS "
        return [json.loads(line.removeprefix(prefix)) for line in lines if line.startswith(prefix)]
