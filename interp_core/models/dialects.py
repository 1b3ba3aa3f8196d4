"""From checkpoints as they are found to models that agree with the reference.

Two things stand between a folder and mlx-lm: configs come in the forms of transformers 4 and 5,
and a few mlx-lm models depart from the reference implementation. :func:`normalise` brings every
config into the form mlx-lm reads; :func:`model_classes` returns mlx-lm's classes, corrected where
they differ from transformers.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import gemma, gemma2, gemma3_text, gpt2, gpt_neox
from mlx_lm.models.rope_utils import initialize_rope
from mlx_lm.utils import MODEL_REMAPPING

Config = dict[str, Any]

_SILU, _TANH_GELU = ("silu", "swish"), ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
_ACTIVATIONS = {
    **dict.fromkeys(["llama", "mistral", "qwen2", "qwen3", "olmo2", "phi3"], _SILU),
    **dict.fromkeys(["gemma", "gemma2", "gemma3_text"], (*_TANH_GELU, "gelu")),
    "gpt2": _TANH_GELU,
    "gpt_neox": ("gelu", *_TANH_GELU),
}
_NAMES_OF_ACTIVATION = ("hidden_activation", "hidden_act", "activation_function")
_UNSUPPORTED = {
    "scale_attn_by_inverse_layer_idx": "attention scaled by layer",
    "use_bidirectional_attention": "bidirectional attention",
    "num_local_experts": "a mixture of experts",
}
_REQUIRED = {"scale_attn_weights": "unscaled attention"}


def normalise(config: Config, weights: Collection[str]) -> Config:
    """Return ``config`` in the form mlx-lm reads, with windows and ties spelt out.

    ``weights`` are the names of the checkpoint's tensors: whether it holds an output head decides
    whether the embedding is tied when the config does not say. Adds ``windows``, one entry per
    layer: how many positions back its attention sees, or None for all.

    Raises:
        ValueError: When the config asks for something that would silently be computed wrongly.
    """
    config = dict(config)
    family = config["model_type"]
    for key, meaning in _UNSUPPORTED.items():
        if config.get(key):
            raise ValueError(f"config.json sets {key}: {meaning} is not supported")
    for key, meaning in _REQUIRED.items():
        if not config.get(key, True):
            raise ValueError(f"config.json unsets {key}: {meaning} is not supported")
    if family == "gemma3_text" and config.get("final_logit_softcapping"):
        raise ValueError("config.json caps gemma3's logits, which is not supported")
    activation = next((config[k] for k in _NAMES_OF_ACTIVATION if config.get(k)), None)
    if activation is not None and activation not in _ACTIVATIONS[family]:
        raise ValueError(
            f"config.json has activation {activation!r}; "
            f"supported for {family}: {', '.join(_ACTIVATIONS[family])}"
        )
    _flatten_rope(config, family)
    n_layers = config.get("num_hidden_layers", config.get("n_layer"))
    if not isinstance(n_layers, int) or n_layers < 1:
        raise ValueError("config.json does not say how many layers the model has")
    config["windows"] = _windows(config, family, n_layers)
    # Windows are ours to apply; mlx-lm's own handling of them, where it has one, is put to rest.
    config["layer_types"], config["sliding_window_pattern"] = None, 1
    has_head = any(name.endswith(("lm_head.weight", "embed_out.weight")) for name in weights)
    config["tie_word_embeddings"] = not has_head or bool(config.get("tie_word_embeddings", False))
    if family == "gpt2":
        config.setdefault("n_ctx", config.get("n_positions"))
    if family.startswith("qwen3"):
        config.setdefault("head_dim", 128)
    return config


def _flatten_rope(config: Config, family: str) -> None:
    """Bring transformers 5's ``rope_parameters`` into the keys of transformers 4."""
    rope = config.pop("rope_parameters", None) or {}
    if "sliding_attention" in rope or "full_attention" in rope:
        local = rope.get("sliding_attention") or {}
        rope = rope.get("full_attention") or {}
        if "rope_theta" in local:
            config["rope_local_base_freq"] = local["rope_theta"]
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in rope:
            config[key] = rope[key]
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = {**rope, "type": rope["rope_type"]}
    elif (config.get("rope_scaling") or {}).get("rope_type") == "default":
        config["rope_scaling"] = None
    if family == "gpt_neox":
        config.setdefault("rotary_emb_base", config.get("rope_theta", 10000))
        config.setdefault("rotary_pct", config.get("partial_rotary_factor", 0.25))


def _windows(config: Config, family: str, n_layers: int) -> list[int | None]:
    window = config.get("sliding_window")
    if not window or (family.startswith("qwen") and not config.get("use_sliding_window", False)):
        return [None] * n_layers
    kinds = config.get("layer_types")
    if kinds:
        slides = [kind == "sliding_attention" for kind in kinds]
    elif family in ("mistral", "phi3"):
        slides = [True] * n_layers
    elif family.startswith("qwen"):
        first = config.get("max_window_layers", n_layers)
        slides = [layer >= first for layer in range(n_layers)]
    elif family == "gemma2":
        slides = [layer % 2 == 0 for layer in range(n_layers)]
    elif family == "gemma3_text":
        period = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
        slides = [(layer + 1) % period != 0 for layer in range(n_layers)]
    else:
        slides = [False] * n_layers
    return [window if slide else None for slide in slides]


def model_classes(config: Config) -> tuple[type[nn.Module], type]:
    """Return the model class and its arguments' class, in the form ``mlx_lm.load_model`` asks."""
    family = config["model_type"]
    module = importlib.import_module(f"mlx_lm.models.{MODEL_REMAPPING.get(family, family)}")
    model = _CORRECTED.get(family)
    if model is None:
        return module.Model, module.ModelArgs

    def build(args: Any) -> nn.Module:
        return model(args, config)

    return build, module.ModelArgs  # type: ignore[return-value]


class _Gpt2(gpt2.Model):
    """Reads weights with and without the ``transformer.`` prefix, any MLP width, an untied head."""

    def __init__(self, args: gpt2.ModelArgs, config: Config) -> None:
        super().__init__(args)
        width = config.get("n_inner") or 4 * args.n_embd
        for layer in self.model.h:
            layer.mlp.c_fc = nn.Linear(args.n_embd, width)
            layer.mlp.c_proj = nn.Linear(width, args.n_embd)
        if not config["tie_word_embeddings"]:
            self.lm_head = nn.Linear(args.n_embd, args.vocab_size, bias=False)

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        hidden = self.model(inputs, cache)
        head = self.lm_head if "lm_head" in self else self.model.wte.as_linear
        return head(hidden)

    def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        if any(name.startswith("model.") for name in weights):
            return weights  # an mlx-lm folder: transposed and renamed already
        bare = {name.removeprefix("transformer."): value for name, value in weights.items()}
        head = bare.pop("lm_head.weight", None)
        masks = (".attn.bias", ".attn.masked_bias")
        renamed = super().sanitize({n: v for n, v in bare.items() if not n.endswith(masks)})
        if head is not None and "lm_head" in self:
            renamed["lm_head.weight"] = head
        return renamed


class _ExactGeluMLP(gpt_neox.MLP):
    def __call__(self, x: mx.array) -> mx.array:
        return self.dense_4h_to_h(nn.gelu(self.dense_h_to_4h(x)))


class _GptNeoX(gpt_neox.Model):
    """Uses the exact GELU where the config does (mlx-lm approximates), any MLP width, a tied head."""

    def __init__(self, args: gpt_neox.ModelArgs, config: Config) -> None:
        super().__init__(args)
        self._tied = config["tie_word_embeddings"]
        exact = config.get("hidden_act", "gelu") == "gelu"
        width = config.get("intermediate_size") or 4 * args.hidden_size
        for layer in self.model.h:
            layer.mlp = _ExactGeluMLP(args) if exact else layer.mlp
            layer.mlp.dense_h_to_4h = nn.Linear(args.hidden_size, width)
            layer.mlp.dense_4h_to_h = nn.Linear(width, args.hidden_size)

    def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        weights = super().sanitize(weights)
        if self._tied:
            weights["model.embed_out.weight"] = weights["model.embed_in.weight"]
        return weights


class _TanhGeluMLP(gemma.MLP):
    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(nn.gelu_approx(self.gate_proj(x)) * self.up_proj(x))


class _Gemma(gemma.Model):
    """Uses the tanh approximation of GELU, as the reference does for every Gemma."""

    def __init__(self, args: gemma.ModelArgs, config: Config) -> None:
        super().__init__(args)
        for layer in self.model.layers:
            layer.mlp = _TanhGeluMLP(args.hidden_size, args.intermediate_size)


def scaled_dot_product_attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Any,
    scale: float,
    mask: Any,
    softcap: float | None = None,
) -> mx.array:
    """Attention with capped logits, ``[batch, head, pos, d_head]``, for a boolean ``mask``."""
    batch, n_heads, length, d_head = queries.shape
    grouped = (queries * scale).reshape(batch, keys.shape[1], -1, length, d_head)
    scores = grouped @ keys[:, :, None].swapaxes(-1, -2)
    if softcap is not None:
        scores = mx.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = mx.where(mask, scores, mx.finfo(scores.dtype).min)
    weights = mx.softmax(scores, axis=-1, precise=True)
    return (weights @ values[:, :, None]).reshape(batch, n_heads, length, -1)


class _Gemma2Attention(gemma2.Attention):
    """mlx-lm's attention with its softmax in a function of its own, as other families have it."""

    def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        batch, length, _ = x.shape

        def heads(projected: mx.array) -> mx.array:
            return projected.reshape(batch, length, -1, self.head_dim).transpose(0, 2, 1, 3)

        queries, keys, values = map(heads, (self.q_proj(x), self.k_proj(x), self.v_proj(x)))
        offset = 0 if cache is None else cache.offset
        queries, keys = self.rope(queries, offset=offset), self.rope(keys, offset=offset)
        if cache is not None:
            keys, values = cache.update_and_fetch(keys, values)
        out = scaled_dot_product_attention(
            queries,
            keys,
            values,
            cache=cache,
            scale=self.scale,
            mask=mask,
            softcap=self.attn_logit_softcapping,
        )
        return self.o_proj(out.transpose(0, 2, 1, 3).reshape(batch, length, -1))


class _Gemma2(gemma2.Model):
    """Runs attention through :func:`scaled_dot_product_attention`, so its pattern can be seen."""

    def __init__(self, args: gemma2.ModelArgs, config: Config) -> None:
        super().__init__(args)
        for layer in self.model.layers:
            layer.self_attn = _Gemma2Attention(args)


class _Gemma3(gemma3_text.Model):
    """Local layers wherever the config has them, and an embedding scaled in its own precision.

    mlx-lm expects one global layer at a fixed period, and rounds the scale to bfloat16.
    """

    def __init__(self, args: gemma3_text.ModelArgs, config: Config) -> None:
        super().__init__(args)
        for layer, window in zip(self.model.layers, config["windows"], strict=True):
            if window is not None:
                layer.self_attn.rope = initialize_rope(
                    args.head_dim, args.rope_local_base_freq, traditional=False
                )

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:  # type: ignore[override]
        hidden = self.model.embed_tokens(inputs)
        scale = self.args.hidden_size**0.5
        rounded = mx.array(scale, mx.bfloat16).astype(hidden.dtype)
        return super().__call__(inputs, cache, input_embeddings=hidden * (scale / rounded))


_CORRECTED = {
    "gpt2": _Gpt2,
    "gpt_neox": _GptNeoX,
    "gemma": _Gemma,
    "gemma2": _Gemma2,
    "gemma3_text": _Gemma3,
}
