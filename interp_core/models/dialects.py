"""mlx-lm's models, mended where they differ from transformers.

What a family's config means stands in ``config.py`` and ``families.py``; :func:`build` gives an
mlx-lm model that computes it: with our rotations, projections as wide and as biased as the config
says, and the corrections below.
"""

from __future__ import annotations

import importlib
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import gemma, gemma2, gemma3_text, gpt2, gpt_neox

from interp_core.models.architectures import architecture
from interp_core.models.config import Config, Gated
from interp_core.models.families import Gemma2, Gpt2, GptNeoX

_MODULES = {"mistral": "llama"}


def build(config: Config) -> nn.Module:
    """Return the mlx-lm model that ``config`` describes; its random weights take no memory yet."""
    family, ropes = config.model_type, config.ropes()
    module = importlib.import_module(f"mlx_lm.models.{_MODULES.get(family, family)}")
    args = module.ModelArgs.from_dict(config.arguments())
    corrected = _CORRECTED.get(family)
    model = module.Model(args) if corrected is None else corrected(args, config)
    for layer, rope in zip(model.layers, ropes, strict=True):
        attention = getattr(layer, architecture(family).attn)
        for name, (width_in, width_out, bias) in config.projections().items():
            setattr(attention, name, nn.Linear(width_in, width_out, bias=bias))
        if isinstance(config, Gated):
            attention.head_dim, attention.scale = config.d_head, config.attention_scale
        if rope is not None:
            attention.rope = rope
    return model


def _untie(model: nn.Module, config: Config) -> None:
    if not config.tie_word_embeddings:
        model.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)


def _logits(model: nn.Module, embedding: nn.Embedding, hidden: mx.array) -> mx.array:
    head = model.lm_head if "lm_head" in model else embedding.as_linear
    return head(hidden)


class _ReluMLP(gpt2.MLP):
    def __call__(self, x: mx.array) -> mx.array:
        return self.c_proj(nn.relu(self.c_fc(x)))


class _Gpt2(gpt2.Model):
    """Reads weights with and without the ``transformer.`` prefix, any MLP width, ReLU, an untied head."""

    def __init__(self, args: gpt2.ModelArgs, config: Gpt2) -> None:
        super().__init__(args)
        width = config.n_inner or 4 * args.n_embd
        for layer in self.model.h:
            if config.activation_function == "relu":
                layer.mlp = _ReluMLP(args)
            layer.mlp.c_fc = nn.Linear(args.n_embd, width)
            layer.mlp.c_proj = nn.Linear(width, args.n_embd)
        _untie(self, config)

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        return _logits(self, self.model.wte, self.model(inputs, cache))

    def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        if any(name.startswith("model.") for name in weights):
            return weights  # an mlx-lm folder: transposed and renamed already
        bare = {name.removeprefix("transformer."): value for name, value in weights.items()}
        head = {name: bare.pop(name) for name in list(bare) if name.startswith("lm_head.")}
        return super().sanitize(bare) | head


class _ExactGeluMLP(gpt_neox.MLP):
    def __call__(self, x: mx.array) -> mx.array:
        return self.dense_4h_to_h(nn.gelu(self.dense_h_to_4h(x)))


class _GptNeoX(gpt_neox.Model):
    """Uses the exact GELU where the config does (mlx-lm approximates), any MLP width, a tied head."""

    def __init__(self, args: gpt_neox.ModelArgs, config: GptNeoX) -> None:
        super().__init__(args)
        self._tied = config.tie_word_embeddings
        exact, width = config.hidden_act == "gelu", config.intermediate_size
        for layer in self.model.h:
            layer.mlp = _ExactGeluMLP(args) if exact else layer.mlp
            layer.mlp.dense_h_to_4h = nn.Linear(args.hidden_size, width)
            layer.mlp.dense_4h_to_h = nn.Linear(width, args.hidden_size)

    def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        weights = super().sanitize(weights)
        if self._tied:
            tied = {n: v for n, v in weights.items() if n.startswith("model.embed_in.")}
            weights |= {n.replace("embed_in", "embed_out"): v for n, v in tied.items()}
        return weights


class _TanhGeluMLP(gemma.MLP):
    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(nn.gelu_approx(self.gate_proj(x)) * self.up_proj(x))


class _Gemma(gemma.Model):
    """Uses the tanh approximation of GELU, as the reference does for every Gemma; an untied head."""

    def __init__(self, args: gemma.ModelArgs, config: Config) -> None:
        super().__init__(args)
        for layer in self.model.layers:
            layer.mlp = _TanhGeluMLP(args.hidden_size, args.intermediate_size)
        _untie(self, config)

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        return _logits(self, self.model.embed_tokens, self.model(inputs, cache))


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
    """Attention through :func:`scaled_dot_product_attention`, so its pattern can be seen.

    Soft-caps may be null, and the head untied.
    """

    def __init__(self, args: gemma2.ModelArgs, config: Gemma2) -> None:
        super().__init__(args)
        for layer in self.model.layers:
            layer.self_attn = _Gemma2Attention(args)
        _untie(self, config)

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        logits = _logits(self, self.model.embed_tokens, self.model(inputs, cache))
        cap = self.final_logit_softcapping
        return logits if cap is None else mx.tanh(logits / cap) * cap


class _Gemma3(gemma3_text.Model):
    """An embedding scaled in its own precision; mlx-lm rounds the scale to bfloat16."""

    def __init__(self, args: gemma3_text.ModelArgs, config: Config) -> None:
        super().__init__(args)

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
