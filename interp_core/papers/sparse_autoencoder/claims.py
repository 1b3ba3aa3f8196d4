"""The paper's claims beside what was measured of a dictionary."""

from __future__ import annotations

import math

import numpy as np

from interp_core.estimates import Estimate, Resample, means, share
from interp_core.findings import OURS, THEIRS, Finding, at_least, at_most, every
from interp_core.models.bundled import ONE_LAYER
from interp_core.models.info import UNTRAINED_ONE_LAYER
from interp_core.papers.sparse_autoencoder.comparison import NEAR, Comparison
from interp_core.papers.sparse_autoencoder.dictionary import SHIPS
from interp_core.papers.sparse_autoencoder.evaluation import Evaluation
from interp_core.papers.sparse_autoencoder.features import ENOUGH, Features
from interp_core.papers.sparse_autoencoder.params import OnText
from interp_core.papers.sparse_autoencoder.training import Training

SPARSE, RECOVERED, MEAN = at_most(20.0, THEIRS), at_least(0.75), at_least(0.5)
"""Active latents a token (the paper aims at fewer than 10 to 20); shares of the loss, of which the first
bar is near the paper's 79%."""
DEAD, DECADES, RECURS, SPLITS = at_most(0.1), at_least(3.0), at_least(0.5), at_least(0.5)
_ABOVE = at_least(0.0)
_NO_INTERVAL = "no interval, as sums over held-out text are kept"
_TOPK = "TopK fixes it"
_WORTH = "How much of the model does our interpretation explain?"


def kept(result: Evaluation) -> list[Finding]:
    """Return whether the dictionary is sparse, faithful and alive, and better than what is simpler."""
    end, on = _text(result.params)
    l0, recovered, mean = (
        Estimate.of_ends(result.metric(name), result.n, "windows")
        for name in ("l0", "ce_loss_score", "ce_loss_score_mean_ablation")
    )
    silent = share((result.density == 0).astype(float), "features")
    return [
        *_faithful(l0, recovered, mean, end, on, given=_given(result)),
        _alive(silent, f"share of features never active in {result.positions:,} tokens", end, on),
        _decades(result),
        *(
            Finding.measured(
                f"recovered_over_{over}{end}",
                f"The features recover more than as many {words} per token{on}",
                "not compared",
                result.gain(over),
                "share",
                bar=_ABOVE,
                measure=f"share of the loss recovered (zero ablation), less that of {words}",
            )
            for over, words in (("pca", "principal components"), ("random", "random directions"))
        ),
    ]


def _given(result: Evaluation) -> str:
    """Return why it is no finding how many latents are active, where it is none."""
    if np.ptp(result.sum("l0") / result.sum("n")) == 0:
        return _TOPK
    chosen = (result.params.model, result.params.sae) == (ONE_LAYER, SHIPS)
    return "of the dictionaries trained, the one that keeps this was chosen" if chosen else ""


def _text(params: OnText) -> tuple[str, str]:
    """Return how ids and claims end that are of this model and text; nothing for what is trained on."""
    small = params.model in (ONE_LAYER, UNTRAINED_ONE_LAYER)
    end, on = ("_one_layer", "one-layer model") if small else ("", "")
    if params.text != "manual":
        end, on = f"{end}_{params.text}", ", ".join(part for part in (on, params.text) if part)
    return end, f" ({on})" if on else ""


def _faithful(
    l0: Estimate,
    recovered: Estimate,
    mean: Estimate,
    end: str = "",
    on: str = "",
    more: str = "",
    given: str = "",
) -> list[Finding]:
    """Return whether a dictionary is sparse, and what it keeps of the loss.

    Where L0 is ``given``, for the reason that is named, its finding is a check.
    """
    return [
        Finding.measured(
            f"sparse{end}",
            f"Few features are active at a token{on}",
            "fewer than 10 to 20 of 4,096",
            l0,
            "features",
            bar=SPARSE,
            criterion="; ".join(part for part in (more, given) if part),
            measure="L0: features above 0 at a token, mean over tokens",
            check=bool(given),
            place="appendix on training",
        ),
        Finding.measured(
            f"recovered{end}",
            f"The features keep most of the loss that removing the site costs (zero ablation){on}",
            "79% (A/1)",
            recovered,
            "share",
            bar=RECOVERED,
            criterion=more,
            measure="(CE zeros - CE spliced) / (CE zeros - CE clean)",
            place=_WORTH,
        ),
        Finding.measured(
            f"recovered_mean{end}",
            f"The features keep most of the loss that putting the site's mean in its place costs (mean ablation){on}",
            "no figure given; the authors warn that zero ablation flatters",
            mean,
            "share",
            bar=MEAN,
            criterion=more,
            measure="(CE mean - CE spliced) / (CE mean - CE clean)",
            place=_WORTH,
        ),
    ]


def _alive(silent: Estimate, measure: str, end: str = "", on: str = "") -> Finding:
    return Finding.measured(
        f"alive{end}",
        f"Few features are never active{on}",
        "4% (168 of 4,096, in 100 million tokens)",
        silent,
        "share",
        bar=DEAD,
        criterion="in so few tokens rare features are silent, too",
        measure=measure,
        place="appendix on feature density",
    )


def _decades(result: Evaluation) -> Finding:
    """Return whether densities spread widely; undecided where the text is too short to show it.

    There is no interval: densities are kept as sums over the text. None is below one in all its tokens.
    """
    end, on = _text(result.params)
    active = result.density[result.density > 0]
    shows = math.log10(np.percentile(active, 99) * result.positions) if len(active) else -math.inf
    too_short = shows < DECADES.low
    spread = Estimate(result.decades, len(active), "active features")
    at_most_shown = Estimate(spread.value, spread.n, spread.of, spread.value, math.inf)
    return Finding.measured(
        f"decades{end}",
        f"Features differ widely in how often they are active{on}",
        "densities over several decades (histogram)",
        spread,
        "decades",
        holds=DECADES.verdict(at_most_shown if too_short else spread),
        criterion=DECADES.words("decades")
        + "; no interval, as densities are sums over the text"
        + f"; {result.positions:,} tokens can show {shows:.1f}" * too_short,
        measure="from the 1st to the 99th percentile of the densities of active features",
        place="appendix on feature density",
    )


def told(result: Features) -> list[Finding]:
    """Return whether one rule tells features better than neurons, and than random directions."""
    found = []
    end, on = _text(result.params)
    sides = (
        ("neuron", 2, "the neurons that correlate most with them"),
        ("random", 3, "random directions"),
    )
    for name, row, words in sides:
        gap = result.scores[0] - result.scores[row]
        gap = gap[np.isfinite(gap)]
        if len(gap) < 2:
            continue
        found.append(
            Finding.measured(
                f"over_{name}{end}",
                f"Features are more specific than {words}{on}",
                "median interpretability 12 of 14 against 0 for neurons, rated by hand",
                Estimate.of_ends(means(gap), len(gap), "features"),
                "F1",
                bar=_ABOVE,
                measure="F1 of one rule on held-out windows, less that of the other's own rule; mean over "
                f"features drawn of those active at {ENOUGH} tokens or more",
                place="How interpretable is the typical feature?",
            )
        )
    return found


def trained(result: Training) -> list[Finding]:
    """Return what one training says of its dictionary, or several of sparsity against loss.

    Of one dictionary it is what :func:`kept` says of it on more text: no interval here, for what is kept of the
    held-out windows is their sum.
    """
    frame = result.frames["pareto"].sort_values("l0")
    if frame.empty:
        return []
    if len(result.sparsity) == 1:
        row = frame.iloc[0]
        columns = ("l0", "ce_loss_score", "ce_loss_score_mean_ablation")
        l0, recovered, mean = (Estimate(float(row[name]), 1, "training") for name in columns)
        given = _TOPK if result.params.architecture == "topk" else ""
        dead = share(np.arange(result.latents) < round(row["dead"] * result.latents), "features")
        return [
            *_faithful(l0, recovered, mean, more=_NO_INTERVAL, given=given),
            _alive(
                dead, "share of features not active in the last twentieth of training", "_training"
            ),
        ]
    if len(frame) < 3:
        return []
    steps = np.diff(frame["ce_loss_score"])
    return [
        Finding.measured(
            "trade_off",
            "The sparser the dictionary, the less of the loss it recovers",
            "a trade-off, by the L1 coefficient (figure)",
            Estimate(float((steps > 0).sum()), len(frame), "dictionaries"),
            f"of {len(steps)} steps",
            holds=bool((steps > 0).all()),
            criterion=f"every step between sparsities rises (bar: {OURS}); {_NO_INTERVAL}",
            measure="rises of the loss recovered (zero ablation) with L0",
            place="appendix on training",
        )
    ]


def recurs(result: Comparison) -> Finding | None:
    """Return whether latents are found again in a dictionary of the same width."""
    values = result.correlation[:, result.often]
    if result.itself or result.wider or values.shape[1] < 2:
        return None
    resample = Resample(values.shape[1], "features", 0)
    draws = resample.pooled_medians(list(values.T[:, :, None]))
    middle, floor, within = np.median(values, axis=1)
    median = resample.estimate(middle, draws[:, 0])
    over_text, over_own = (
        resample.estimate(middle - each, draws[:, 0] - draws[:, row])
        for row, each in ((1, floor), (2, within))
    )
    verdicts = (RECURS.verdict(median), *map(_ABOVE.verdict, (over_text, over_own)))
    return Finding.measured(
        "recurs",
        "Features recur in another dictionary of the same width, closer than they are to one another",
        "median correlation 0.72 between features of two transformers, 0.46 between their neurons; "
        "both dictionaries are of one model here, which is easier",
        over_own,
        "correlation",
        holds=every(verdicts),
        criterion=f"{_ABOVE.words('correlation')}; and the median with the other dictionary, {middle:.2f}, has to be "
        f"{RECURS.words('correlation')} and above that with other text, {floor:.2f}; the interval is over features of this pair",
        measure="median over features of the largest correlation of activations with one of the other dictionary's, on "
        f"held-out text, less the same with another of its own dictionary ({within:.2f})",
        place="Universality",
    )


def splits(result: Comparison) -> Finding | None:
    """Return whether the latents of the narrower dictionary become several in the wider one."""
    if not result.wider or result.split.shape[1] < 2:
        return None
    counts, (covered, floor, one) = result.splits, result.split
    own, above = (
        Estimate.of_ends(means(each), len(each), "features") for each in (covered, covered - floor)
    )
    return Finding.measured(
        "splits",
        "A wider dictionary splits features: those nearest to one are active where it was",
        "features split as dictionaries grow; one for base64 becomes three",
        own,
        "share",
        holds=every((SPLITS.verdict(own), _ABOVE.verdict(above))),
        criterion=f"{SPLITS.words('share')}, and above that of those nearest to the feature most like it, {floor.mean():.0%}; the most "
        f"frequent of its own alone, {one.mean():.0%}; {(counts >= 2).sum():,} of {len(counts):,} features are the nearest of two or more, by cosines of decoder "
        f"directions from {NEAR:g} on, and {len(covered):,} of these are active at {ENOUGH} tokens or more",
        measure="of the tokens at which a feature of the narrower dictionary is active that is the nearest of two or more in "
        "the wider, the share at which one of these is; mean over such features",
        place="Feature Splitting",
    )
