"""Restore one thing at a time in corrupted runs, at every layer, in one pass over the blocks.

A restored value at position t changes nothing before t, and nothing below its block. So for each
position the runs hold positions t to the end only, over the corrupted runs' keys and values, and
each cell of the map joins the batch at the block where it first differs. What is computed is exact;
what is not computed is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core.block import KV
from interp_core.papers.causal_tracing.params import ALONE, Kind, window_of
from interp_core.residual import ResidualStream, Run, Site
from interp_core.runtime import give_way

_TOKENS = 4096
"""Tokens that run through a block at a time, about: some 100 MB in a model of width 576."""

_BRANCH = {"mlp_out": "mlp_out", "attn_out": "attn_out", **{k: on for k, (on, _) in ALONE.items()}}
_SEVERS = {"sever_mlp": "mlp_out", "sever_attn": "attn_out"}


@dataclass(frozen=True)
class Runs:
    """The clean run and the corrupted ones, which restoring starts from."""

    stream: ResidualStream
    clean: Run
    """[1, pos, ...]"""
    corrupt: Run
    """[sample, pos, ...], with its keys and values."""
    first: int
    """First position that the corruption changed."""
    reads: int
    """How many positions at the end are read."""
    noise: mx.array
    """[sample, pos, d_model] what the corruption adds."""
    after: int
    """The block after which it does; -1 for the embeddings."""

    @property
    def samples(self) -> int:
        """How many corrupted runs there are."""
        return self.corrupt.resid.shape[0]

    @property
    def length(self) -> int:
        """How many positions there are."""
        return self.corrupt.resid.shape[1]


def run_both(
    stream: ResidualStream, clean: mx.array, noise: mx.array, reads: int, after: int = -1
) -> Runs:
    """Run the embeddings ``clean`` [1, pos, d_model], whole and corrupted.

    Args:
        stream: Of the model.
        clean: The prompt's embeddings.
        noise: [sample, pos, d_model], added to the embeddings, or to the states after a block.
        reads: How many positions at the end are read.
        after: That block; -1 for the embeddings.
    """
    layers = range(stream.n_layers)
    parts = ("resid_pre", "resid_post", "attn_out", "mlp_out", "z")
    keep = [Site(part, layer) for part in parts for layer in layers]
    start = mx.broadcast_to(clean, noise.shape) if after >= 0 else clean + noise
    edits = {Site("resid_post", after): lambda x: x + noise} if after >= 0 else {}
    whole = stream.run(resid=clean, keep=keep, keep_kv=True, unembed=None)
    broken = stream.run(resid=start, edits=edits, keep=keep, keep_kv=True, unembed=None)
    for run in (whole, broken):
        mx.eval(run.acts, [(kv.keys, kv.values) for kv in run.kv.values()])
    changed = np.array((noise != 0).any(-1).any(0))
    first = int(changed.argmax()) if changed.any() else noise.shape[1]
    return Runs(stream, whole, broken, first, reads, noise, after)


def column(
    runs: Runs, kind: Kind, position: int, layers: Sequence[int], window: int
) -> list[mx.array]:
    """Restore ``kind`` at ``position``, at each of ``layers``.

    Returns:
        For each layer the last residuals of the positions read, [sample, read, d_model].
    """
    length = runs.length - position
    step = max(1, _TOKENS // (runs.samples * length))
    rows: list[mx.array] = []
    for start in range(0, len(layers), step):
        rows += _cells(runs, kind, position, layers[start : start + step], window)
    return rows


def _cells(
    runs: Runs, kind: Kind, position: int, layers: Sequence[int], window: int
) -> list[mx.array]:
    depth = runs.stream.n_layers
    if kind in _BRANCH:
        spans = [window_of(layer, window, depth) for layer in layers]
        joins = [span.start for span in spans]
    else:
        spans, joins = [], [layer + 1 for layer in layers]

    def join(block: int) -> list[mx.array]:
        if spans or block == 0:
            return [_from(runs.corrupt, block, position)] * joins.count(block)
        restored = mx.concatenate(
            [
                mx.broadcast_to(
                    _from(runs.clean, block, position)[:, :1],
                    (runs.samples, 1, runs.clean.resid.shape[-1]),
                ),
                _from(runs.corrupt, block, position)[:, 1:],
            ],
            axis=1,
        )
        return [restored] * joins.count(block)

    def edits(block: int, rows: int) -> dict[Site, Callable[[mx.array], mx.array]]:
        if spans:
            active = sum(span.start <= block < span.stop for span in spans) * runs.samples
            site = Site(_BRANCH[kind], block)  # type: ignore[arg-type]
            value = runs.clean.acts[site][:, position : position + 1]
            return {site: lambda x: _put(x, value, active)} if active else {}
        if kind in _SEVERS:
            site = Site(_SEVERS[kind], block)  # type: ignore[arg-type]
            held = runs.corrupt.acts[site][:, position : position + 1]
            value = mx.tile(held, (rows // runs.samples, 1, 1))
            return {site: lambda x: _put(x, value, rows)}
        return {}

    return _climb(runs, position, min(joins), join, edits)


def heads(runs: Runs, layers: Sequence[int], n_heads: int) -> list[mx.array]:
    """Restore one head's ``z`` at every position, for each head of each of ``layers``.

    Returns:
        For each layer and head the last residuals of the positions read, [sample, read, d_model].
    """
    position = min(runs.first, runs.length - runs.reads)
    cells = max(1, _TOKENS // (runs.samples * (runs.length - position) * n_heads))
    own = mx.eye(n_heads).astype(mx.bool_)[:, None, None, :, None]
    rows: list[mx.array] = []
    for start in range(0, len(layers), cells):
        group = layers[start : start + cells]

        def join(block: int, group: Sequence[int] = group) -> list[mx.array]:
            return [_from(runs.corrupt, block, position)] * (n_heads * (block in group))

        def edits(
            block: int, _: int, group: Sequence[int] = group
        ) -> dict[Site, Callable[[mx.array], mx.array]]:
            if block not in group:
                return {}
            site = Site("z", block)
            clean = runs.clean.acts[site][:, position:]

            def restore(z: mx.array) -> mx.array:
                new = z[-n_heads * runs.samples :]
                apart = new.reshape(n_heads, runs.samples, -1, n_heads, z.shape[-1] // n_heads)
                value = clean[:, -z.shape[1] :].reshape(1, 1, z.shape[1], n_heads, -1)
                new = mx.where(own, value, apart).reshape(new.shape)
                return mx.concatenate([z[: -n_heads * runs.samples], new])

            return {site: restore}

        rows += _climb(runs, position, group[0], join, edits)
    return rows


def _climb(
    runs: Runs,
    position: int,
    first: int,
    join: Callable[[int], list[mx.array]],
    edits: Callable[[int, int], dict[Site, Callable[[mx.array], mx.array]]],
) -> list[mx.array]:
    """Run the blocks from ``first`` up; ``join`` gives what enters at each, in the cells' order."""
    depth, length = runs.stream.n_layers, runs.length - position
    rows: mx.array | None = None
    for block in range(first, depth):
        entering = join(block)
        rows = mx.concatenate([*([] if rows is None else [rows]), *entering])
        kv = runs.corrupt.kv[block][:position]
        tiles = (rows.shape[0] // runs.samples, 1, 1, 1)
        prefix = {block: KV(mx.tile(kv.keys, tiles), mx.tile(kv.values, tiles))}
        # In the last block a position before those read is keys and values, and nothing more.
        narrow = block == depth - 1 and length > runs.reads
        asked = edits(block, rows.shape[0])
        if block == runs.after:
            noise = mx.tile(runs.noise[:, position:], (rows.shape[0] // runs.samples, 1, 1))
            asked = {**asked, Site("resid_post", block): lambda x, noise=noise: x + noise}
        if narrow:
            asked = {site: edit for site, edit in asked.items() if site.part == "z"}
        rows = runs.stream.run(
            resid=rows,
            start=block,
            stop=block + 1,
            prefix=prefix if position else None,
            edits=asked,
            leave=slice(-runs.reads, None) if narrow else slice(None),
            unembed=None,
        ).resid
        mx.eval(rows)
        give_way()
    last = [row[:, -runs.reads :] for row in join(depth)]
    ran = [] if rows is None else mx.split(rows[:, -runs.reads :], rows.shape[0] // runs.samples)
    return [*ran, *last]


def _from(run: Run, block: int, position: int) -> mx.array:
    """Return what enters ``block``, from ``position`` on."""
    depth = len(run.kv)
    site = Site("resid_pre", block) if block < depth else Site("resid_post", depth - 1)
    return run.acts[site][:, position:]


def _put(x: mx.array, value: mx.array, last: int) -> mx.array:
    """Return ``x`` with ``value`` at the first position of its ``last`` rows."""
    value = mx.broadcast_to(value, (last, 1, x.shape[-1]))
    new = mx.concatenate([value, x[-last:, 1:]], axis=1)
    return new if last == x.shape[0] else mx.concatenate([x[:-last], new])
