"""What each family's ``config.json`` may say (see ``config.py``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import mlx.nn as nn
from pydantic import Field, model_validator
from typing_extensions import override

from interp_core.models import schema
from interp_core.models.config import (
    Biased,
    Config,
    Layered,
    Projections,
    Rotary,
    Windowed,
)
from interp_core.models.rope import (
    DefaultRope,
    LongRope,
    Rope,
    RopeByKind,
    Share,
    YarnRope,
)
from interp_core.models.schema import Epsilon, Factor, Positions, Theta, Width

Silu = Literal["silu", "swish"]
TanhGelu = Literal["gelu_new", "gelu_pytorch_tanh", "gelu_fast"]


class Gpt2(Config):
    """GPT-2, whose sizes have names of their own."""

    hidden_size: Width = Field(alias="n_embd")
    num_hidden_layers: schema.Layers = Field(alias="n_layer")
    num_attention_heads: Width = Field(alias="n_head")
    max_position_embeddings: Positions = Field(1024, alias="n_positions")
    tie_word_embeddings: bool = True
    n_inner: Width | None = None
    layer_norm_epsilon: Epsilon = 1e-5
    activation_function: TanhGelu | Literal["relu"] = "gelu_new"
    scale_attn_weights: Literal[True] = True

    @override
    def arguments(self) -> dict[str, Any]:
        return super().arguments() | {"n_ctx": self.max_position_embeddings}


class GptNeoX(Rotary):
    """GPT-NeoX and Pythia, where a part of each head rotates."""

    hidden_act: Literal["gelu"] | TanhGelu = "gelu"
    layer_norm_eps: Epsilon = 1e-5
    use_parallel_residual: bool = True
    attention_bias: bool = True
    rotary_emb_base: Theta = 10_000
    rotary_pct: Share = 0.25
    partial_rotary_factor: Share | None = None

    @model_validator(mode="after")
    def _check_names(self) -> GptNeoX:
        for new, old in (
            ("rope_theta", "rotary_emb_base"),
            ("partial_rotary_factor", "rotary_pct"),
        ):
            if getattr(self, new) not in (None, getattr(self, old)):
                raise ValueError(f"{new} is {getattr(self, new)}; accepted: as {old} says")
        return self

    @property
    @override
    def theta(self) -> float:
        return self.rope.rope_theta or self.rotary_emb_base

    @property
    @override
    def share(self) -> float:
        return self.rope.partial_rotary_factor or self.rotary_pct

    @override
    def projections(self) -> Projections:
        d, bias = self.hidden_size, self.attention_bias
        return {"query_key_value": (d, 3 * d, bias), "dense": (d, d, bias)}


class Llama(Biased):
    """Llama."""

    hidden_act: Silu = "silu"
    mlp_bias: bool = False
    rope_interleaved: Literal[False] = False


class Olmo2(Biased):
    """OLMo 2."""

    hidden_act: Silu = "silu"
    rms_norm_eps: Epsilon = 1e-5


class Mistral(Windowed):
    """Mistral."""

    num_key_value_heads: Width | None = 8
    hidden_act: Silu = "silu"
    max_position_embeddings: Positions = 131_072


class Phi3(Windowed):
    """Phi-3, where a part of each head may rotate."""

    hidden_act: Silu = "silu"
    max_position_embeddings: Positions = 4096
    original_max_position_embeddings: Positions = 4096
    rms_norm_eps: Epsilon = 1e-5
    partial_rotary_factor: Share | None = None
    sliding_window: Positions | None = None
    full_attn_mod: Literal[1] = 1
    interpolate_factor: Literal[1] = 1

    @model_validator(mode="after")
    def _check_kind(self) -> Phi3:
        if self.rope.rope_type not in ("default", "longrope"):
            raise ValueError(f"rope is {self.rope.rope_type}; accepted for phi3: longrope")
        return self

    @property
    @override
    def rope(self) -> Rope:
        original = {"original_max_position_embeddings": self.original_max_position_embeddings}
        rope = super().rope
        return rope.model_copy(update=original) if isinstance(rope, LongRope) else rope

    @property
    @override
    def share(self) -> float:
        return self.rope.partial_rotary_factor or self.partial_rotary_factor or 1

    @override
    def projections(self) -> Projections:
        split = super().projections()
        width = sum(split[name][1] for name in ("q_proj", "k_proj", "v_proj"))
        return {"qkv_proj": (self.hidden_size, width, False), "o_proj": split["o_proj"]}


class Qwen(Layered):
    """What Qwen 2 and 3 share: windows from some layer on, where they are switched on."""

    hidden_act: Silu = "silu"
    num_key_value_heads: Width | None = 32
    max_position_embeddings: Positions = 32_768
    use_sliding_window: bool = False
    max_window_layers: Annotated[int, Field(ge=0, le=2**31 - 1)] = 28

    @property
    @override
    def window(self) -> int | None:
        return self.sliding_window if self.use_sliding_window else None

    @override
    def slides(self, layer: int) -> bool:
        return self.window is not None and layer >= self.max_window_layers


class Qwen2(Qwen):
    """Qwen 2, whose queries, keys and values always have biases."""

    @property
    @override
    def biases(self) -> tuple[bool, bool]:
        return True, False


class Qwen3(Qwen, Biased):
    """Qwen 3."""

    head_dim: Width | None = 128


class Gemma(Biased):
    """Gemma, whose every GELU is the tanh approximation, by whatever name."""

    num_key_value_heads: Width | None = 16
    head_dim: Width | None = 256
    hidden_act: Literal["gelu"] | TanhGelu = "gelu_pytorch_tanh"
    hidden_activation: Literal["gelu"] | TanhGelu | None = None
    max_position_embeddings: Positions = 8192
    tie_word_embeddings: bool = True


class Alternating(Layered, Biased):
    """What Gemma 2 and 3 share."""

    num_key_value_heads: Width | None = 4
    head_dim: Width | None = 256
    hidden_act: TanhGelu | None = None
    hidden_activation: TanhGelu = "gelu_pytorch_tanh"
    query_pre_attn_scalar: Factor = 256
    tie_word_embeddings: bool = True

    @property
    @override
    def attention_scale(self) -> float:
        return self.query_pre_attn_scalar**-0.5


class Gemma2(Alternating):
    """Gemma 2."""

    max_position_embeddings: Positions = 8192
    attn_logit_softcapping: Factor | None = 50.0
    final_logit_softcapping: Factor | None = 30.0

    @override
    def slides(self, layer: int) -> bool:
        return layer % 2 == 0


class Gemma3(Alternating):
    """Gemma 3 for text, whose layers with a window have a rotation of their own."""

    max_position_embeddings: Positions = 131_072
    sliding_window_pattern: Annotated[int, Field(ge=1, le=1024)] = 6
    rope_local_base_freq: Theta | None = None
    rope_parameters: RopeByKind | None = None

    @model_validator(mode="after")
    def _check_ropes(self) -> Gemma3:
        if self.rope_scaling and self.rope_parameters:
            raise ValueError("rope_scaling and rope_parameters are both there; accepted: one")
        if self.local.partial_rotary_factor not in (None, 1):
            raise ValueError("a part of a head rotates; accepted for gemma3_text: all of it")
        for rope in (self.rope, self.local):  # which the reference reads somewhere else
            if isinstance(rope, YarnRope) and not rope.truncate:
                raise ValueError("rope has truncate = False; accepted for gemma3_text: true")
        return self

    @property
    @override
    def rope(self) -> Rope:
        given = self.rope_parameters and self.rope_parameters.full_attention
        return self.rope_scaling or given or DefaultRope(rope_type="default")

    @property
    @override
    def theta(self) -> float:
        return self.rope.rope_theta or self.rope_theta or 1_000_000

    @property
    def local(self) -> Rope:
        """The rotation of layers with a window."""
        given = self.rope_parameters and self.rope_parameters.sliding_attention
        return given or DefaultRope(rope_type="default")

    @property
    @override
    def context(self) -> int:
        return self.local.exact_to(super().context)

    @override
    def slides(self, layer: int) -> bool:
        return (layer + 1) % self.sliding_window_pattern != 0

    @override
    def ropes(self) -> list[nn.Module | None]:
        theta = self.local.rope_theta or self.rope_local_base_freq or 10_000
        local = self.local.module(self.rotated, theta, self.max_position_embeddings)
        return [
            local if kind == "sliding_attention" else everywhere
            for kind, everywhere in zip(self.kinds(), super().ropes(), strict=True)
        ]


FAMILIES: dict[str, type[Config]] = {
    "llama": Llama,
    "mistral": Mistral,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
    "phi3": Phi3,
    "gemma": Gemma,
    "gemma2": Gemma2,
    "gemma3_text": Gemma3,
    "olmo2": Olmo2,
    "gpt2": Gpt2,
    "gpt_neox": GptNeoX,
}
"""By ``model_type``; the keys of ``ARCHITECTURES``."""
