"""What a ``config.json`` says, and what it means: the parts that families share.

Each class is an allow-list with bounds: what is no field of it is refused (``checkpoint.py``).
Defaults are those of transformers, and so is what follows from them: windows, rotations, biases.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import mlx.nn as nn
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import override

from interp_core.models import schema
from interp_core.models.rope import AnyRope, DefaultRope, Rope
from interp_core.models.schema import Epsilon, Positions, Theta, Width

LayerKind = Literal["full_attention", "sliding_attention"]
Projections = dict[str, tuple[int, int, bool]]


class Packing(schema.Strict):
    """How mlx-lm has packed a matrix."""

    group_size: Literal[16, 32, 64, 128] = 64
    bits: Literal[2, 3, 4, 5, 6, 8] = 4
    mode: Literal["affine", "mxfp4", "mxfp8", "nvfp4"] = "affine"


class Quantization(Packing):
    """How mlx-lm has packed a model; what is packed otherwise stands under its path."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Packing | bool]


class Config(schema.Strict):
    """What every family says."""

    model_type: str
    vocab_size: schema.Rows
    hidden_size: Width
    num_hidden_layers: schema.Layers
    num_attention_heads: Width
    max_position_embeddings: Positions = 2048
    tie_word_embeddings: bool = False
    quantization: Quantization | None = None

    @model_validator(mode="after")
    def _check_heads(self) -> Config:
        if self.d_head is None:
            raise ValueError(f"{self.num_attention_heads} heads do not divide {self.hidden_size}")
        return self

    @property
    def d_head(self) -> int | None:
        """A head's width; None where the heads do not divide the stream."""
        width, rest = divmod(self.hidden_size, self.num_attention_heads)
        return None if rest else width

    @property
    def context(self) -> int:
        """Longest input, in tokens."""
        return self.max_position_embeddings

    def windows(self) -> list[int | None]:
        """Return how many positions back each layer's attention sees; None for all."""
        return [None] * self.num_hidden_layers

    def ropes(self) -> list[nn.Module | None]:
        """Return each layer's rotation; None where positions are embedded."""
        return [None] * self.num_hidden_layers

    def projections(self) -> Projections:
        """Return attention's own: width in, width out and whether there is a bias, by name."""
        return {}

    def arguments(self) -> dict[str, Any]:
        """Return the config as mlx-lm's model reads it; windows and rotations are left to us."""
        return self.model_dump(by_alias=True)


class Rotary(Config):
    """A family whose positions are rotations of queries and keys."""

    intermediate_size: Width
    rope_theta: Theta | None = None
    rope_scaling: AnyRope = None
    rope_parameters: AnyRope = None

    @model_validator(mode="after")
    def _check_rotated(self) -> Rotary:
        if self.rotated < 2 or self.rotated % 2:
            raise ValueError(
                f"{self.rotated} dimensions of a head rotate; accepted: an even number"
            )
        return self

    @property
    def rope(self) -> Rope:
        """The rotation of layers without a window."""
        return self.rope_scaling or self.rope_parameters or DefaultRope(rope_type="default")

    @property
    def theta(self) -> float:
        """Its base."""
        return self.rope.rope_theta or self.rope_theta or 10_000

    @property
    def share(self) -> float:
        """How much of a head rotates."""
        share = self.rope.partial_rotary_factor
        if share not in (None, 1):
            raise ValueError(f"{share} of a head rotates; accepted for {self.model_type}: 1")
        return 1

    @property
    def rotated(self) -> int:
        """How many of a head's dimensions rotate."""
        return int(self.d_head * self.share)

    @property
    @override
    def context(self) -> int:
        return self.rope.exact_to(self.max_position_embeddings)

    @override
    def ropes(self) -> list[nn.Module | None]:
        one = self.rope.module(self.rotated, self.theta, self.max_position_embeddings)
        return [one] * self.num_hidden_layers

    @override
    def arguments(self) -> dict[str, Any]:
        plain = {"rope_scaling": None, "rope_parameters": None, "partial_rotary_factor": 1.0}
        return super().arguments() | plain | {"rope_theta": self.theta}


class Gated(Rotary):
    """The families with grouped heads of any width, gated MLPs and RMS norms."""

    num_key_value_heads: Width | None = None
    head_dim: Width | None = None
    rms_norm_eps: Epsilon = 1e-6

    @model_validator(mode="after")
    def _check_groups(self) -> Gated:
        if self.num_attention_heads % self.n_kv:
            raise ValueError(
                f"{self.n_kv} heads of keys do not divide {self.num_attention_heads} heads"
            )
        if self.num_attention_heads * self.d_head > schema.WIDEST:
            raise ValueError(f"all heads are wider than {schema.WIDEST:,} together")
        return self

    @property
    @override
    def d_head(self) -> int | None:
        return self.head_dim or super().d_head

    @property
    def n_kv(self) -> int:
        """How many heads keys and values have."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def attention_scale(self) -> float:
        """What queries are multiplied by."""
        return self.d_head**-0.5

    @property
    def biases(self) -> tuple[bool, bool]:
        """Whether queries, keys and values have a bias, and whether attention's output has."""
        return False, False

    @override
    def projections(self) -> Projections:
        d, heads = self.hidden_size, self.num_attention_heads * self.d_head
        inner, out = self.biases
        keys = (d, self.n_kv * self.d_head, inner)
        queries, back = (d, heads, inner), (heads, d, out)
        return {"q_proj": queries, "k_proj": keys, "v_proj": keys, "o_proj": back}

    @override
    def arguments(self) -> dict[str, Any]:
        return super().arguments() | {"num_key_value_heads": self.n_kv, "head_dim": self.d_head}


class Biased(Gated):
    """The families whose attention has biases where the config says so."""

    attention_bias: bool = False

    @property
    @override
    def biases(self) -> tuple[bool, bool]:
        return self.attention_bias, self.attention_bias


class Windowed(Gated):
    """A family some of whose layers see a number of positions only."""

    sliding_window: Positions | None = 4096

    @model_validator(mode="after")
    def _check_kinds(self) -> Windowed:
        kinds = self.kinds()
        if len(kinds) != self.num_hidden_layers:
            raise ValueError(f"layer_types names {len(kinds)} of {self.num_hidden_layers} layers")
        if "sliding_attention" in kinds and self.window is None:
            raise ValueError("layers have a window, but no sliding_window says how wide")
        return self

    @property
    def window(self) -> int | None:
        """How many positions such a layer sees; None where no layer is one."""
        return self.sliding_window

    def kinds(self) -> list[LayerKind]:
        """Return each layer's kind."""
        kind: LayerKind = "full_attention" if self.window is None else "sliding_attention"
        return [kind] * self.num_hidden_layers

    @override
    def windows(self) -> list[int | None]:
        return [self.window if kind == "sliding_attention" else None for kind in self.kinds()]

    @override
    def arguments(self) -> dict[str, Any]:
        none = {"layer_types": None, "sliding_window": None, "sliding_window_pattern": 1}
        return super().arguments() | none


class Layered(Windowed):
    """A family whose config may name every layer's kind."""

    layer_types: Annotated[list[LayerKind], Field(max_length=1024)] | None = None

    @override
    def kinds(self) -> list[LayerKind]:
        if self.layer_types is not None:
            return self.layer_types
        return [
            "sliding_attention" if self.slides(layer) else "full_attention"
            for layer in range(self.num_hidden_layers)
        ]

    def slides(self, layer: int) -> bool:
        """Return whether a layer has a window where the config does not name its kind."""
        raise NotImplementedError
