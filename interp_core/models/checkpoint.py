"""A folder's config and weights, each checked before memory is taken for what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from interp_core.models import safetensors_header
from interp_core.models.architectures import architecture
from interp_core.models.config import Config
from interp_core.models.families import FAMILIES
from interp_core.models.schema import read_json, short, validate

Shapes = Mapping[str, Sequence[int]]

_INERT = frozenset(
    [
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_name_or_path",
        "_sliding_window_pattern",
        "architectures",
        "attention_dropout",
        "attn_implementation",
        "attn_pdrop",
        "auto_map",
        "bos_token_id",
        "cache_implementation",
        "classifier_dropout",
        "do_sample",
        "dtype",
        "embd_pdrop",
        "eos_token_id",
        "gradient_checkpointing",
        "hidden_dropout",
        "id2label",
        "initializer_range",
        "is_decoder",
        "is_llama_config",
        "label2id",
        "max_length",
        "max_new_tokens",
        "model_max_length",
        "n_ctx",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "pretraining_tp",
        "reorder_and_upcast_attn",
        "resid_pdrop",
        "return_dict",
        "sep_token_id",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "task_specific_params",
        "temperature",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torch_dtype",
        "transformers.js_config",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
        "use_cache",
    ]
)
"""Keys that change no number of a forward pass, whatever they say."""

_HEADS = ("lm_head.", "embed_out.")
_BUFFERS = (".rotary_emb.inv_freq", ".attn.bias", ".attention.bias", ".masked_bias")
"""What old checkpoints hold besides weights: tables that the reference computes anew."""


def read_config(folder: Path) -> Config:
    """Return a folder's config, which agrees with the shapes of its tensors.

    Raises:
        ValueError: In one line, for a family that is not supported, a key that is not known to be
            computed as transformers does, a value out of bounds, or sizes that the tensors lack.
    """
    file, found = folder / "config.json", _shapes(folder)
    if not file.exists():
        raise ValueError(f"{folder} has no config.json; accepted: a Hugging Face folder")
    raw = read_json(file)
    family = raw.get("model_type")
    if not isinstance(family, str):
        raise ValueError(f"{file} names no model_type")
    architecture(family)
    schema = FAMILIES[family]
    said = _known(raw, {field.alias or name for name, field in schema.model_fields.items()})
    has_head = any(name.removeprefix("model.").startswith(_HEADS) for name in found)
    if said.get("tie_word_embeddings") is None:
        said.pop("tie_word_embeddings", None)
        said |= {} if has_head else {"tie_word_embeddings": True}
    config = validate(schema, said, "config.json")
    if not (config.tie_word_embeddings or has_head):
        raise ValueError("config.json unties the output head, but the weights hold none")
    _compare(config, found)
    return config


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a folder, from the files' headers, which are checked.

    Raises:
        ValueError: When there are no safetensors files, or one is not whole.
    """
    found: dict[str, tuple[int, ...]] = {}
    for file in _weight_files(folder):
        found |= safetensors_header.shapes(file)
    return found


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a folder's weights.

    Raises:
        ValueError: When there are none.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise ValueError(
            f"{folder} holds no model*.safetensors; weights are read from safetensors or GGUF, "
            "never unpickled"
        )
    return files


def _known(raw: Mapping[str, Any], fields: set[str]) -> dict[str, Any]:
    """Return what the family's schema knows, having refused what may change a number."""
    said = {key: value for key, value in raw.items() if key in fields}
    packed = raw.get("quantization_config")
    if packed and packed != raw.get("quantization"):
        method = packed.get("quant_method") if isinstance(packed, dict) else packed
        raise ValueError(
            f"config.json has quantization_config {short(method)}; accepted: mlx-lm's quantization"
        )
    for key in raw.keys() - fields - _INERT - {"quantization_config"}:
        if raw[key] not in (None, False, "", [], {}):
            raise ValueError(
                f"config.json sets {short(key)} to {short(raw[key])}, which is not known to be "
                f"computed rightly for {raw['model_type']}; accepted: null, or no such key"
            )
    return said


def _compare(config: Config, found: Shapes) -> None:
    """Compare the numbers of layers and tokens, which bound all that will be built."""
    layers = {int(n) for name in found for n in re.findall(r"(?:^|\.)(?:layers|h)\.(\d+)\.", name)}
    if layers != set(range(config.num_hidden_layers)):
        raise ValueError(
            f"config.json has {config.num_hidden_layers} layers, the weights {len(layers)}"
        )
    name = architecture(config.model_type).embed.rpartition(".")[2] + ".weight"
    rows = [shape for key, shape in found.items() if key.endswith(name) and len(shape) == 2]
    if len(rows) != 1:
        raise ValueError(f"the weights hold no {name}")
    if rows[0][0] != config.vocab_size:
        raise ValueError(
            f"config.json has vocab_size = {config.vocab_size}, the weights {rows[0][0]} tokens"
        )


def load_weights(model: nn.Module, config: Config, folder: Path) -> None:
    """Put a folder's weights into an mlx-lm model, packed where they are.

    Raises:
        ValueError: When a weight is missing, unknown, or of another shape or kind than the
            config asks; nothing has been read by then but headers.
    """
    weights: dict[str, mx.array] = {}
    for file in _weight_files(folder):
        weights |= mx.load(str(file))  # type: ignore[arg-type]  # safetensors give a dict
    tied = config.tie_word_embeddings
    weights = {
        name: value
        for name, value in weights.items()
        if not name.endswith(_BUFFERS)
        and not (tied and name.removeprefix("model.").startswith(_HEADS))
    }
    weights = model.sanitize(weights) if hasattr(model, "sanitize") else weights
    if config.quantization is not None:
        _pack(model, config, weights)
    _check(dict(tree_flatten(model.parameters())), weights)
    model.load_weights(list(weights.items()))
    mx.eval(model.parameters())
    model.eval()


def _pack(model: nn.Module, config: Config, weights: Mapping[str, mx.array]) -> None:
    from mlx_lm.utils import infer_quant_config

    packing = config.quantization
    assert packing is not None

    def how(path: str, module: nn.Module) -> bool | dict[str, Any]:
        said = (packing.__pydantic_extra__ or {}).get(path)
        if said is not None:
            return said if isinstance(said, bool) else said.model_dump()
        if not hasattr(module, "to_quantized") or f"{path}.scales" not in weights:
            return False
        return infer_quant_config(path, module, dict(weights))

    nn.quantize(model, packing.group_size, packing.bits, mode=packing.mode, class_predicate=how)


def _check(expected: Mapping[str, mx.array], weights: Mapping[str, mx.array]) -> None:
    """Raise a ValueError unless the weights are those that the config asks for."""
    if missing := sorted(expected.keys() - weights.keys()):
        raise ValueError(f"the weights lack {missing[0]}{_more(missing)}")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise ValueError(
            f"the weights hold {short(unknown[0])}{_more(unknown)}, which config.json asks nothing of"
        )
    for name, value in sorted(weights.items()):
        asked = expected[name]
        if value.shape != asked.shape:
            raise ValueError(
                f"{name} has shape {value.shape} in the weights, {asked.shape} by config.json"
            )
        if _kind(value) != _kind(asked):
            raise ValueError(f"{name} holds {_kind(value)}; accepted: {_kind(asked)}")


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _kind(array: mx.array) -> str:
    if mx.issubdtype(array.dtype, mx.floating):
        return "floating point"
    return str(array.dtype).removeprefix("mlx.core.")
