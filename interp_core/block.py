"""One transformer block as two writes to the residual stream, over mlx-lm's own sublayers."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn

from interp_core import host_math
from interp_core.models.architectures import Arch

Part = Literal[
    "resid_pre",
    "q",
    "k",
    "v",
    "pattern",
    "z",
    "attn_out",
    "resid_mid",
    "mlp_post",
    "mlp_out",
    "resid_post",
]


Visit = Callable[[Part, mx.array], mx.array]


@dataclass(frozen=True)
class KV:
    """One layer's keys and values for a prefix; immutable, so it serves many continuations."""

    keys: mx.array
    """[1, kv_head, prefix, d_head], after rotary."""
    values: mx.array
    """[1, kv_head, prefix, d_head]"""

    def __getitem__(self, positions: slice) -> KV:
        return KV(self.keys[:, :, positions], self.values[:, :, positions])


class Tape:
    """The cache that mlx-lm's attention speaks to: a prefix before, and a witness of softmax."""

    def __init__(self, prefix: KV | None, at: Visit, explicit: bool) -> None:
        self.prefix, self.at, self.explicit = prefix, at, explicit
        self.offset = 0 if prefix is None else prefix.keys.shape[2]
        self.kv: KV | None = None
        """What attention read, edits included."""

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return keys and values with the prefix's in front, as mlx-lm's attention asks."""
        if self.prefix is not None:
            batch = keys.shape[0]

            def join(before: mx.array, now: mx.array) -> mx.array:
                wide = mx.broadcast_to(before, (batch, *before.shape[1:]))
                return mx.concatenate([wide, now], axis=2)

            keys, values = join(self.prefix.keys, keys), join(self.prefix.values, values)
        return keys, values


def attend(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Tape,
    scale: float,
    mask: mx.array,
    softcap: float | None = None,
) -> mx.array:
    """Stand in for mlx-lm's ``scaled_dot_product_attention``, with its parts in sight."""
    queries, keys, values = cache.at("q", queries), cache.at("k", keys), cache.at("v", values)
    cache.kv = KV(keys, values)
    if not cache.explicit and softcap is None:
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    batch, n_heads, n_queries, d_head = queries.shape
    n_kv, n_keys = keys.shape[1:3]
    grouped = (queries * scale).reshape(batch, n_kv, -1, n_queries, d_head)
    scores = grouped @ keys[:, :, None].swapaxes(-1, -2)
    if softcap is not None:
        scores = mx.tanh(scores / softcap) * softcap
    scores = mx.where(mask, scores, -mx.inf)
    weights: mx.array = (
        host_math.softmax(scores) if on_host() else mx.softmax(scores, axis=-1, precise=True)
    )
    pattern = cache.at("pattern", weights.reshape(batch, n_heads, n_queries, n_keys))
    grouped = pattern.reshape(batch, n_kv, -1, n_queries, n_keys)
    return (grouped @ values[:, :, None]).reshape(batch, n_heads, n_queries, -1)


def on_host() -> bool:
    """Whether MLX computes on the CPU, where numpy helps it."""
    return mx.default_device() == mx.cpu


def _with_names(module: nn.Module, **names: Any) -> nn.Module:
    """Return a copy of ``module``, sharing its weights, whose code sees ``names`` as globals.

    mlx-lm's layers call shared functions by module-level names; this gives one layer its own
    version of such a function and leaves the module, and mlx-lm, untouched.
    """
    call = type(module).__call__
    rebound = types.FunctionType(
        call.__code__,
        {**call.__globals__, **names},
        call.__name__,
        call.__defaults__,
        call.__closure__,
    )
    clone = copy.copy(module)
    clone.__class__ = type(type(module).__name__, (type(module),), {"__call__": rebound})
    return clone


def _identity(x: mx.array) -> mx.array:
    return x


def get_path(root: Any, path: str | None) -> Any:
    """Return what a dotted path names; the identity for None, and None for what is missing."""
    if path is None:
        return _identity
    return reduce(lambda part, name: getattr(part, name, None), path.split("."), root)


class Block:
    """One transformer block as two writes to the residual stream."""

    def __init__(self, arch: Arch, layer: nn.Module) -> None:
        self.attn_norm = get_path(layer, arch.attn_norm)
        self.attn_out_norm = get_path(layer, arch.attn_out_norm)
        self.mlp_norm = get_path(layer, arch.mlp_norm)
        self.mlp_out_norm = get_path(layer, arch.mlp_out_norm)
        self.parallel = getattr(layer, "use_parallel_residual", False)
        attn = getattr(layer, arch.attn)
        self.project = getattr(attn, arch.attn_proj)
        self.heads = _with_names(attn, scaled_dot_product_attention=attend)
        setattr(self.heads, arch.attn_proj, _identity)
        names = {"swiglu": host_math.swiglu} if on_host() else {}
        self.down = getattr(layer.mlp, arch.mlp_proj)
        self.mlp = _with_names(layer.mlp, **names)
        setattr(self.mlp, arch.mlp_proj, _identity)

    def with_down(self, down: Callable[[mx.array], mx.array]) -> Block:
        """Return this block with another down-projection; the rest is shared."""
        block = copy.copy(self)
        block.down = down
        return block

    def __call__(
        self, x: mx.array, mask: mx.array, tape: Tape, at: Visit, leave: slice = slice(None)
    ) -> mx.array:
        """Return ``resid_post`` for ``resid_pre`` x, [batch, pos, d_model], where ``leave`` asks.

        Positions that do not leave are keys and values of those that do, and nothing more.
        """
        x = at("resid_pre", x)
        z = at("z", self.heads(self.attn_norm(x), mask, tape)[:, leave])
        x = x[:, leave]
        attn = at("attn_out", self.attn_out_norm(self.project(z)))
        mid = at("resid_mid", x + attn)
        # A parallel block's MLP reads resid_pre: its resid_mid is a sum that no part reads.
        hidden = at("mlp_post", self.mlp(self.mlp_norm(x if self.parallel else mid)))
        mlp = at("mlp_out", self.mlp_out_norm(self.down(hidden)))
        return at("resid_post", mid + mlp)
