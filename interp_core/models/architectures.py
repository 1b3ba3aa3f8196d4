"""What each supported family calls the parts of its residual stream."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """Dotted paths into an mlx-lm model: the first four from the model, the rest from a layer."""

    layers: str = "model.layers"
    embed: str = "model.embed_tokens"
    norm: str = "model.norm"
    head: str = "lm_head"
    attn: str = "self_attn"
    attn_norm: str | None = "input_layernorm"
    attn_out_norm: str | None = None
    """A norm of what attention writes, before it is added to the stream."""
    attn_proj: str = "o_proj"
    mlp_norm: str | None = "post_attention_layernorm"
    mlp_out_norm: str | None = None
    mlp_proj: str = "down_proj"
    """The MLP's way back to the stream, inside ``layer.mlp``."""
    positions: str | None = None
    """An embedding of positions, added to that of tokens."""
    scaled_embedding: bool = False
    """Whether the token embedding is multiplied by sqrt(d_model) as it enters the stream."""


_LLAMA = Arch()
_SANDWICH = Arch(
    attn_out_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_out_norm="post_feedforward_layernorm",
    scaled_embedding=True,
)

ARCHITECTURES: dict[str, Arch] = {
    **dict.fromkeys(["llama", "mistral", "qwen2", "qwen3", "phi3"], _LLAMA),
    "gemma": Arch(scaled_embedding=True),
    **dict.fromkeys(["gemma2", "gemma3_text"], _SANDWICH),
    "olmo2": Arch(
        attn_norm=None,
        attn_out_norm="post_attention_layernorm",
        mlp_norm=None,
        mlp_out_norm="post_feedforward_layernorm",
    ),
    "gpt2": Arch(
        layers="model.h",
        embed="model.wte",
        norm="model.ln_f",
        attn="attn",
        attn_norm="ln_1",
        attn_proj="c_proj",
        mlp_norm="ln_2",
        mlp_proj="c_proj",
        positions="model.wpe",
    ),
    "gpt_neox": Arch(
        layers="model.h",
        embed="model.embed_in",
        norm="model.final_layer_norm",
        head="model.embed_out",
        attn="attention",
        attn_proj="dense",
        mlp_proj="dense_4h_to_h",
    ),
}
"""Supported ``model_type``s of a checkpoint's ``config.json``."""


def architecture(model_type: str) -> Arch:
    """Return the names of a family's parts.

    Raises:
        ValueError: When the family is not supported; the message lists those that are.
    """
    try:
        return ARCHITECTURES[model_type]
    except KeyError:
        supported = ", ".join(ARCHITECTURES)
        raise ValueError(
            f"model_type {model_type!r} is not supported; supported: {supported}"
        ) from None
