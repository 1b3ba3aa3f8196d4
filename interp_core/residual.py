"""An mlx-lm model as an explicit residual stream: capture, edit, resume.

Every supported family is the same sum, ``resid += attn(...)``; ``resid += mlp(...)``. The sums are
written out here; mlx-lm's own norms, attention and MLPs do the work. Names are TransformerLens's,
without ``hook_``. Nothing on the model is ever changed, so one model serves any number of readers.

    resid_pre ──┬─ norm ─ attention(pattern, z) ─ attn_out ─┬─ resid_mid ─┬─ norm ─ MLP ─ mlp_out ─┬─ resid_post
                └───────────────────── + ───────────────────┘             └────────── + ───────────┘
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any, Literal, NamedTuple

import mlx.core as mx
import mlx.nn as nn

from interp_core import host_math
from interp_core.models.architectures import Arch, architecture

Part = Literal["resid_pre", "pattern", "z", "attn_out", "resid_mid", "mlp_out", "resid_post"]


class Site(NamedTuple):
    """A named point of one block, e.g. ``Site("mlp_out", 5)``."""

    part: Part
    layer: int


Edit = Callable[[mx.array], mx.array]
"""What replaces a site's value; the same shape in and out."""

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


@dataclass(frozen=True)
class Run:
    """What a run of the stream gives; every array is lazy until used."""

    resid: mx.array
    """[batch, pos, d_model] after the last block that ran."""
    logits: mx.array | None
    """[batch, asked positions, d_vocab], or None where none were asked for."""
    acts: dict[Site, mx.array] = field(default_factory=dict)
    """The sites kept: [batch, pos, d_model]; ``z`` [batch, pos, head * d_head];
    ``pattern`` [batch, head, query, key]."""
    kv: dict[int, KV] = field(default_factory=dict)
    """Keys and values by layer, where ``keep_kv`` asked for them."""


@dataclass(frozen=True)
class LinearLogit:
    """Logits as dot products with the stream: ``logit = resid . direction + constant``."""

    direction: mx.array
    """[target, pos, d_model]"""
    constant: mx.array
    """[target, pos], from the final norm's bias; 0 for RMSNorm."""
    logit: mx.array
    """[target, pos], by the model's own norm and head, before any soft-cap."""


class _Tape:
    """The cache that mlx-lm's attention speaks to: a prefix before, and a witness of softmax."""

    def __init__(self, prefix: KV | None, at: Visit, explicit: bool) -> None:
        self.prefix, self.at, self.explicit = prefix, at, explicit
        self.offset = 0 if prefix is None else prefix.keys.shape[2]
        self.kv: KV | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        if self.prefix is not None:
            batch = keys.shape[0]

            def join(before: mx.array, now: mx.array) -> mx.array:
                wide = mx.broadcast_to(before, (batch, *before.shape[1:]))
                return mx.concatenate([wide, now], axis=2)

            keys, values = join(self.prefix.keys, keys), join(self.prefix.values, values)
        self.kv = KV(keys, values)
        return keys, values


def _attend(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: _Tape,
    scale: float,
    mask: mx.array,
    softcap: float | None = None,
) -> mx.array:
    """Stand in for mlx-lm's ``scaled_dot_product_attention``, with the pattern in sight."""
    if not cache.explicit and softcap is None:
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    batch, n_heads, n_queries, d_head = queries.shape
    n_kv, n_keys = keys.shape[1:3]
    grouped = (queries * scale).reshape(batch, n_kv, -1, n_queries, d_head)
    scores = grouped @ keys[:, :, None].swapaxes(-1, -2)
    if softcap is not None:
        scores = mx.tanh(scores / softcap) * softcap
    scores = mx.where(mask, scores, -mx.inf)
    pattern = host_math.softmax(scores) if _on_host() else mx.softmax(scores, axis=-1, precise=True)
    pattern = cache.at("pattern", pattern.reshape(batch, n_heads, n_queries, n_keys))
    grouped = pattern.reshape(batch, n_kv, -1, n_queries, n_keys)
    return (grouped @ values[:, :, None]).reshape(batch, n_heads, n_queries, -1)


def _on_host() -> bool:
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


def _get(root: Any, path: str | None) -> Any:
    if path is None:
        return _identity
    return reduce(lambda part, name: getattr(part, name, None), path.split("."), root)


class Block:
    """One transformer block as two writes to the residual stream."""

    def __init__(self, arch: Arch, layer: nn.Module) -> None:
        self.attn_norm, self.attn_post = _get(layer, arch.attn_norm), _get(layer, arch.attn_post)
        self.mlp_norm, self.mlp_post = _get(layer, arch.mlp_norm), _get(layer, arch.mlp_post)
        self.parallel = getattr(layer, "use_parallel_residual", False)
        attn = getattr(layer, arch.attn)
        self.project = getattr(attn, arch.attn_proj)
        self.heads = _with_names(attn, scaled_dot_product_attention=_attend)
        setattr(self.heads, arch.attn_proj, _identity)
        names = {"swiglu": host_math.swiglu} if _on_host() else {}
        self.mlp = _with_names(layer.mlp, **names)

    def __call__(self, x: mx.array, mask: mx.array, tape: _Tape, at: Visit) -> mx.array:
        """Return ``resid_post`` for ``resid_pre`` x, [batch, pos, d_model]."""
        x = at("resid_pre", x)
        z = at("z", self.heads(self.attn_norm(x), mask, tape))
        attn = at("attn_out", self.attn_post(self.project(z)))
        mid = at("resid_mid", x + attn)
        # A parallel block's MLP reads resid_pre: its resid_mid is a sum that no part reads.
        mlp = at("mlp_out", self.mlp_post(self.mlp(self.mlp_norm(x if self.parallel else mid))))
        return at("resid_post", mid + mlp)


class ResidualStream:
    """A functional view of an mlx-lm model.

    Args:
        model: As mlx-lm loads it (after any quantisation).
        model_type: The family, a key of ``ARCHITECTURES``.
        windows: For each layer, how many positions its attention sees, or None for all.

    Raises:
        ValueError: When the family is not supported.
    """

    def __init__(
        self, model: nn.Module, model_type: str, windows: Sequence[int | None] | None = None
    ) -> None:
        arch = architecture(model_type)
        self.embedding, self.norm = _get(model, arch.embed), _get(model, arch.norm)
        self.positions = None if arch.positions is None else _get(model, arch.positions)
        self.head = _get(model, arch.head) or self.embedding.as_linear
        self.blocks = [Block(arch, layer) for layer in _get(model, arch.layers)]
        self.windows = list(windows or [None] * len(self.blocks))
        self.softcap = getattr(model, "final_logit_softcapping", None)
        self.scale = self.norm.weight.size**0.5 if arch.scaled_embedding else None

    @property
    def n_layers(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    def embed(self, tokens: mx.array, offset: int = 0) -> mx.array:
        """Return ``resid_pre`` of block 0, [batch, pos, d_model], for ids [batch, pos].

        ``offset`` is the position of the first token, after a prefix.
        """
        x = self.embedding(tokens)
        if self.scale is not None:
            x = x * mx.array(self.scale, x.dtype)
        if self.positions is not None:
            x = x + self.positions(mx.arange(offset, offset + tokens.shape[1]))
        return x

    def unembed(self, resid: mx.array) -> mx.array:
        """Return logits [..., d_vocab] of a residual [..., d_model]: final norm, then head."""
        logits = self.head(self.norm(resid))
        return logits if self.softcap is None else mx.tanh(logits / self.softcap) * self.softcap

    def linear_logit(self, resid: mx.array, targets: mx.array) -> LinearLogit:
        """Return the logits of ``targets`` as linear functions of the stream around ``resid``.

        The final norm's scale is held at that of ``resid`` [pos, d_model], which makes logits add
        up over whatever was added to the stream. ``targets`` are ids [target, pos].
        """
        x = resid.astype(mx.float32)
        centred = isinstance(self.norm, nn.LayerNorm)
        if centred:
            gain, bias = self.norm.weight, self.norm.get("bias", mx.zeros_like(self.norm.weight))
            x = x - x.mean(-1, keepdims=True)
        else:
            ones = mx.ones_like(x[:1])
            # Families store the gain or the gain less one; the norm of ones shows which.
            gain = self.norm(ones)[0] * (1 + self.norm.eps) ** 0.5
            bias = mx.zeros_like(gain)
        scale = mx.sqrt((x * x).mean(-1, keepdims=True) + self.norm.eps)
        head = self._head_rows(targets).astype(mx.float32)
        direction = head * gain / scale
        if centred:
            direction = direction - direction.mean(-1, keepdims=True)
        logit = (self.norm(resid).astype(mx.float32) * head).sum(-1)
        return LinearLogit(direction, (head * bias).sum(-1), logit)

    def _head_rows(self, targets: mx.array) -> mx.array:
        """Return the output head's rows, [*targets.shape, d_model], dequantised if need be."""
        head = self.head if isinstance(self.head, nn.Module) else self.embedding
        if not hasattr(head, "scales"):
            return head.weight[targets]
        part = {"scales": head.scales[targets], "biases": head.biases[targets]}
        return mx.dequantize(
            head.weight[targets], **part, group_size=head.group_size, bits=head.bits
        )

    def run(
        self,
        tokens: mx.array | None = None,
        *,
        resid: mx.array | None = None,
        start: int = 0,
        stop: int | None = None,
        prefix: Mapping[int, KV] | None = None,
        edits: Mapping[Site, Edit] | None = None,
        keep: Collection[Site] = (),
        keep_kv: bool = False,
        unembed: slice | Sequence[int] | None = slice(None),
    ) -> Run:
        """Run blocks ``start`` to ``stop`` from tokens, or from a residual.

        Args:
            tokens: Ids [batch, pos], where the run begins at the embedding.
            resid: ``resid_pre`` of block ``start``, [batch, pos, d_model], where it resumes. Its
                rows may be a batch of differently edited residuals.
            start: First block to run.
            stop: Block to stop before; all blocks when None.
            prefix: Keys and values of earlier positions, by layer; the run then holds only the
                positions after them.
            edits: What to put in place of a site's value.
            keep: Sites whose values (after their edit) to return.
            keep_kv: Whether to return keys and values, to be a later run's prefix.
            unembed: Which of the positions to unembed; None for no logits.

        Raises:
            ValueError: When not exactly one of ``tokens`` and ``resid`` is given, a site does not
                exist, or blocks are out of range.
        """
        edits = edits or {}
        stop = self.n_layers if stop is None else stop
        self._check(tokens, resid, start, stop, [*edits, *keep])
        offset = 0 if not prefix else next(iter(prefix.values())).keys.shape[2]
        x = self.embed(tokens, offset) if resid is None else resid
        acts: dict[Site, mx.array] = {}
        kv: dict[int, KV] = {}
        masks = {w: self._mask(x.shape[1], offset, w) for w in set(self.windows)}
        for layer in range(start, stop):
            at = partial(_visit, layer, edits, keep, acts)
            site = Site("pattern", layer)
            explicit = _on_host() or site in edits or site in keep
            tape = _Tape(prefix[layer] if prefix else None, at, explicit)
            x = self.blocks[layer](x, masks[self.windows[layer]], tape, at)
            if keep_kv:
                kv[layer] = tape.kv
        logits = None if unembed is None else self.unembed(_positions(x, unembed))
        return Run(x, logits, acts, kv)

    def _mask(self, length: int, offset: int, window: int | None) -> mx.array:
        """Return which keys each query sees, boolean [query, key]."""
        query = mx.arange(offset, offset + length)[:, None]
        key = mx.arange(offset + length)[None]
        seen = query >= key
        return seen if window is None else seen & (query < key + window)

    def _check(
        self,
        tokens: mx.array | None,
        resid: mx.array | None,
        start: int,
        stop: int,
        sites: Sequence[Site],
    ) -> None:
        if (tokens is None) == (resid is None):
            raise ValueError("give either tokens or resid, not both or neither")
        if not 0 <= start <= stop <= self.n_layers:
            raise ValueError(f"blocks {start} to {stop} asked for; the model has {self.n_layers}")
        for site in sites:
            if site.part not in Part.__args__ or not start <= site.layer < stop:
                parts = ", ".join(Part.__args__)
                raise ValueError(f"no {site} in blocks {start} to {stop - 1}; parts are {parts}")


def _visit(
    layer: int,
    edits: Mapping[Site, Edit],
    keep: Collection[Site],
    acts: dict[Site, mx.array],
    part: Part,
    x: mx.array,
) -> mx.array:
    site = Site(part, layer)
    if site in edits:
        x = edits[site](x)
    if site in keep:
        acts[site] = x
    return x


def _positions(x: mx.array, asked: slice | Sequence[int]) -> mx.array:
    return x[:, asked if isinstance(asked, slice) else mx.array(asked)]
