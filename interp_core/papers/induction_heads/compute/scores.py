"""What heads look at: scores of attention patterns (Olsson et al. 2022, appendix)."""

from __future__ import annotations

import numpy as np

from interp_core.papers.induction_heads.compute.repeats import Repeated


def of_pattern(pattern: np.ndarray, given: Repeated, window: int | None = None) -> np.ndarray:
    """Return each score of repeated random tokens, [score, sequence, head].

    ``prefix_matching`` is the attention to the tokens that followed the current one before, summed
    over earlier copies and averaged over the queries of all copies but the first: 1 for a perfect
    induction head. ``duplicate_token`` is the same of the earlier copies themselves. The others are
    averaged over all queries but the first position's.

    Args:
        pattern: [sequence, head, query, key]
        given: The sequences.
        window: How many positions the layer's attention sees, itself included; None for all. Where
            it does not reach back to the copy before, both of these are NaN.
    """
    back = [given.period * r for r in range(1, given.repeats)]
    seen = pattern[:, :, 1:]
    return np.stack(
        [
            _copies(pattern, given, back, 1, window),
            _diagonal(pattern, 1, 1).mean(-1),
            _copies(pattern, given, back, 0, window),
            seen[..., 0].mean(-1),
            _diagonal(pattern, 0, 1).mean(-1),
            entropy(seen).mean(-1),
        ]
    )


def of_text(pattern: np.ndarray, ids: np.ndarray, window: int | None = None) -> np.ndarray:
    """Return the scores on any text, [score, head], for its ``pattern`` [head, query, key].

    ``prefix_matching`` and ``duplicate_token`` are averaged over the queries whose token stood
    earlier in the text, within ``window``; NaN where there are none.
    """
    key, query = np.arange(len(ids)), np.arange(len(ids))[:, None]
    reach = len(ids) if window is None else window
    same = (ids[None] == ids[:, None]) & (key < query) & (query - key < reach)
    # The token after an earlier occurrence; for the one just before, that is the query itself.
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    again = same.any(1)
    seen = pattern[:, 1:]
    rows = [np.full(len(pattern), np.nan)] * 2
    if again.any():
        rows = [(pattern * mask).sum(-1)[:, again].mean(-1) for mask in (after, same)]
    return np.stack(
        [
            rows[0],
            _diagonal(pattern, 1, 1).mean(-1),
            rows[1],
            seen[..., 0].mean(-1),
            _diagonal(pattern, 0, 1).mean(-1),
            entropy(seen).mean(-1),
        ]
    )


def entropy(pattern: np.ndarray) -> np.ndarray:
    """Return the entropy of each query's attention, nats, [..., query]."""
    # The smallest normal number keeps log(0) away and adds nothing.
    return -np.vecdot(pattern, np.log(pattern + np.finfo(np.float32).tiny))


def _diagonal(pattern: np.ndarray, back: int, start: int) -> np.ndarray:
    """Return the attention ``back`` positions back, of queries from ``start``, [..., query]."""
    return np.diagonal(pattern, -back, -2, -1)[..., max(0, start - back) :]


def _copies(
    pattern: np.ndarray, given: Repeated, back: list[int], shift: int, window: int | None
) -> np.ndarray:
    if window is not None and back[0] - shift >= window:
        return np.full(pattern.shape[:2], np.nan)
    total = sum(
        _diagonal(pattern, each - shift, given.first + each).sum(-1, dtype=float) for each in back
    )
    return np.asarray(total) / back[-1]
