"""The paper's claims beside what was measured of a dictionary."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate, means, share
from interp_core.findings import Finding
from interp_core.papers.sparse_autoencoder.evaluation import Evaluation
from interp_core.papers.sparse_autoencoder.features import Features
from interp_core.papers.sparse_autoencoder.training import Training

MOST_L0, LEAST_RECOVERED, MOST_DEAD, LEAST_DECADES = 20.0, 0.75, 0.1, 3.0
"""Bars: the first is the paper's (10 to 20), the second near its 79%; the others are ours."""


def kept(result: Evaluation) -> list[Finding]:
    """Return whether the dictionary is sparse, faithful and alive, and better than what is simpler."""
    l0 = Estimate.of_ends(result.metric("l0"), result.n, "windows")
    recovered = Estimate.of_ends(result.metric("ce_loss_score"), result.n, "windows")
    mean = Estimate.of_ends(result.metric("ce_loss_score_mean_ablation"), result.n, "windows")
    return [
        Finding.measured(
            "sparse",
            "Few features are active at a token",
            "fewer than 10 to 20 of 4,096",
            l0,
            "latents",
            holds=bool((l0.high or np.inf) <= MOST_L0 + 0.5),
            criterion=f"L0 at most {MOST_L0:g}, its interval too",
        ),
        Finding.measured(
            "recovered",
            "The features keep most of the loss that the site is worth (zero ablation)",
            "79% (A/1)",
            recovered,
            "share",
            holds=bool((recovered.low or -np.inf) >= LEAST_RECOVERED),
            criterion=f"at least {LEAST_RECOVERED:.0%}, its interval too; the bar is ours",
        ),
        Finding.measured(
            "recovered_mean",
            "They keep most of what the site is worth beyond its mean (mean ablation)",
            "no figure given; the authors warn that zero ablation flatters",
            mean,
            "share",
            holds=bool((mean.low or -np.inf) >= 0.5),
            criterion="at least half, its interval too; the bar is ours",
        ),
        Finding.measured(
            "alive",
            "Few features are never active",
            "4% (168 of 4,096, in 100 million tokens)",
            share((result.density == 0).astype(float), "latents"),
            "share",
            holds=result.dead <= MOST_DEAD,
            criterion=f"at most {MOST_DEAD:.0%} in {result.positions:,} tokens; the bar is ours",
        ),
        Finding.measured(
            "decades",
            "Features differ widely in how often they are active",
            "densities over several decades (histogram)",
            Estimate(result.decades, int((result.density > 0).sum()), "active latents"),
            "decades",
            holds=result.decades >= LEAST_DECADES,
            criterion=f"1st to 99th percentile at least {LEAST_DECADES:g} decades; the bar is ours",
        ),
        *(
            Finding.measured(
                f"over_{over}",
                f"The features recover more than {words} of as many numbers a token",
                "not compared",
                gap,
                "share",
                holds=bool((gap.low or -np.inf) > 0),
                criterion="the interval of the difference clear of 0",
            )
            for over, words in (("pca", "principal components"), ("random", "random directions"))
            for gap in [result.gain(over)]
        ),
    ]


def told(result: Features) -> list[Finding]:
    """Return whether one rule tells features better than neurons, and than random directions."""
    found = []
    sides = (
        ("neuron", 2, "the neurons that correlate most with them"),
        ("random", 3, "random directions"),
    )
    for name, row, words in sides:
        gap = result.scores[0] - result.scores[row]
        gap = gap[np.isfinite(gap)]
        if len(gap) < 2:
            continue
        ends = means(gap)
        found.append(
            Finding.measured(
                f"over_{name}",
                f"Features are more specific than {words}",
                "median interpretability 12 of 14 against 0 for neurons, rated by hand",
                Estimate.of_ends(ends, len(gap), "features"),
                "F1",
                holds=bool(ends[1] > 0),
                criterion="F1 of one rule on held-out windows, the interval of the difference clear of 0",
            )
        )
    return found


def trained(result: Training) -> list[Finding]:
    """Return whether few latents died, and whether fewer active latents keep less of the loss."""
    frame = result.frames["pareto"].sort_values("l0")
    if frame.empty:
        return []
    dead = share(np.arange(result.latents) < frame["dead"].iloc[0] * result.latents, "latents")
    found = [
        Finding.measured(
            "dead",
            "After the last resampling few latents are dead",
            "4% (168 of 4,096)",
            dead,
            "share",
            holds=dead.value < MOST_DEAD,
            criterion=f"below {MOST_DEAD:.0%} of the sparsest dictionary's, silent in the last twentieth of "
            "training; the bar is ours",
        )
    ]
    if len(frame) >= 3:
        steps = np.diff(frame["ce_loss_score"])
        found.append(
            Finding.measured(
                "trade_off",
                "The sparser the dictionary, the less of the loss it recovers",
                "a trade-off, by the L1 coefficient (figure)",
                Estimate(float((steps > 0).sum()), len(steps), "steps"),
                f"of {len(steps)} steps",
                holds=bool((steps > 0).all()),
                criterion="recovered loss rises with L0 at every step between sparsities",
            )
        )
    return found
