"""What toys are trained on, and tested on: generated, so that the same seed gives the same text.

Half of it can only be predicted from the context (a random segment, repeated), half from single
tokens (a chain in which each token has a few successors), so that a model without induction still
has something to learn.
"""

from __future__ import annotations

import functools

import numpy as np

from interp_core.papers.induction_heads.toys import CLIP, CONTEXT, D_VOCAB, SEGMENT

PERIODS = (10, 31)
"""Shortest and longest segment that is tiled."""
SUCCESSORS = 4
"""Tokens that may follow a token in a chain, each as likely."""

_CHAIN, _TRAIN, _HELD_OUT, _TEST, _CLIP = range(5)


def batch(seed: int, step: int, rows: int) -> np.ndarray:
    """Return the training sequences of a step, [row, CONTEXT] int32; the first half are tiled."""
    return _mixture(seed, rows, _TRAIN, step)


def held_out(seed: int, rows: int) -> np.ndarray:
    """Return sequences of the same kinds that are not trained on; the first half are tiled."""
    return _mixture(seed, rows, _HELD_OUT)


def repeated(seed: int, rows: int) -> np.ndarray:
    """Return the test, [row, CONTEXT] int32: random segments of SEGMENT tokens, each twice."""
    segment = _rng(seed, _TEST).integers(D_VOCAB, size=(rows, SEGMENT), dtype=np.int32)
    return np.tile(segment, 2)


def clip(seed: int) -> np.ndarray:
    """Return [1, 2 * CLIP] int32: CLIP different tokens, twice."""
    segment = _rng(seed, _CLIP).permutation(D_VOCAB)[:CLIP]
    return np.tile(segment, 2)[None].astype(np.int32)


@functools.lru_cache(maxsize=8)
def successors(seed: int) -> np.ndarray:
    """Return [token, SUCCESSORS]: the different tokens that may follow each."""
    rng = _rng(seed, _CHAIN)
    return np.stack([rng.permutation(D_VOCAB)[:SUCCESSORS] for _ in range(D_VOCAB)])


def _rng(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, *stream])


def _mixture(seed: int, rows: int, *stream: int) -> np.ndarray:
    rng, half = _rng(seed, *stream), rows // 2
    both = [_tiled(rng, half), _chains(rng, rows - half, successors(seed))]
    return np.concatenate(both).astype(np.int32)


def _tiled(rng: np.random.Generator, rows: int) -> np.ndarray:
    segment = rng.integers(D_VOCAB, size=(rows, PERIODS[1]))
    period = rng.integers(PERIODS[0], PERIODS[1] + 1, size=(rows, 1))
    return np.take_along_axis(segment, np.arange(CONTEXT) % period, axis=1)


def _chains(rng: np.random.Generator, rows: int, table: np.ndarray) -> np.ndarray:
    chosen = rng.integers(SUCCESSORS, size=(CONTEXT, rows))
    token, tokens = rng.integers(D_VOCAB, size=rows), []
    for which in chosen:
        tokens.append(token)
        token = table[token, which]
    return np.stack(tokens, axis=1)
