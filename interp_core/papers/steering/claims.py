"""The paper's claims beside what was measured."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate, Resample, means, share
from interp_core.findings import Finding
from interp_core.papers.steering.geometry import Geometry
from interp_core.papers.steering.strength import MOST_LOSS, RANDOM, SHUFFLED, Strength
from interp_core.papers.steering.sweep import Sweep

LEAST_SWING, MOST_SHARE = 0.1, 0.25
PEAK = (0.3, 0.6)
"""Depths between which the paper's layer sweeps peak."""


def _about(result: Sweep | Strength | Geometry) -> str:
    """Return what a claim begins with: the behaviour, where it is one that ships."""
    return "" if result.params.pairs else f"{result.behaviour}: "


def swept(result: Sweep) -> list[Finding]:
    """Return what a sweep over layers says."""
    first, last = result.multipliers[0], result.multipliers[-1]
    if not first < 0 < last:
        return []
    about = _about(result)
    found = [
        Finding.measured(
            "layer_swing",
            f"{about}steering at the best layer moves held-out answers",
            "p(match) .45 to .83 for corrigibility, -1 to +1 (Llama 2 13B, layer 13)",
            Estimate.of_ends(result.gain, result.n - result.n // 2, "pairs"),
            "change of p",
            holds=result.gain[1] > 0,
            criterion=f"p at {last:+g} less p at {first:+g}, its interval above 0; the layer is chosen on the other half of "
            "the pairs",
        )
    ]
    return [*found, _peak(result, about)] if len(result.layers) > 4 else found


def _peak(result: Sweep, about: str) -> Finding:
    """Whether the layer that moves answers most lies in the middle; the choice is resampled, too."""
    depth = (result.layers + 1) / result.depth
    draws = Resample(result.n, "pairs", 0).means(result.swing.T)
    value = float(depth[result.swing.mean(1).argmax()])
    estimate = Estimate.of_draws(value, depth[draws.argmax(1)], result.n, "pairs")
    return Finding.measured(
        "peak",
        f"{about}the layer that steers best lies between {PEAK[0]:.0%} and {PEAK[1]:.0%} of depth",
        "layer 13 of 32 (Llama 2 7B): 41% of depth",
        estimate,
        "share",
        holds=PEAK[0] <= value <= PEAK[1],
        criterion="depth of the largest change; the interval resamples pairs, and the choice with them",
    )


def strengthened(result: Strength) -> list[Finding]:
    """Return what a sweep over strengths says."""
    about = _about(result)
    return [
        _dose(result, about),
        _monotone(result, about),
        _floor(result, about, RANDOM, "random_floor", "a random vector"),
        _floor(
            result, about, SHUFFLED, "shuffled_floor", "a vector of pairs with shuffled answers"
        ),
        _chosen(result, about),
        _cost(result, about),
    ]


def _dose(result: Strength, about: str) -> Finding:
    ends = means(result.p[0])
    swing = means(result.p[0, result.row(1)] - result.p[0, result.row(-1)])
    apart = ends[0, 2] < ends[-1, 1]
    return Finding.measured(
        "dose",
        f"{about}p(matching) rises by {LEAST_SWING} or more from multiplier -1 to +1",
        "6 of 7 behaviours rise (Llama 2 13B)",
        Estimate.of_ends(swing, result.n, "pairs"),
        "change of p",
        holds=swing[0] >= LEAST_SWING and bool(apart),
        criterion=f"at layer {result.layer}, fixed before; the value, and intervals at {result.multipliers[0]:+g} and "
        f"{result.multipliers[-1]:+g} that do not meet",
    )


def _monotone(result: Strength, about: str) -> Finding:
    steps = np.diff(result.p[0], axis=0)
    lowest = means(steps)[steps.mean(1).argmin()]
    rising = means(steps)[:, 1] > 0
    return Finding.measured(
        "monotone",
        f"{about}every further step of the multiplier raises p(matching)",
        "monotone for 6 of 7 behaviours at -1, 0, +1",
        Estimate.of_ends(lowest, result.n, "pairs"),
        "change of p",
        holds=bool(rising.all()),
        criterion=f"the least of {len(rising)} steps is shown; the intervals of all above 0 ({int(rising.sum())} are)",
    )


def _floor(result: Strength, about: str, kind: str, name: str, words: str) -> Finding:
    moved = result.floor_share(kind)
    draws = sum(each == kind for each in result.floors)
    return Finding.measured(
        name,
        f"{about}{words} of the same norm moves p less than a quarter as much",
        "no such floor; ours",
        Estimate.of_ends(moved, draws, "vectors"),
        "share",
        holds=moved[2] < MOST_SHARE,
        criterion=f"mean size of the changes over the vector's own, its interval below {MOST_SHARE:.0%}",
    )


def _chosen(result: Strength, about: str) -> Finding:
    return Finding.measured(
        "chosen",
        f"{about}the strength that is best on half of the pairs works on the other half",
        "no such split; ours",
        Estimate.of_ends(result.gain, result.n - result.n // 2, "pairs"),
        "change of p",
        holds=result.gain[1] > 0,
        criterion=f"at most {MOST_LOSS} nats on unrelated text; the choice is {_named(result)}; gain over unsteered, "
        "its interval above 0",
    )


def _named(result: Strength) -> str:
    chosen = float(result.multipliers[result.chosen])
    return f"{chosen:+g}" if chosen else "0, as none costs so little and does more"


def _cost(result: Strength, about: str) -> Finding:
    rows = [result.row(-1), result.row(1)]
    worst = result.cost[rows][np.abs(result.cost[rows, 0]).argmax()]
    return Finding.measured(
        "cost",
        f"{about}steering by 1 leaves unrelated text alone",
        "MMLU .63 to .57-.65 (Llama 2 13B)",
        Estimate.of_ends(worst, len(result.sizes), "documents"),
        "nats a token",
        holds=bool(np.abs(result.cost[rows, 1:]).max() < MOST_LOSS),
        criterion=f"change of loss at -1 and +1, the larger is shown; both intervals within {MOST_LOSS} nats",
    )


def located(result: Geometry) -> list[Finding]:
    """Return what the vector is of."""
    middle = len(result.layers) // 2
    about = _about(result)
    if result.params.protocol != "ab":
        apart = share(result.apart[middle], "pairs")
        return [
            Finding.measured(
                "separated",
                f"{about}held-out answers are separated along the vector",
                "clusters by behaviour from layer 10 of 32 on",
                apart,
                "share",
                holds=apart.low is not None and apart.low > 0.5,
                criterion=f"after block {middle}: pairs whose matching answer lies further along, interval above half",
            )
        ]
    cosine = result.letter_cosine()[middle]
    r = result.correlations()
    gap = r["behaviour"][middle, 0] - r["letter"][middle, 0]
    accuracy = result.accuracy
    return [
        Finding.measured(
            "knows",
            f"{about}the model answers A/B questions better than chance",
            "p(match) .22 to .78 by behaviour (Llama 2 13B)",
            accuracy,
            "share",
            holds=accuracy.low is not None and accuracy.low > 0.5,
            criterion="pairs whose matching letter is the likelier one; interval above half",
        ),
        Finding.measured(
            "behaviour_vector",
            f"{about}the vector is of the behaviour, not of the letter",
            "assumed; not tested",
            Estimate.of_ends(cosine, int(result.by_letter.sum()), "pairs"),
            "cosine",
            holds=not result.is_letter,
            criterion=f"after block {middle}: vectors of pairs with (A) and with (B) matching, interval above 0",
        ),
        Finding.measured(
            "clusters",
            f"{about}answers cluster by behaviour more than by letter",
            "clusters by letter at all layers, by behaviour from layer 10 of 32 on",
            Estimate(float(gap), len(result.letter), "pairs"),
            "difference of |r|",
            holds=bool(gap > 0),
            criterion=f"first principal component after block {middle}",
        ),
    ]
