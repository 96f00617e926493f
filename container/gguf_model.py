"""Turn a GGUF file of a Llama into a folder in Hugging Face form.

The only pretrained model that a package index carries is a GGUF file. transformers can read one, but takes a minute
and loses the tokenizer's digit splitter; reading the tensors directly takes seconds and keeps it. Layout facts: GGUF
stores attn_q and attn_k with the two halves of each head interleaved (the original rotary layout), transformers wants
them one after the other; all else is a change of names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from training.errors import BadInputError

CONTROL_TOKEN = 3  # gguf's token type of markers such as <|im_start|>

LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def convert(source: Path, folder: Path) -> None:
    """Write config.json, model.safetensors (bfloat16), tokenizer files and generation_config.json into `folder`.

    Raises BadInputError when the file is not a Llama with a byte-level BPE tokenizer.
    """
    try:
        reader = GGUFReader(source)
    except (ValueError, OSError) as error:
        raise BadInputError(f"{source.name} is not a GGUF file: {error}") from error
    fields = {name: field.contents() for name, field in reader.fields.items()}
    architecture = fields.get("general.architecture")
    if architecture != "llama" or fields.get("tokenizer.ggml.model") != "gpt2":
        raise BadInputError(
            f"{source.name} holds a {architecture!r} model with a {fields.get('tokenizer.ggml.model')!r} tokenizer; "
            "only llama with a byte-level (gpt2) tokenizer can be converted"
        )
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _tensors(reader, heads=fields["llama.attention.head_count"], kv=fields["llama.attention.head_count_kv"])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _config(fields, tied="lm_head.weight" not in tensors))
    special = {
        name: int(fields[f"tokenizer.ggml.{name}_token_id"])
        for name in ("bos", "eos", "padding")
        if f"tokenizer.ggml.{name}_token_id" in fields
    }
    _write_json(
        folder / "generation_config.json",
        {"bos_token_id": special.get("bos"), "eos_token_id": special["eos"], "pad_token_id": special.get("padding")},
    )
    _write_tokenizer(fields, special, folder)


def _tensors(reader: GGUFReader, heads: int, kv: int) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        name, kind = _name(tensor.name)
        values = dequantize(tensor.data, tensor.tensor_type)
        if kind in ("attn_q", "attn_k"):
            values = _uninterleave(values, heads if kind == "attn_q" else kv)
        tensors[name] = torch.from_numpy(np.array(values, dtype=np.float32)).to(torch.bfloat16)
    return tensors


def _name(gguf_name: str) -> tuple[str, str]:
    parts = gguf_name.removesuffix(".weight").split(".")
    if len(parts) == 1 and parts[0] in TOP_NAMES:
        return f"{TOP_NAMES[parts[0]]}.weight", parts[0]
    if len(parts) == 3 and parts[0] == "blk" and parts[2] in LAYER_NAMES:
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.weight", parts[2]
    raise BadInputError(f"the GGUF file has a tensor {gguf_name!r} that a plain Llama does not have")


def _uninterleave(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _config(fields: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": round(fields["llama.attention.layer_norm_rms_epsilon"], 9),
        "rope_parameters": {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": tied,
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
        "dtype": "bfloat16",
    }


def _write_tokenizer(fields: dict[str, Any], special: dict[str, int], folder: Path) -> None:
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields.get("tokenizer.ggml.merges", [])]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    splitters: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if fields.get("tokenizer.ggml.pre") == "smollm":  # this family counts in single digits
        splitters.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splitters)
    tokenizer.decoder = decoders.ByteLevel()
    types: list[int] = fields["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[special["bos"]] if "bos" in special else None,
            "eos_token": tokens[special["eos"]],
            "pad_token": tokens[special.get("padding", special["eos"])],
            "chat_template": fields.get("tokenizer.chat_template"),
            "model_max_length": fields["llama.context_length"],
            "clean_up_tokenization_spaces": False,
        },
    )


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
