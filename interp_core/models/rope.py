"""Rotary positions as the reference has them: each kind's keys, and what it computes from them.

Frequencies and factors follow ``transformers.modeling_rope_utils``; mlx-lm departs from it in
YaRN's attention factor and in LongRoPE's choice of factors, and leaves scaling out of some families.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from interp_core.models.schema import Factor, Positions, Strict, Theta

Share = Annotated[float, Field(gt=0, le=1)]


class Rope(Strict):
    """Rotary positions without scaling; the keys that every kind has."""

    rope_type: str
    rope_theta: Theta | None = None
    partial_rotary_factor: Share | None = None

    def exact_to(self, context: int) -> int:
        """Return how many positions of ``context`` have the same frequencies, however many run."""
        return context

    def module(self, dims: int, theta: float, context: int) -> nn.Module:
        """Return the rotation of ``dims`` dimensions, for a model of ``context`` positions."""
        return nn.RoPE(dims, base=theta)


class DefaultRope(Rope):
    """No scaling."""

    rope_type: Literal["default"]


class LinearRope(Rope):
    """Positions divided by a factor."""

    rope_type: Literal["linear"]
    factor: Factor

    def module(self, dims: int, theta: float, context: int) -> nn.Module:
        """See :meth:`Rope.module`."""
        return nn.RoPE(dims, base=theta, scale=1 / self.factor)


class DynamicRope(Rope):
    """A base that grows with the text once it is longer than the context; up to it, no scaling."""

    rope_type: Literal["dynamic"]
    factor: Factor


class Llama3Rope(Rope):
    """Low frequencies divided by a factor, high ones kept, smoothly between."""

    rope_type: Literal["llama3"]
    factor: Factor
    low_freq_factor: Factor
    high_freq_factor: Factor
    original_max_position_embeddings: Positions | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Llama3Rope:
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError("accepted: a high_freq_factor above the low_freq_factor")
        return self

    def module(self, dims: int, theta: float, context: int) -> nn.Module:
        """See :meth:`Rope.module`."""
        periods = _periods(dims, theta)
        turns = (self.original_max_position_embeddings or context) / (2 * math.pi * periods)
        low, high = self.low_freq_factor, self.high_freq_factor
        smooth = np.clip((turns - low) / (high - low), 0, 1)
        return _Scaled(dims, periods / ((1 - smooth) / self.factor + smooth), 1.0)


class YarnRope(Rope):
    """NTK by parts, and a factor on the rotated queries and keys (Peng et al. 2023)."""

    rope_type: Literal["yarn"]
    factor: Factor | None = None
    original_max_position_embeddings: Positions | None = None
    attention_factor: Factor | None = None
    beta_fast: Factor = 32
    beta_slow: Factor = 1
    mscale: Annotated[float, Field(ge=0, le=1e3)] | None = None
    mscale_all_dim: Annotated[float, Field(ge=0, le=1e3)] | None = None
    truncate: bool = True

    def module(self, dims: int, theta: float, context: int) -> nn.Module:
        """See :meth:`Rope.module`."""
        original = self.original_max_position_embeddings or context
        factor = self.factor or context / original

        def dimension(rotations: float) -> float:
            return dims * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

        low, high = dimension(self.beta_fast), dimension(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dims - 1)
        ramp = (np.arange(dims // 2) - low) / (high - low if high != low else 0.001)
        kept = 1 - np.clip(ramp, 0, 1)
        periods = _periods(dims, theta)
        return _Scaled(dims, periods / ((1 - kept) / factor + kept), self._gain(factor))

    def _gain(self, factor: float) -> float:
        if self.attention_factor is not None:
            return self.attention_factor

        def gain(mscale: float) -> float:
            return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1

        if self.mscale and self.mscale_all_dim:
            return gain(self.mscale) / gain(self.mscale_all_dim)
        return gain(1)


class LongRope(Rope):
    """A factor for each frequency (Ding et al. 2024): short ones up to the original context.

    The reference takes other, long factors for a text longer than that; such texts are not run.
    """

    rope_type: Literal["longrope"]
    short_factor: Annotated[list[Factor], Field(max_length=2**16)]
    long_factor: Annotated[list[Factor], Field(max_length=2**16)]
    factor: Factor | None = None
    attention_factor: Factor | None = None
    original_max_position_embeddings: Positions | None = None

    def exact_to(self, context: int) -> int:
        """See :meth:`Rope.exact_to`."""
        return min(context, self.original_max_position_embeddings or context)

    def module(self, dims: int, theta: float, context: int) -> nn.Module:
        """See :meth:`Rope.module`."""
        if len(self.short_factor) != dims // 2:
            raise ValueError(
                f"short_factor has {len(self.short_factor)} numbers; accepted: {dims // 2}"
            )
        original = self.original_max_position_embeddings or context
        if original < 2:
            raise ValueError("longrope has an original context of 1 position; accepted: 2 or more")
        factor = self.factor or context / original
        gain = self.attention_factor
        if gain is None:
            gain = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
        return _Scaled(dims, _periods(dims, theta) * np.array(self.short_factor), gain)


def _canonical(value: Any) -> Any:
    """Bring the names that rope's kind has gone by into one; what is null or empty is not said."""
    if not isinstance(value, dict):
        return value
    if not value:
        return None
    said = {key: item for key, item in value.items() if item is not None}
    legacy = said.pop("type", "default")
    kind = said.pop("rope_type", legacy)
    return {**said, "rope_type": "longrope" if kind == "su" else kind}


RopeKind = DefaultRope | LinearRope | DynamicRope | Llama3Rope | YarnRope | LongRope
AnyRope = Annotated[
    Annotated[RopeKind, Field(discriminator="rope_type")] | None, BeforeValidator(_canonical)
]


class RopeByKind(Strict):
    """Gemma 3's: one rope for layers that see everything and one for those with a window."""

    full_attention: AnyRope = None
    sliding_attention: AnyRope = None


def _periods(dims: int, theta: float) -> np.ndarray:
    """Return positions per radian of each frequency, [dims / 2]."""
    return theta ** (np.arange(0, dims, 2) / dims)


class _Scaled(nn.Module):
    """Rotation of the first ``dims`` dimensions, which are multiplied by ``gain`` as well."""

    def __init__(self, dims: int, periods: np.ndarray, gain: float) -> None:
        super().__init__()
        self.dims, self.gain = dims, gain
        self._freqs = mx.array(periods.astype(np.float32))

    def __call__(self, x: mx.array, offset: int = 0) -> mx.array:
        if self.gain != 1:
            x = x.at[..., : self.dims].multiply(self.gain)
        return mx.fast.rope(
            x, self.dims, traditional=False, base=None, scale=1.0, offset=offset, freqs=self._freqs
        )
