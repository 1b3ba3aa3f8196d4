"""An mlx-lm model as an explicit residual stream: capture, edit, resume.

Every supported family is the same sum, ``resid += attn(...)``; ``resid += mlp(...)``. The sums are
written out here; mlx-lm's own norms, attention and MLPs do the work. Names are TransformerLens's,
without ``hook_``. Nothing on the model is ever changed, so one model serves any number of readers.

    resid_pre ──┬─ norm ─ attention ─ attn_out ─┬─ resid_mid ─┬─ norm ─ MLP ─ mlp_out ─┬─ resid_post
                └─────────────── + ─────────────┘             └────────── + ───────────┘

Inside attention lie ``q``, ``k``, ``v``, ``pattern`` and ``z``; inside the MLP ``mlp_post``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, get_args

import mlx.core as mx
import mlx.nn as nn

from interp_core.block import KV, Block, Part, Tape, get_path, on_host
from interp_core.models.architectures import architecture


class Site(NamedTuple):
    """A named point of one block, e.g. ``Site("mlp_out", 5)``."""

    part: Part
    layer: int


Edit = Callable[[mx.array], mx.array]
"""What replaces a site's value; the same shape in and out."""


@dataclass(frozen=True)
class Run:
    """What a run of the stream gives; every array is lazy until used."""

    resid: mx.array
    """[batch, pos, d_model] after the last block that ran; the positions that leave it."""
    logits: mx.array | None
    """[batch, asked positions, d_vocab], or None where none were asked for."""
    acts: dict[Site, mx.array] = field(default_factory=dict)
    """The sites kept: [batch, pos, d_model]; ``q`` [batch, head, pos, d_head], ``k`` and ``v``
    [batch, kv_head, pos, d_head], after rotary and with any prefix; ``pattern`` [batch, head, query,
    key]; ``z`` [batch, pos, head * d_head]; ``mlp_post``, what enters the MLP's down-projection,
    [batch, pos, d_mlp]."""
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
        self.embedding, self.norm = get_path(model, arch.embed), get_path(model, arch.norm)
        self.positions = None if arch.positions is None else get_path(model, arch.positions)
        self.head = get_path(model, arch.head) or self.embedding.as_linear
        self.blocks = [Block(arch, layer) for layer in get_path(model, arch.layers)]
        self.windows = list(windows or [None] * len(self.blocks))
        self.softcap = getattr(model, "final_logit_softcapping", None)
        self.dtype = self.norm.weight.dtype
        self.scale = self.norm.weight.size**0.5 if arch.scaled_embedding else None

    @property
    def n_layers(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """The stream's width."""
        return self.norm.weight.size

    @property
    def d_vocab(self) -> int:
        """How many logits there are."""
        return self._head.weight.shape[0]

    @property
    def _head(self) -> nn.Module:
        return self.head if isinstance(self.head, nn.Module) else self.embedding

    def embed(self, tokens: mx.array, offset: int = 0) -> mx.array:
        """Return ``resid_pre`` of block 0, [batch, pos, d_model], for ids [batch, pos].

        ``offset`` is the position of the first token, after a prefix.
        """
        x = self.embed_tokens(tokens)
        if self.positions is not None:
            x = x + self.positions(mx.arange(offset, offset + tokens.shape[1]))
        return x

    def embed_tokens(self, tokens: mx.array) -> mx.array:
        """Return what ids [...] add to the stream, [..., d_model]: scaled, without positions."""
        # Some quantised embeddings answer in bfloat16, whatever the model computes in.
        x = self.embedding(tokens).astype(self.dtype)
        return x if self.scale is None else x * mx.array(self.scale, x.dtype)

    def with_down(self, layer: int, down: Callable[[mx.array], mx.array]) -> ResidualStream:
        """Return a view whose block ``layer`` has another down-projection.

        It takes [..., d_mlp] to [..., d_model]. This stream, and the model, stay as they are.
        """
        view = copy.copy(self)
        view.blocks = list(self.blocks)
        view.blocks[layer] = self.blocks[layer].with_down(down)
        return view

    def unembed(self, resid: mx.array) -> mx.array:
        """Return logits [..., d_vocab] of a residual [..., d_model]: final norm, then head."""
        return self._capped(self.head(self.norm(resid)))

    def logits(self, resid: mx.array, head: mx.array) -> mx.array:
        """Return the logits [..., row] of some of the head's rows [row, d_model] alone.

        ``resid`` is [..., d_model]; rows are as :meth:`head_rows` returns them.
        """
        return self._capped(self.norm(resid) @ head.T)

    def _capped(self, logits: mx.array) -> mx.array:
        return logits if self.softcap is None else mx.tanh(logits / self.softcap) * self.softcap

    def linear_logit(self, resid: mx.array, targets: mx.array) -> LinearLogit:
        """Return the logits of ``targets`` as linear functions of the stream around ``resid``.

        The final norm's scale is held at that of ``resid`` [pos, d_model], which makes logits add
        up over whatever was added to the stream. ``targets`` are ids [target, pos].
        """
        x = resid.astype(mx.float32)
        gain, bias, centred = norm_parts(self.norm, x.shape[-1])
        if centred:
            x = x - x.mean(-1, keepdims=True)
        scale = mx.sqrt((x * x).mean(-1, keepdims=True) + self.norm.eps)
        head = self.head_rows(targets).astype(mx.float32)
        direction = head * gain / scale
        if centred:
            direction = direction - direction.mean(-1, keepdims=True)
        logit = (self.norm(resid).astype(mx.float32) * head).sum(-1)
        return LinearLogit(direction, (head * bias).sum(-1), logit)

    def head_rows(self, targets: mx.array) -> mx.array:
        """Return the output head's rows, [*targets.shape, d_model], dequantised if need be."""
        head = self._head
        if not hasattr(head, "scales"):
            return head.weight[targets]
        biases = head.get("biases")  # only the affine mode has them
        return mx.dequantize(
            head.weight[targets],
            head.scales[targets],
            None if biases is None else biases[targets],
            group_size=head.group_size,
            bits=head.bits,
            mode=head.mode,
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
        leave: slice = slice(None),
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
            leave: The positions that leave the last block that runs, e.g. ``slice(-1, None)``;
                its MLP runs on these alone.
            unembed: Which of the positions that leave to unembed; None for no logits.

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
            explicit = on_host() or site in edits or site in keep
            tape = Tape(prefix[layer] if prefix else None, at, explicit)
            out = leave if layer == stop - 1 else slice(None)
            x = self.blocks[layer](x, masks[self.windows[layer]], tape, at, out)
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
            if site.part not in get_args(Part) or not start <= site.layer < stop:
                parts = ", ".join(get_args(Part))
                raise ValueError(f"no {site} in blocks {start} to {stop - 1}; parts are {parts}")


def norm_parts(
    norm: Callable[[mx.array], mx.array], d_model: int
) -> tuple[mx.array, mx.array, bool]:
    """Return a norm's gain and bias [d_model], float32, and whether it takes the mean away first.

    ``norm`` may be an identity, where a block has none.
    """
    zeros = mx.zeros(d_model)
    if isinstance(norm, nn.LayerNorm):
        return norm.weight.astype(mx.float32), norm.get("bias", zeros).astype(mx.float32), True
    if not isinstance(norm, nn.Module):
        return zeros + 1, zeros, False
    # Families store the gain or the gain less one; the norm of ones shows which.
    return norm(mx.ones((1, d_model)))[0] * (1 + norm.eps) ** 0.5, zeros, False


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
