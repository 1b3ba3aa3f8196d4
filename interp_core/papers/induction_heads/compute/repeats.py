"""Repeated random tokens: text that nothing but copying can predict (Olsson et al. 2022)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.induction_heads.params import MAX_TOKENS, Sequences
from interp_core.params import ParameterError
from interp_core.tokens import Bos, Tokenizer

_COMMON, _RARE = 0.02, 0.8
"""Shares of the vocabulary between which tokens are drawn: ids follow frequency, and the paper
leaves out the most and the least common."""


@dataclass(frozen=True)
class Repeated:
    """Sequences of random tokens, all different, that stand in each several times."""

    tokens: np.ndarray
    """[sequence, pos]"""
    first: int
    """Position of the first random token: 1 where a token stands in front."""
    period: int
    repeats: int


def draw(model: LanguageModel, params: Sequences) -> Repeated:
    """Return ``params.seeds`` sequences of ``params.tokens`` tokens, ``params.repeats`` times each.

    Raises:
        ParameterError: When they do not fit the model's context or vocabulary.
    """
    front = start_of(model, params.bos)
    length = len(front) + params.tokens * params.repeats
    longest = min(MAX_TOKENS, model.info.context)
    if length > longest:
        raise ParameterError(
            f"tokens: {params.tokens} x {params.repeats} repeats make {length} tokens with what "
            f"stands in front; accepted: up to {longest}"
        )
    known = vocabulary(model)
    if params.tokens > len(known):
        raise ParameterError(
            f"tokens: {params.tokens} is not accepted; this vocabulary has {len(known)} to draw "
            "from, so accepted: at most so many"
        )
    random = np.random.default_rng(params.seed)
    rows = [random.choice(known, params.tokens, replace=False) for _ in range(params.seeds)]
    tiled = np.tile(np.stack(rows), (1, params.repeats))
    start = np.tile(np.array(front, tiled.dtype), (params.seeds, 1))
    return Repeated(
        np.concatenate([start, tiled], axis=1), len(front), params.tokens, params.repeats
    )


def vocabulary(model: LanguageModel) -> np.ndarray:
    """Return the ids of neither common nor rare tokens that are whole characters, and not special."""
    return _vocabulary(model.tokenizer, model.info.d_vocab)


@functools.lru_cache(maxsize=4)
def _vocabulary(tokenizer: Tokenizer | None, size: int) -> np.ndarray:
    ids = range(int(size * _COMMON), max(int(size * _RARE), 2))
    if tokenizer is None:
        return np.array(ids)
    tokens = tokenizer.tokens(list(ids))
    return np.array([t.id for t in tokens if not t.special and "\\x" not in t.text])


def start_of(model: LanguageModel, bos: Bos) -> list[int]:
    """Return the ids that stand in front of a sequence (see :func:`bos_ids`); none without a tokenizer."""
    return [] if model.tokenizer is None else bos_ids(model.tokenizer, bos)


def bos_ids(tokenizer: Tokenizer, bos: Bos) -> list[int]:
    """Return the tokenizer's BOS, or nothing.

    Raises:
        ParameterError: When the tokenizer's BOS is asked for and it has none.
    """
    try:
        return tokenizer.front(bos, auto="bos")
    except ValueError as error:
        raise ParameterError(str(error)) from None
