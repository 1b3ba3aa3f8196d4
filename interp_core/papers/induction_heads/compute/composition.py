"""Heads as fixed matrices: copying through the vocabulary, and composition (Elhage et al. 2021).

A head reads queries, keys and values from the normalised stream and writes its output back; both
are linear, so a head is two matrices of low rank, ``W_QK`` and ``W_OV``. The norms' gains are folded
in; their scales, one number a token, are left out. Rotary position is left out too: the matrices
are those of a token with itself. Nothing of the size vocabulary x vocabulary, or d_model x d_model
a head, is ever formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import store
from interp_core.block import Tape
from interp_core.models.language_model import LanguageModel
from interp_core.papers.induction_heads.params import KINDS
from interp_core.residual import ResidualStream, norm_parts
from interp_core.runtime import report

_ROWS = 8192
"""Rows of the vocabulary that are read at a time."""

_DRAWS = 8
"""Random pairs that the baseline of composition is averaged over."""


@dataclass(frozen=True)
class HeadMaps:
    """The matrices of one layer's heads, keys and values repeated for the heads that share them."""

    q: np.ndarray | None
    """[head, d_model, d_head], float32; None where queries and keys are normalised, which is not
    linear."""
    k: np.ndarray | None
    v: np.ndarray
    o: np.ndarray
    """[head, d_head, d_model]"""


def head_maps(stream: ResidualStream, layer: int, n_heads: int) -> HeadMaps:
    """Return the matrices of a layer, read off its own code: what it makes of unit vectors."""
    block = stream.blocks[layer]
    d_model = stream.d_model
    gain, _, centred = norm_parts(block.attn_norm, d_model)
    units = mx.diag(gain)
    # A row of zeros shows the bias, and a doubled row whether the map is linear at all.
    rows = mx.concatenate([units, mx.zeros((1, d_model)), 2 * units[:1]])
    seen: dict[str, np.ndarray] = {}

    def look(part: str, x: mx.array) -> mx.array:
        if part in KINDS:
            seen[part] = np.array(x[:, :, 0].astype(mx.float32))
        return x

    block.heads(
        rows[:, None].astype(stream.dtype), mx.ones((1, 1), dtype=mx.bool_), Tape(None, look, True)
    )
    found: dict[str, np.ndarray | None] = {}
    for name, x in seen.items():
        x = x - x[d_model]
        if np.abs(x[-1] - 2 * x[0]).max() > 1e-2 * np.abs(x[-1]).max() + 1e-6:
            found[name] = None
            continue
        weights = x[:d_model].swapaxes(0, 1)
        if centred:
            weights = weights - weights.mean(1, keepdims=True)
        found[name] = np.repeat(weights, n_heads // len(weights), axis=0)
    values = found["v"]
    assert values is not None, "values are linear in every family"
    out = np.array(output_maps(stream, layer, n_heads, values.shape[-1]))
    both = found["q"] is not None and found["k"] is not None
    return HeadMaps(found["q"] if both else None, found["k"] if both else None, values, out)


def output_maps(stream: ResidualStream, layer: int, n_heads: int, d_head: int) -> mx.array:
    """Return what each head's output z becomes in the stream, [head, d_head, d_model], float32."""
    block, width = stream.blocks[layer], n_heads * d_head
    units = mx.concatenate([mx.eye(width), mx.zeros((1, width))]).astype(stream.dtype)
    rows = block.project(units).astype(mx.float32)
    rows = rows[:-1] - rows[-1]
    gain, _, _ = norm_parts(block.attn_out_norm, rows.shape[-1])
    return (rows * gain).reshape(n_heads, d_head, -1)


def unembedding(stream: ResidualStream, ids: mx.array) -> mx.array:
    """Return the directions whose products with the stream are logits, [token, d_model], float32."""
    rows = stream.head_rows(ids).astype(mx.float32)
    gain, _, centred = norm_parts(stream.norm, rows.shape[-1])
    rows = rows * gain
    return rows - rows.mean(-1, keepdims=True) if centred else rows


def kept_copying(model: LanguageModel) -> np.ndarray:
    """Return the eigenvalue copying scores, measured once per model and kept: they are of weights."""
    return store.measured(
        "copying",
        {"model": model.info.fingerprint},
        "layer head",
        lambda: copying(model.stream, model.info.n_heads, model.info.d_vocab),
    )


def copying(stream: ResidualStream, n_heads: int, d_vocab: int) -> np.ndarray:
    """Return the eigenvalue copying score of each head, [layer, head], from -1 to 1.

    The sum of the eigenvalues of ``W_E W_OV W_U`` over the sum of their sizes: 1 where the head
    raises the logits of the very tokens it reads. The non-zero ones are those of a matrix
    [d_head, d_head], since the order of a product does not change them.
    """
    between = mx.zeros(())
    for start in range(0, d_vocab, _ROWS):
        ids = mx.arange(start, min(start + _ROWS, d_vocab))
        read = stream.embed_tokens(ids).astype(mx.float32)
        between = between + unembedding(stream, ids).T @ read
        mx.eval(between)
    middle = np.array(between)
    scores = []
    for layer in range(stream.n_layers):
        report("copying through the vocabulary", layer, stream.n_layers)
        maps = head_maps(stream, layer, n_heads)
        values = np.linalg.eigvals(maps.o @ middle @ maps.v)
        scores.append(values.sum(-1).real / np.abs(values).sum(-1))
    return np.array(scores, np.float32)


def composition(stream: ResidualStream, n_heads: int, seed: int) -> np.ndarray:
    """Return how much later heads read what earlier ones write, [kind, layer, head, layer, head].

    ``|W_OV W_QK|_F / (|W_OV|_F |W_QK|_F)`` for keys, with the other side of ``W_QK`` for queries and
    the later ``W_OV`` for values, less the mean of random matrices of the same shapes. The first
    layer and head write, the others read; NaN where they do not come later, and for queries and
    keys that are normalised.
    """
    depth = stream.n_layers
    maps = []
    for layer in range(depth):
        report("reading the heads' matrices", layer, depth)
        maps.append(head_maps(stream, layer, n_heads))
    writers = [_write_side(m.v, m.o) for m in maps]
    found = np.full((len(KINDS), depth, n_heads, depth, n_heads), np.nan, np.float32)
    for i, kind in enumerate(KINDS):
        if maps[0].q is None and kind != "v":
            continue
        base = _baseline(maps[0].v.shape[1], maps[0].v.shape[2], seed)
        readers = [_reader(m, kind) for m in maps]
        for later in range(1, depth):
            report(f"composition through {kind}", i * depth + later, len(KINDS) * depth)
            for earlier in range(later):
                found[i, earlier, :, later] = _norms(writers[earlier], readers[later]) - base
    return found


def _reader(maps: HeadMaps, kind: str) -> np.ndarray:
    if kind == "v":
        return _read_side(maps.v, maps.o)
    if maps.q is None or maps.k is None:
        raise ValueError("queries and keys are normalised")
    first, second = (maps.q, maps.k) if kind == "q" else (maps.k, maps.q)
    return _read_side(first, second.swapaxes(1, 2))


def _write_side(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return [head, d_head, d_model] whose norms, with anything after it, are those of ``a @ b``.

    The triangular factor of ``a`` [head, d_model, d_head] stands for it: norms stay. Scaled to 1.
    """
    inner = np.linalg.qr(a, mode="r") @ b
    return inner / np.linalg.norm(inner, axis=(1, 2), keepdims=True)


def _read_side(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return [head, d_model, d_head] whose norms, with anything before it, are those of ``a @ b``."""
    return _write_side(b.swapaxes(1, 2), a.swapaxes(1, 2)).swapaxes(1, 2)


def _norms(writers: np.ndarray, readers: np.ndarray) -> np.ndarray:
    """Return [writer, reader] norms of products of [head, d_head, d_model], [head, d_model, d_head]."""
    n, width, d_model = writers.shape
    m, _, other = readers.shape
    product = writers.reshape(-1, d_model) @ readers.swapaxes(0, 1).reshape(d_model, -1)
    return np.sqrt((product.reshape(n, width, m, other) ** 2).sum((1, 3)))


def _baseline(d_model: int, d_head: int, seed: int) -> float:
    """Return the mean score of random matrices of a head's shapes."""
    random = np.random.default_rng(seed)
    a, c = random.standard_normal((2, _DRAWS, d_model, d_head))
    b, d = random.standard_normal((2, _DRAWS, d_head, d_model))
    return float(_norms(_write_side(a, b), _read_side(c, d)).mean())
