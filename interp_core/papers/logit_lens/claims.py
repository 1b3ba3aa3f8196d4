"""The post's claims beside what a survey measured, for a model of any depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp_core.estimates import Estimate, Resample
from interp_core.findings import Finding

_MIDDLE, _LAST_THIRD, _NEAR_END, _DEEP = 1 / 2, 2 / 3, 25 / 30, 28 / 30
"""Depths at which claims are tested: the shares of blocks that have run."""


@dataclass(frozen=True)
class Measured:
    """What the claims are held against; arrays [layer, 3] hold a value and its 95% interval."""

    layers: np.ndarray
    """[layer] -1 is the embedding."""
    kl: np.ndarray
    entropy: np.ndarray
    agreement: np.ndarray
    input_share: np.ndarray
    median_rank: np.ndarray
    kl_step: np.ndarray
    """[layer - 1, 3] the rise of KL from each layer to the next."""
    crystallisation: np.ndarray
    """[prompt]"""
    output_gap: float
    """Largest difference between the last readout and the model's own output, nats."""
    attribution_gap: float
    """Largest difference between summed attributions and the logit."""
    resample: Resample
    """Of prompts."""
    n_positions: int


def findings(m: Measured) -> tuple[Finding, ...]:
    """Return every claim with its measurement."""
    return (*_identities(m), *_inputs(m), *_convergence(m), _crystallisation(m))


def _at(m: Measured, depth: float) -> int:
    """Return the row of the first layer at which ``depth`` of the blocks have run."""
    return int(np.ceil(depth * (len(m.layers) - 1)))


def _estimate(m: Measured, row: np.ndarray) -> Estimate:
    value, low, high = (float(x) for x in row)
    return Estimate(value, m.n_positions, "positions", low, high)


def _identities(m: Measured) -> tuple[Finding, ...]:
    return (
        Finding.measured(
            "last_row",
            "The last layer's readout is the model's own output",
            "by definition",
            Estimate(m.output_gap, m.n_positions, "positions"),
            "nats at most",
            holds=m.output_gap < 1e-3,
            criterion="gap below 0.001",
        ),
        Finding.measured(
            "attribution_sums",
            "Direct attributions add up to the logit",
            "by definition",
            Estimate(m.attribution_gap, m.n_positions, "positions"),
            "logits at most",
            holds=m.attribution_gap < 1e-2,
            criterion="gap below 0.01",
        ),
    )


def _inputs(m: Measured) -> tuple[Finding, ...]:
    loudest = 1 + int(m.input_share[1:, 0].argmax())
    return (
        Finding.measured(
            "embedding_is_input",
            "The embedding reads as the input token",
            "the input layer looks like the input",
            _estimate(m, m.input_share[0]),
            "share",
            holds=m.input_share[0, 0] >= 0.6,
            criterion="at 60% of positions or more",
        ),
        Finding.measured(
            "input_discarded",
            "No block reads as the input token",
            "the input is gone after the first layer",
            _estimate(m, m.input_share[loudest]),
            "share",
            holds=m.input_share[loudest, 0] <= 0.15,
            criterion=f"at most 15% of positions (the most: layer {m.layers[loudest]})",
        ),
    )


def _convergence(m: Measured) -> tuple[Finding, ...]:
    deep = _at(m, _DEEP)
    return (
        *_ranks(m),
        _monotone(m, "kl_monotone", "KL(final ‖ layer) falls with depth", 1),
        _monotone(m, "kl_late", "KL(final ‖ layer) falls in the last third", _at(m, _LAST_THIRD)),
        Finding.measured(
            "agreement_late",
            "Late readouts agree with the output",
            "late layers hold better guesses",
            _estimate(m, m.agreement[deep]),
            "share",
            holds=m.agreement[deep, 0] >= 0.45,
            criterion=f"at least 45% of positions at layer {m.layers[deep]}",
        ),
    )


def _ranks(m: Measured) -> tuple[Finding, ...]:
    rank = m.median_rank[:, 0]
    middle, near_end = _at(m, _MIDDLE), _at(m, _NEAR_END)
    settles = bool(np.diff(rank[1:]).max() <= 3 and (rank[near_end:] <= 5).all())
    unit = "(0 is the likeliest)"
    return (
        Finding.measured(
            "rank_falls",
            "The final token's rank falls through the layers",
            "ranks fall through the layers",
            _estimate(m, m.median_rank[near_end]),
            unit,
            holds=settles,
            criterion="its median never rises by more than 3, and is at most 5 "
            f"from layer {m.layers[near_end]} on",
        ),
        Finding.measured(
            "rank_middle",
            "The final token's rank has collapsed half-way",
            "ranks collapse by the middle of the network",
            _estimate(m, m.median_rank[middle]),
            unit,
            holds=rank[middle] <= 5,
            criterion=f"median at most 5 at layer {m.layers[middle]}",
        ),
    )


def _monotone(m: Measured, name: str, claim: str, start: int) -> Finding:
    """Test whether KL only falls from row ``start`` on: no rise that its interval sets above 0."""
    steps = m.kl_step[start:]
    worst = int(steps[:, 0].argmax())
    first, second = m.layers[start + worst], m.layers[start + worst + 1]
    return Finding.measured(
        name,
        claim,
        "smooth convergence to the final distribution",
        _estimate(m, steps[worst]),
        "nats",
        holds=bool((steps[:, 1] <= 0).all()),
        criterion=f"from layer {m.layers[start]} on no rise whose interval is above 0 (largest step: layer "
        f"{first} to {second})",
    )


def _crystallisation(m: Measured) -> Finding:
    settled, bound = m.resample.mean(m.crystallisation), m.layers[_at(m, _LAST_THIRD)]
    return Finding.measured(
        "crystallisation",
        "The prompt's next token settles in the last third of the layers",
        "guesses are refined late",
        settled,
        "(mean layer)",
        holds=settled.value >= bound,
        criterion=f"mean layer at least {bound}",
    )
