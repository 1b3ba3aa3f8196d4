"""A GGUF file of the default model's kind, converted once to a Hugging Face folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from interp_core.runtime import report

_CONTROL = 3  # llama.cpp's token type of special tokens
_GROUP = 32
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def convert(source: Path, target: Path) -> Path:
    """Write ``source`` as a folder ``target`` of float32 safetensors, config and tokenizer.

    All or nothing: the folder appears under its name when it is whole.

    Raises:
        ValueError: When the file is not a GGUF of a Llama with a SmolLM tokenizer.
    """
    if target.exists():
        return target
    try:
        tensors, metadata = mx.load(str(source), format="gguf", return_metadata=True)
    except RuntimeError as error:
        raise ValueError(f"{source} is not a readable GGUF file: {error}") from None
    config = _config(metadata, "output.weight" in tensors)
    tokenizer = _tokenizer(metadata)
    weights = {}
    for done, (name, value) in enumerate(_weights(tensors, config)):
        weights[name] = value
        mx.eval(value)
        report("converting weights", done + 1, sum(n.endswith(".weight") for n in tensors))
    _sweep(target.parent)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        mx.save_safetensors(str(partial / "model.safetensors"), weights, {"format": "mlx"})
        (partial / "config.json").write_text(json.dumps(config, indent=1))
        tokenizer.save(str(partial / "tokenizer.json"))
        tokens = metadata["tokenizer.ggml.tokens"]
        (partial / "tokenizer_config.json").write_text(
            json.dumps(
                {
                    "tokenizer_class": "PreTrainedTokenizerFast",
                    "chat_template": metadata.get("tokenizer.chat_template"),
                    "bos_token": tokens[metadata["tokenizer.ggml.bos_token_id"].item()],
                    "eos_token": tokens[metadata["tokenizer.ggml.eos_token_id"].item()],
                },
                indent=1,
            )
        )
        (partial / "lensbook.json").write_text(json.dumps({"weights_sha256": sha256(source)}))
        os.replace(partial, target)
    except OSError:
        if not target.exists():  # another process may have finished first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _sweep(folder: Path) -> None:
    """Remove what conversions that were killed left behind a day ago or more."""
    for left in folder.glob(".partial-*"):
        if time.time() - left.stat().st_mtime > 86_400:
            shutil.rmtree(left, ignore_errors=True)


def _config(metadata: dict[str, Any], has_head: bool) -> dict[str, Any]:
    family = metadata.get("general.architecture")
    kind = (family, metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if kind != ("llama", "gpt2", "smollm"):
        raise ValueError(
            f"GGUF files are read for Llama models with SmolLM's tokenizer; this one is {kind}"
        )

    def number(key: str) -> float:
        return metadata[f"llama.{key}"].item()

    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": number("embedding_length"),
        "num_hidden_layers": number("block_count"),
        "intermediate_size": number("feed_forward_length"),
        "num_attention_heads": number("attention.head_count"),
        "num_key_value_heads": number("attention.head_count_kv"),
        "rms_norm_eps": round(number("attention.layer_norm_rms_epsilon"), 12),
        "rope_theta": number("rope.freq_base"),
        "max_position_embeddings": number("context_length"),
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": not has_head,
        "hidden_act": "silu",
        "torch_dtype": "float32",
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"].item(),
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"].item(),
    }


def _weights(
    tensors: dict[str, mx.array], config: dict[str, Any]
) -> Iterator[tuple[str, mx.array]]:
    for name, value in tensors.items():
        if not name.endswith(".weight"):
            continue
        stem = name.removesuffix(".weight")
        if (scales := tensors.get(f"{stem}.scales")) is not None:
            value = mx.dequantize(
                value,
                scales.astype(mx.float32),
                tensors[f"{stem}.biases"].astype(mx.float32),
                group_size=_GROUP,
                bits=value.shape[-1] * 32 // (scales.shape[-1] * _GROUP),
            )
        *block, part = stem.split(".")
        heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(part)
        if heads:
            value = _halves(value, config[heads])
        prefix = f"model.layers.{block[1]}." if block else ""
        yield f"{prefix}{_NAMES[part]}.weight", value.astype(mx.float32)


def _halves(weight: mx.array, n_heads: int) -> mx.array:
    """Undo llama.cpp's order of rotary rows: pairs side by side, back to two halves."""
    rows, columns = weight.shape
    pairs = weight.reshape(n_heads, rows // n_heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    """Build SmolLM's tokenizer: byte-level BPE over single digits."""
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = metadata["tokenizer.ggml.token_type"].tolist()
    special = [
        AddedToken(t, special=True) for t, k in zip(tokens, kinds, strict=True) if k == _CONTROL
    ]
    tokenizer.add_special_tokens(special)
    return tokenizer
