"""The post's claims beside what was measured, for a model of any depth."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate, means, picked
from interp_core.findings import Finding, at_least, at_most, every
from interp_core.papers.logit_lens.prompts import PROMPTS, SHUFFLED, Averages

_MIDDLE, _LAST_THIRD, _NEAR_END, _DEEP = 1 / 2, 2 / 3, 25 / 30, 28 / 30
"""Depths at which claims are tested: the shares of blocks that have run."""
_SHORT, _WHOLE = at_most(6), at_most(3)
"""What the median rank, counted from 1, has to come down to, and by how much it may rise on the way."""


def of_averages(result: Averages) -> list[Finding]:
    """Return every claim with its measurement; what ends a prompt is asked of prompts only."""
    # Shuffled tokens are a floor, of which no claim is made.
    if len(result.layers) < 3 or result.params.text == SHUFFLED:
        return []
    found = [*_checks(result), *_inputs(result), *_ranks(result), _monotone(result), _late(result)]
    return [*found, _crystallisation(result)] if result.params.text == PROMPTS else found


def _id(result: Averages, name: str) -> str:
    return name if result.params.text == PROMPTS else f"{name}_{result.params.text}"


def _on(result: Averages) -> str:
    return "" if result.params.text == PROMPTS else f" ({result.params.text})"


def _at(result: Averages, depth: float) -> int:
    """Return the row of the first layer at which ``depth`` of the blocks have run."""
    return int(np.ceil(depth * (len(result.layers) - 1)))


def _checks(result: Averages) -> list[Finding]:
    return [
        Finding.measured(
            _id(result, "last_row"),
            f"The last layer's readout is the model's own output{_on(result)}",
            "by definition",
            Estimate(result.output_gap, result.n_prompts, result.of),
            "nats",
            bar=at_most(1e-2),
            measure="largest difference in the top token's log probability, over all positions",
            check=True,
        ),
        Finding.measured(
            _id(result, "attribution_sums"),
            f"Direct attributions add up to the logit{_on(result)}",
            "by definition",
            Estimate(result.attribution_gap, result.n_prompts, result.of),
            "logits",
            bar=at_most(1e-2),
            measure="largest difference between the sum and the top token's logit, over all positions",
            check=True,
        ),
    ]


def _inputs(result: Averages) -> list[Finding]:
    share = result.ends("input_share")
    loudest = 1 + int(share[1:, 0].argmax())
    return [
        Finding.measured(
            _id(result, "embedding_is_input"),
            f"The embedding reads as the input token{_on(result)}",
            "the input layer looks like the input",
            result.estimate(share[0]),
            "share",
            bar=at_least(0.6),
            measure="share of positions at which the embedding's top token is the token that stands there",
            criterion="where embedding and unembedding share their weights, it does unless the lens is wrong",
            check=True,
            place="the post's overview",
        ),
        Finding.measured(
            _id(result, "input_discarded"),
            f"No block reads as the input token{_on(result)}",
            "the input is gone after the first layer",
            result.estimate(picked(result.each("input_share")[:, 1:])),
            "share",
            bar=at_most(0.15),
            measure="share of positions at which a block's top token is the token that stands there, at the block with "
            f"most of them; picked on one half of the {result.of}, read on the other, which weigh alike",
            criterion=f"over all {result.of} the most is at layer {result.layers[loudest]}",
            place="the post's overview",
        ),
    ]


def _ranks(result: Averages) -> list[Finding]:
    rank = 1 + result.median_rank
    middle, near_end = _at(result, _MIDDLE), _at(result, _NEAR_END)
    falls = [_WHOLE.verdict(result.estimate(result.rank_rise)), *_SHORT.of_ends(rank[near_end:])]
    return [
        Finding.measured(
            _id(result, "rank_falls"),
            f"The final token's rank falls through the layers{_on(result)}",
            "ranks fall through the layers",
            result.estimate(result.rank_rise),
            "ranks",
            holds=every(falls),
            measure="largest rise of the final top token's median rank from a block to the next, which is picked on "
            f"one half of the {result.of} and read on the other",
            criterion=f"{_WHOLE.words('ranks')}, and the median rank (1 is the likeliest) at each layer from "
            f"{result.layers[near_end]} on {_SHORT.words('')}",
            place="the post's plots of ranks",
        ),
        Finding.measured(
            _id(result, "rank_middle"),
            f"The final token's rank has collapsed half-way{_on(result)}",
            "ranks collapse by the middle of the network",
            result.estimate(rank[middle]),
            "(1 is the likeliest)",
            bar=_SHORT,
            measure=f"median rank of the final top token at layer {result.layers[middle]}",
            place="the post's overview",
        ),
    ]


def _monotone(result: Averages) -> Finding:
    kl = result.ends("kl")[1:, 0]
    worst = 1 + int(np.diff(kl).argmax())
    return Finding.measured(
        _id(result, "kl_monotone"),
        f"KL(final ‖ layer) falls from each block to the next{_on(result)}",
        "smooth convergence to the final distribution",
        result.estimate(picked(np.diff(result.each("kl")[:, 1:], axis=1))),
        "nats",
        bar=at_most(0),
        measure="largest step of the mean KL from a block to the next, which is picked on one half of the "
        f"{result.of} and read on the other; they weigh alike",
        criterion=f"over all {result.of} the largest is from layer {result.layers[worst]} to "
        f"{result.layers[worst + 1]}",
        place="the post's overview",
    )


def _late(result: Averages) -> Finding:
    deep = min(_at(result, _DEEP), len(result.layers) - 2)  # the last agrees by definition
    return Finding.measured(
        _id(result, "agreement_late"),
        f"Late readouts agree with the output{_on(result)}",
        "late layers hold better guesses",
        result.estimate(result.ends("agreement")[deep]),
        "share",
        bar=at_least(0.45),
        measure=f"positions at which the top token is the final one, at layer {result.layers[deep]}",
        place="the post's overview",
    )


def _crystallisation(result: Averages) -> Finding:
    bound = result.layers[_at(result, _LAST_THIRD)]
    return Finding.measured(
        _id(result, "crystallisation"),
        "The prompt's next token settles in the last third of the layers",
        "guesses are refined late",
        result.estimate(means(result.crystallisation.astype(float))),
        f"(mean layer, of {result.provenance.model.n_layers})",
        bar=at_least(float(bound)),
        measure="layer from which the last position's top token stays the final one",
        place="the post's overview",
    )
