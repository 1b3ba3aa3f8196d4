"""The layouts of others' dictionaries: SAELens, sparsify, dictionary_learning, Gemma Scope.

Each becomes weights that apply to activations as the model has them, by SAELens's names. Whatever a layout
may say that is not known to be computed as its own library does is refused by name.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from interp_core import torch_files
from interp_core.papers.sparse_autoencoder.dictionary import (
    ARCHITECTURES,
    Card,
    Dictionary,
    checked,
    site_of,
)
from interp_core.paths import open_regular

LARGEST = 1 << 30
"""Bytes of a file, at most."""
Tensors = dict[str, np.ndarray]


def content(path: Path) -> bytes:
    """Return what a file holds."""
    with open_regular(path, LARGEST) as file:
        return file.read()


def _json(path: Path) -> dict[str, Any]:
    with open_regular(path, 1 << 20) as file:
        found = json.loads(file.read())
    if not isinstance(found, dict):
        raise ValueError(f"its {path.name} is no object")
    return found


def _made(card: dict[str, Any], tensors: Tensors, by: str) -> Dictionary:
    """Return a dictionary of what a layout says; what it does not say of the model is left open."""
    weights = {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}
    if "W_enc" not in weights or weights["W_enc"].ndim != 2:
        raise ValueError("it has no encoder")
    d_in, d_sae = weights["W_enc"].shape
    rest: dict[str, Any] = {"model_sha256": "", "d_model": 0, "n_layers": 0, "made": f"by {by}"}
    whole = Card(**card, **rest, d_in=d_in, d_sae=d_sae)
    return Dictionary(whole, checked(whole, weights))


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _number(config: dict[str, Any], name: str) -> int:
    value = config.get(name)
    if type(value) is not int or not 0 <= value < 1 << 24:
        raise ValueError(f"its config says {name} = {str(value)[:40]!r}; expected: a number")
    return value


def saelens(folder: Path) -> Dictionary:
    """Return a dictionary of SAELens, of version 6 or before.

    Raises:
        ValueError: When it is of an architecture or a scaling that is not read.
    """
    config = _json(folder / "cfg.json")
    meta = config.get("metadata") if isinstance(config.get("metadata"), dict) else {}
    assert isinstance(meta, dict)
    said = {**config, **meta}
    hook = said.get("hook_name", said.get("hook_point"))
    part, layer = site_of(_text(hook))
    kind = said.get("architecture", "standard")
    k = said.get("k", (said.get("activation_fn_kwargs") or {}).get("k"))
    if said.get("activation_fn", said.get("activation_fn_str")) == "topk":
        kind = "topk"
    if kind not in ARCHITECTURES:
        raise ValueError(f"its architecture is {kind!r:.40}; accepted: {', '.join(ARCHITECTURES)}")
    scaling = said.get("normalize_activations", "none")
    if scaling not in ("none", False, None):
        raise ValueError(
            f"its inputs are scaled by {scaling!r:.60}, by a factor that the file does not hold; accepted: "
            "none, as SAELens 6 saves after folding it in"
        )
    tensors = load(content(folder / "sae_weights.safetensors"))
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    if "log_threshold" in tensors:
        tensors["threshold"] = np.exp(tensors.pop("log_threshold"))
    factor = tensors.pop("scaling_factor", None)
    if factor is not None and not np.all(factor == 1):
        tensors["W_dec"] = tensors["W_dec"] * factor[:, None]
    if kind == "topk" and said.get("rescale_acts_by_decoder_norm"):
        norms = np.linalg.norm(tensors["W_dec"], axis=1)
        tensors["W_enc"], tensors["b_enc"] = tensors["W_enc"] * norms, tensors["b_enc"] * norms
        tensors["W_dec"] = tensors["W_dec"] / np.maximum(norms, 1e-30)[:, None]
    for name in ("d_in", "d_sae"):
        shape = tensors["W_enc"].shape if "W_enc" in tensors else (0, 0)
        if name in said and said[name] != shape[name == "d_sae"]:
            raise ValueError(
                f"its cfg.json says {name} = {said[name]!r:.20}, and its weights {shape}"
            )
    card = {
        "model": _text(said.get("model_name")),
        "part": part,
        "layer": layer,
        "architecture": kind,
        "k": int(k) if kind == "topk" and type(k) is int else 0,
        "centred": bool(said.get("apply_b_dec_to_input", True)),
    }
    return _made(card, tensors, "SAELens")


def sparsify(folder: Path) -> Dictionary:
    """Return a dictionary of sparsify, whose folder is named after its hookpoint.

    ``W_dec`` is [latent, d_in] as it stands; SAELens's own converter turns it.

    Raises:
        ValueError: When it is a transcoder, skips, or has another activation than ``topk``.
    """
    config = _json(folder / "cfg.json")
    for name in ("transcode", "skip_connection"):
        if config.get(name):
            raise ValueError(f"its cfg.json says {name}; accepted: autoencoders of one site")
    if config.get("activation", "topk") != "topk" or config.get("signed"):
        raise ValueError(f"its activation is {config.get('activation')!r:.40}; accepted: topk")
    match = re.fullmatch(r"(?:model\.)?(?:layers|h)\.(\d{1,3})(\.mlp)?", folder.name)
    if match is None:
        raise ValueError(f"its folder is {folder.name[:40]!r}; accepted: layers.K or layers.K.mlp")
    k = _number(config, "k")
    held = load(content(folder / "sae.safetensors"))
    tensors = {
        "W_enc": _of(held, "encoder.weight").T,
        "b_enc": _of(held, "encoder.bias"),
        "W_dec": _of(held, "W_dec"),
        "b_dec": _of(held, "b_dec"),
    }
    card = {
        "model": "",
        "part": "mlp_out" if match[2] else "resid_post",
        "layer": int(match[1]),
        "architecture": "topk",
        "k": k,
    }
    return _made(card, tensors, "sparsify")


def _of(tensors: Tensors, name: str) -> np.ndarray:
    if name not in tensors:
        raise ValueError(f"it has no {name}")
    return tensors[name]


_SUBMODULES = {"resid_post": "resid_post", "mlp_out": "mlp_out", "attn_out": "attn_out"}


def dictionary_learning(folder: Path) -> Dictionary:
    """Return a dictionary of dictionary_learning, whose tensors are read and nothing is run.

    Raises:
        ValueError: When it is of an unknown class, or of another submodule than is read.
    """
    trainer = _json(folder / "config.json").get("trainer")
    if not isinstance(trainer, dict):
        raise ValueError("its config.json has no trainer")
    held = torch_files.read(folder / "ae.pt")
    kind, layer = _text(trainer.get("dict_class")), _number(trainer, "layer")
    named = _text(trainer.get("submodule_name"))
    part = next((part for start, part in _SUBMODULES.items() if named.startswith(start)), "")
    if not part:
        raise ValueError(f"its submodule is {named[:60]!r}; accepted: {', '.join(_SUBMODULES)}")
    card = {"model": _text(trainer.get("lm_name")), "part": part, "layer": layer}
    linear = {"W_enc": "encoder.weight", "W_dec": "decoder.weight"}
    turned = {name: _of(held, own).T for name, own in linear.items() if own in held}
    match kind:
        case "AutoEncoder":
            rest = {"b_enc": _of(held, "encoder.bias"), "b_dec": _of(held, "bias")}
            card |= {"architecture": "standard"}
        case "AutoEncoderNew":
            rest = {"b_enc": _of(held, "encoder.bias"), "b_dec": _of(held, "decoder.bias")}
            card |= {"architecture": "standard", "centred": False}
        case "GatedAutoEncoder":
            rest = {"b_dec": _of(held, "decoder_bias"), "b_gate": _of(held, "gate_bias")}
            rest |= {"b_mag": _of(held, "mag_bias"), "r_mag": _of(held, "r_mag")}
            card |= {"architecture": "gated"}
        case "AutoEncoderTopK":
            rest = {"b_enc": _of(held, "encoder.bias"), "b_dec": _of(held, "b_dec")}
            card |= {"architecture": "topk", "k": int(_of(held, "k"))}
        case "BatchTopKSAE":
            rest = {"b_enc": _of(held, "encoder.bias"), "b_dec": _of(held, "b_dec")}
            rest |= {"threshold": _constant(held, len(rest["b_enc"]))}
            card |= {"architecture": "jumprelu"}
        case "MatryoshkaBatchTopKSAE":
            turned = {name: _of(held, name) for name in ("W_enc", "W_dec")}
            rest = {name: _of(held, name) for name in ("b_enc", "b_dec")}
            rest |= {"threshold": _constant(held, len(rest["b_enc"]))}
            card |= {"architecture": "jumprelu"}
        case "JumpReluAutoEncoder":
            turned = {name: _of(held, name) for name in ("W_enc", "W_dec")}
            rest = {name: _of(held, name) for name in ("b_enc", "b_dec", "threshold")}
            card |= {"architecture": "jumprelu", "centred": False}
        case _:
            raise ValueError(f"its class is {kind[:40]!r}, which is not read")
    return _made(card, turned | rest, "dictionary_learning")


def _constant(held: Tensors, latents: int) -> np.ndarray:
    threshold = float(_of(held, "threshold"))
    if threshold < 0:
        raise ValueError("its threshold was never set, so it was not trained to an end")
    return np.full(latents, threshold, np.float32)


def gemma_scope(folder: Path) -> Dictionary:
    """Return a dictionary of the first Gemma Scope, of the residual stream after a layer.

    Raises:
        ValueError: When its path names no layer, or a tensor is missing.
    """
    file = folder / "params.npz"
    with open_regular(file, LARGEST) as opened:
        if sum(member.file_size for member in zipfile.ZipFile(opened).infolist()) > 2 * LARGEST:
            raise ValueError("it says that it holds more than 2 GB")
        opened.seek(0)
        held = {name.lower(): value for name, value in np.load(opened, allow_pickle=False).items()}
    match = next(
        (m for m in map(re.compile(r"layer_(\d{1,3})").fullmatch, folder.parts) if m), None
    )
    if match is None:
        raise ValueError("its path has no folder layer_K, so its site is not known")
    card = {"model": "", "part": "resid_post", "layer": int(match[1])}
    return _made(card | _JUMP, _lower(held), "Gemma Scope")


_JUMP = {"architecture": "jumprelu", "centred": False}
_POINTS = {
    "output": "resid_post",
    "post_attention_layernorm.output": "attn_out",
    "post_feedforward_layernorm.output": "mlp_out",
    "self_attn.o_proj.input": "z",
}


def gemma_scope_2(folder: Path) -> Dictionary:
    """Return a dictionary of Gemma Scope 2.

    Raises:
        ValueError: When it is a transcoder, or of a point of the model that is not read.
    """
    config = _json(folder / "config.json")
    if config.get("architecture") not in ("jump_relu", "jumprelu"):
        raise ValueError(
            f"its architecture is {config.get('architecture')!r:.40}; accepted: jump_relu"
        )
    point, out = (_text(config.get(f"hf_hook_point_{end}")) for end in ("in", "out"))
    match = re.fullmatch(r"model\.layers\.(\d{1,3})\.(.+)", point)
    if match is None or match[2] not in _POINTS or out not in ("", point):
        raise ValueError(
            f"it reads {point[:60]!r} and writes {out[:60]!r}; accepted: one of "
            f"{', '.join('model.layers.K.' + each for each in _POINTS)}, both"
        )
    held = load(content(folder / "params.safetensors"))
    if "affine_skip_connection" in held:
        raise ValueError("it has an affine_skip_connection; accepted: autoencoders of one site")
    card = {
        "model": _text(config.get("model_name")),
        "part": _POINTS[match[2]],
        "layer": int(match[1]),
    }
    return _made(card | _JUMP, _lower(held), "Gemma Scope 2")


def _lower(held: Tensors) -> Tensors:
    names = {"W_enc": "w_enc", "W_dec": "w_dec", "b_enc": "b_enc", "b_dec": "b_dec"}
    names |= {"threshold": "threshold"}
    return {name: _of(held, own).astype(np.float32) for name, own in names.items()}
