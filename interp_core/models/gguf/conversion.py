"""A GGUF file, converted once to a Hugging Face folder of float32."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interp_core.models.gguf.reader import GgufFile, read, short
from interp_core.models.gguf.tokenizer import tokenizer
from interp_core.paths import partial_folder, settle
from interp_core.runtime import report

Parts = dict[str, tuple[str, tuple[str, ...]]]
"""What llama.cpp calls a tensor: its name here, and its shape in the names of :func:`_sizes`."""

_WHOLE: Parts = {
    "token_embd": ("model.embed_tokens", ("vocab", "d")),
    "output_norm": ("model.norm", ("d",)),
}
_HEAD: Parts = {"output": ("lm_head", ("vocab", "d"))}
_BLOCK: Parts = {
    "attn_norm": ("input_layernorm", ("d",)),
    "attn_q": ("self_attn.q_proj", ("heads", "d")),
    "attn_k": ("self_attn.k_proj", ("kv_heads", "d")),
    "attn_v": ("self_attn.v_proj", ("kv_heads", "d")),
    "attn_output": ("self_attn.o_proj", ("d", "heads")),
    "ffn_norm": ("post_attention_layernorm", ("d",)),
    "ffn_gate": ("mlp.gate_proj", ("mlp", "d")),
    "ffn_up": ("mlp.up_proj", ("mlp", "d")),
    "ffn_down": ("mlp.down_proj", ("d", "mlp")),
}
_SANDWICH: Parts = {
    "attn_q_norm": ("self_attn.q_norm", ("head",)),
    "attn_k_norm": ("self_attn.k_norm", ("head",)),
    "post_attention_norm": ("post_attention_layernorm", ("d",)),
    "ffn_norm": ("pre_feedforward_layernorm", ("d",)),
    "post_ffw_norm": ("post_feedforward_layernorm", ("d",)),
}


@dataclass(frozen=True)
class _Family:
    """How llama.cpp stores one architecture."""

    model_type: str
    architecture: str
    config: dict[str, Any]
    """What else holds for every model of the family."""
    block: Parts
    keys: dict[str, str]
    """Sizes of its own, beside ``_NUMBERS``: llama.cpp's name, and the config's."""
    norms_plus_one: bool
    """Whether 1 was added to the norms' weights."""
    rotary_pairs: bool
    """Whether rotary rows stand in pairs, side by side."""


_FAMILIES = {
    "llama": _Family(
        "llama",
        "LlamaForCausalLM",
        {"hidden_act": "silu"},
        _BLOCK,
        {},
        norms_plus_one=False,
        rotary_pairs=True,
    ),
    "gemma3": _Family(
        "gemma3_text",
        "Gemma3ForCausalLM",
        {
            "hidden_activation": "gelu_pytorch_tanh",
            "rope_local_base_freq": 10000.0,
            "sliding_window_pattern": 6,
        },
        _BLOCK | _SANDWICH,
        {"attention.sliding_window": "sliding_window"},
        norms_plus_one=True,
        rotary_pairs=False,
    ),
}
_NUMBERS = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "context_length": "max_position_embeddings",
}
_REALS = ("rms_norm_eps", "rope_theta")
_HEAD_SIZES = ("attention.key_length", "attention.value_length", "rope.dimension_count")


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def convert(source: Path, target: Path) -> Path:
    """Write ``source`` as a folder ``target`` of float32 safetensors, config and tokenizer.

    All or nothing: the folder appears under its name when it is whole. No more than one tensor is
    in memory at a time.

    Raises:
        ValueError: When the file breaks a rule of the format, or holds what is not supported.
        OSError: When the disk cannot hold the converted model.
    """
    if target.exists():
        return target
    file = read(source)
    family = _family(file.metadata)
    config = _config(file, family)
    parts = _parts(file, family, config)
    built, tokenizer_config = tokenizer(file.metadata)
    if len(file.metadata["tokenizer.ggml.tokens"]) != config["vocab_size"]:
        raise ValueError(f"its tokenizer has not {config['vocab_size']} tokens, as its embedding")
    _check_room(file, target.parent)
    with partial_folder(target.parent) as partial:
        _write_weights(partial / "model.safetensors", file, family, config, parts)
        (partial / "config.json").write_text(json.dumps(config, indent=1))
        built.save(str(partial / "tokenizer.json"))
        (partial / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=1))
        return settle(partial, target)


def _family(metadata: dict[str, Any]) -> _Family:
    if metadata.get("split.count", 1) != 1:
        raise ValueError("it is one of several shards; accepted: whole files")
    name = metadata.get("general.architecture")
    if not isinstance(name, str) or name not in _FAMILIES:
        raise ValueError(f"its architecture is {short(name)}; accepted: {', '.join(_FAMILIES)}")
    known = {*_NUMBERS, *_HEAD_SIZES, *_FAMILIES[name].keys, "vocab_size"}
    for key in metadata:
        if key.startswith(f"{name}.") and key.removeprefix(f"{name}.") not in known:
            raise ValueError(f"it sets {short(key)}, which is not supported")
    return _FAMILIES[name]


def _config(file: GgufFile, family: _Family) -> dict[str, Any]:
    """Return ``config.json``: sizes from the metadata, the vocabulary from the embedding."""
    metadata, name = file.metadata, file.metadata["general.architecture"]
    given = {key.removeprefix(f"{name}."): value for key, value in metadata.items()}
    given.setdefault("attention.head_count_kv", given.get("attention.head_count"))
    given.setdefault("rope.freq_base", 10000.0)
    config: dict[str, Any] = {
        "model_type": family.model_type,
        "architectures": [family.architecture],
    }
    for key, ours in (_NUMBERS | family.keys).items():
        config[ours] = _number(f"{name}.{key}", given.get(key), real=ours in _REALS)
    head = given.get("attention.key_length", config["hidden_size"] // config["num_attention_heads"])
    for key in _HEAD_SIZES:
        if _number(f"{name}.{key}", given.get(key, head), real=False) != head:
            raise ValueError(f"{name}.{key} is {given[key]}; accepted: the size of a head, {head}")
    if "attention.key_length" in given:
        config["head_dim"] = head
    if name == "gemma3":
        # As llama.cpp has it: only the model of 62 layers scales by another size.
        wide = config["hidden_size"] // config["num_attention_heads"]
        config["query_pre_attn_scalar"] = wide if config["num_hidden_layers"] == 62 else head
    embedding = file.tensors.get("token_embd.weight")
    return config | {
        "vocab_size": embedding.shape[0] if embedding else 0,
        "tie_word_embeddings": "output.weight" not in file.tensors,
        **family.config,
        "torch_dtype": "float32",
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
    }


def _number(key: str, value: Any, *, real: bool) -> float:
    if real and isinstance(value, float) and 0 < value < math.inf:
        return round(value, 12)
    if not real and type(value) is int and 1 <= value < 1 << 31:
        return value
    accepted = "a number above 0" if real else "a whole number from 1"
    raise ValueError(f"{key} is {short(value)}; accepted: {accepted}")


def _parts(file: GgufFile, family: _Family, config: dict[str, Any]) -> dict[str, str]:
    """Return the file's name of each tensor by the checkpoint's, in its order.

    Raises:
        ValueError: When the file lacks one, has another, or one is not of the shape it must have.
    """
    if config["num_hidden_layers"] > len(file.tensors):
        raise ValueError(f"it has {config['num_hidden_layers']} blocks, and fewer tensors")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim", config["hidden_size"] // heads)
    sizes = {
        "vocab": config["vocab_size"],
        "d": config["hidden_size"],
        "mlp": config["intermediate_size"],
        "head": head,
        "heads": heads * head,
        "kv_heads": kv_heads * head,
    }
    whole = _WHOLE if config["tie_word_embeddings"] else _WHOLE | _HEAD
    wanted = {f"{part}.weight": row for part, row in whole.items()}
    wanted |= {
        f"blk.{layer}.{part}.weight": (f"model.layers.{layer}.{ours}", shape)
        for layer in range(config["num_hidden_layers"])
        for part, (ours, shape) in family.block.items()
    }
    if odd := sorted(wanted.keys() ^ file.tensors.keys()):
        problem = "lacks" if odd[0] in wanted else "holds an unknown"
        raise ValueError(f"it {problem} tensor {short(odd[0])}")
    for name, (_, axes) in wanted.items():
        shape = tuple(sizes[axis] for axis in axes)
        if file.tensors[name].shape != shape:
            raise ValueError(
                f"{name} has shape {list(file.tensors[name].shape)}; accepted: {list(shape)}"
            )
    return dict(sorted((f"{ours}.weight", name) for name, (ours, _) in wanted.items()))


def _check_room(file: GgufFile, folder: Path) -> None:
    needed = 4 * sum(math.prod(tensor.shape) for tensor in file.tensors.values())
    if needed > (free := shutil.disk_usage(folder).free):
        raise OSError(
            f"{file.path} takes {needed / 1e9:.1f} GB in float32; {free / 1e9:.1f} GB are free"
        )


def _write_weights(
    target: Path, file: GgufFile, family: _Family, config: dict[str, Any], parts: dict[str, str]
) -> None:
    """Write a safetensors file, one tensor after the other."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    end = 0
    for ours, name in parts.items():
        shape = file.tensors[name].shape
        begin, end = end, end + 4 * math.prod(shape)
        header[ours] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for done, name in enumerate(parts.values()):
            report("converting weights", done, len(parts))
            out.write(_weights(file, name, family, config).data)


def _weights(file: GgufFile, name: str, family: _Family, config: dict[str, Any]) -> np.ndarray:
    """Return a tensor as Hugging Face has it: norms and rotary rows as they were before llama.cpp."""
    array = file.array(name)
    part = name.split(".")[-2]
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(part)
    if family.norms_plus_one and part.endswith("_norm"):
        array -= 1
    if family.rotary_pairs and heads:
        rows, columns = array.shape
        pairs = array.reshape(config[heads], rows // config[heads] // 2, 2, columns)
        array = np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows, columns)
    return array
