"""Figures of a whole dictionary: its features, and what it keeps of the model."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.sparse_autoencoder.evaluation import Evaluation
from interp_core.papers.sparse_autoencoder.features import KINDS, Features
from interp_core.papers.sparse_autoencoder.figures import clicked, marked
from interp_core.plot import figure, fit, layered, theme, tip

_WIDTH, _AXIS = 640, 80
_LISTED = 200
"""Features of a list, at most."""
WELL = 0.5
"""F1 above which a rule is said to tell something well."""
_SIDES = {
    "ce_loss_score": "dictionary",
    "ce_loss_score_mean_ablation": "dictionary, against the mean",
    "ce_loss_score_pca": "PCA",
    "ce_loss_score_random": "random directions",
}


def recovered(result: Evaluation) -> alt.LayerChart:
    """Return the share of the loss that each reconstruction recovers."""
    values = np.stack([result.metric(name) for name in _SIDES])
    frame = pd.DataFrame(values, columns=["value", "low", "high"]).assign(
        name=list(_SIDES.values())
    )
    low = min(0.0, float(frame["low"].min()))
    frame = frame.assign(low=frame["low"].clip(-1), value=frame["value"].clip(-1))
    axis = alt.Axis(format="%", grid=True, tickCount=6)
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "name:N",
            title=None,
            sort=list(_SIDES.values()),
            axis=alt.Axis(ticks=False),
        ),
        tooltip=[
            alt.Tooltip("name:N", title="in place"),
            tip("value", "recovered", ".1%"),
            tip("low", "95% interval from", ".1%"),
            tip("high", "to", ".1%"),
        ],
    )
    x = alt.X(
        "value:Q",
        title="share of the loss recovered",
        axis=axis,
        scale=alt.Scale(domain=[max(low, -1), 1]),
    )
    return figure(
        layered(
            base.mark_bar(opacity=0.5, color=theme.CATEGORIES[1]).encode(x=x),
            base.mark_rule(strokeWidth=2.4, style="outline").encode(x=alt.X("low:Q"), x2="high:Q"),
        ),
        f"Loss recovered with {result.metric('l0')[0]:.0f} numbers a token",
        "0% is zeros in the site's place, 100% the model as it is; in the second row 0% is the site's mean.",
        "PCA: the same components at every token. Random: the largest of as many as features, anew at each.",
        f"Lines: 95% intervals over {result.n} windows.",
        width=fit(_WIDTH - 160, 200),
        height=150,
    )


def metrics(result: Evaluation) -> pd.DataFrame:
    """Return every metric with its interval and formula, as a table."""
    frame = result.frames["metrics"]
    return pd.DataFrame(
        {
            "metric": frame["metric"],
            "value": frame["value"].map("{:.4g}".format),
            "95% interval": [
                "" if np.isnan(a) else f"{a:.4g} to {b:.4g}"
                for a, b in zip(frame["low"], frame["high"], strict=True)
            ],
            "formula": frame["formula"],
        }
    )


def densities(result: Evaluation | Features) -> alt.Chart:
    """Return how many latents are active how often."""
    active = result.density[result.density > 0]
    counts, edges = (
        np.histogram(np.log10(active), bins=30) if len(active) else (np.zeros(1), [0, 1])
    )
    frame = pd.DataFrame(
        {"low": 10.0 ** np.array(edges[:-1]), "high": 10.0 ** np.array(edges[1:]), "count": counts}
    )
    chart = (
        alt.Chart(frame)
        .mark_rect(color=theme.CATEGORIES[1], opacity=0.85)
        .encode(
            x=alt.X(
                "low:Q",
                title="share of tokens at which a feature is active (log scale)",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format=".0e", values=[10.0**k for k in range(-6, 1)]),
            ),
            x2="high:Q",
            y=alt.Y("floor:Q", title="features", axis=alt.Axis(grid=True)),
            y2="count:Q",
            tooltip=[
                tip("low", "from", ".2e"),
                tip("high", "to", ".2e"),
                tip("count", "features", "d"),
            ],
        )
        .transform_calculate(floor="0")
    )
    return figure(
        chart,
        "How often features are active",
        f"{len(active):,} of {len(result.density):,} features are active in {result.positions:,} tokens.",
        width=fit(_WIDTH, _AXIS),
        height=240,
    )


def comparison(result: Features) -> alt.LayerChart:
    """Return how well one rule tells features, neurons and random directions, on held-out windows."""
    frame = result.frames["comparison"].dropna(subset="score")
    order = [kind for kind in KINDS if kind in set(frame["kind"])]
    x = alt.X("score:Q", title="F1 of the rule, held-out windows", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("kind:N", title=None, sort=order, axis=alt.Axis(ticks=False))
    dots = (
        alt.Chart(frame)
        .mark_tick(thickness=1.5, opacity=0.45, height=18, color=theme.CATEGORIES[1])
        .encode(
            x=x,
            y=y,
            tooltip=[tip("feature", "feature", "d"), "kind:N", tip("score", "F1", ".2f")],
        )
    )
    means = frame.groupby("kind", as_index=False)["score"].mean()
    middle = (
        alt.Chart(means)
        .mark_point(filled=True, shape="diamond", size=120, color=theme.CATEGORIES[3], opacity=1)
        .encode(x=x, y=y, tooltip=["kind:N", tip("score", "mean F1", ".2f")])
    )
    return figure(
        layered(dots, middle),
        f"What one rule explains: {len(result.scored)} features and what stands beside them",
        "Rules are found on half of the windows and scored on the other half. Diamonds are means. Neurons and "
        "random directions count as active where they are largest, as often as the feature is.",
        width=fit(_WIDTH - 80, 170),
        height=170,
    )


def decoder_map(result: Features) -> alt.Chart:
    """Return the decoder's directions in the plane of their two first principal components."""
    frame = result.frames["features"].assign(x=result.map[:, 0], y=result.map[:, 1])
    frame = frame[frame["density"] > 0].assign(label=lambda f: f["label"].map(marked))
    axis = alt.Axis(labels=False, ticks=False, grid=False)
    scale = alt.Scale(scheme="viridis", type="log")
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=18, opacity=0.7)
        .encode(
            x=alt.X("x:Q", title="first component", axis=axis, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", title="second component", axis=axis, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "density:Q",
                scale=scale,
                legend=alt.Legend(title="density", format=".0e", orient="bottom"),
            ),
            tooltip=[
                tip("feature", "feature", "d"),
                alt.Tooltip("label:N"),
                tip("density", "density", ".2%"),
                tip("score", "F1", ".2f"),
            ],
        )
        .add_params(clicked())
    )
    return figure(
        chart,
        "Directions of the decoder",
        f"PCA of unit directions; the plane has {result.map_share:.1%} of their variance.",
        width=fit(560, _AXIS),
        height=420,
    )


def listed(result: Features, search: str = "", order: str = "score") -> pd.DataFrame:
    """Return the features as a table, those that a search finds.

    By score, those that are active at few tokens come last.
    """
    frame = result.frames["features"]
    frame = frame[frame["density"] > 0]
    for word in search.lower().split():
        held = frame[["label", "tokens", "promotes"]].apply(lambda c: c.str.lower())
        frame = frame[held.apply(lambda c: c.str.contains(word, regex=False)).any(axis=1)]  # noqa: B023
    by, up = {
        "density": ("density", True),
        "activation": ("peak", False),
        "score": ("score", False),
    }[order]
    frame = frame.sort_values(by, ascending=up, kind="stable")
    if order == "score":  # a rule that fits two or three tokens tells nothing
        often = result.often[frame["feature"]]
        frame = pd.concat([frame[often], frame[~often]])
    frame = frame.head(_LISTED)
    return pd.DataFrame(
        {
            "feature": frame["feature"],
            "density": frame["density"].map("{:.2%}".format),
            "rule (heuristic)": frame["label"].map(marked),
            "F1": frame["score"].round(2),
            "strongest on": frame["tokens"].map(marked),
            "promotes": frame["promotes"].map(marked),
        }
    )


def evaluated(result: Evaluation) -> str:
    """Return what the dictionary keeps of the model."""
    score, mean, pca = (
        result.metric(f"ce_loss_score{end}") for end in ("", "_mean_ablation", "_pca")
    )
    return (
        f"With {result.metric('l0')[0]:.1f} active features a token, {score[0]:.1%} [{score[1]:.1%}, {score[2]:.1%}] of the loss "
        f"is recovered (zero ablation; {mean[0]:.1%} against mean ablation); as many principal components recover "
        f"{pca[0]:.1%}. {result.dead:.1%} of the features are never active in {result.positions:,} tokens."
    )


def described(result: Features) -> str:
    """Return how well rules tell features, and what stands beside them."""
    return f"{_told(result)} {spread(result)}"


def _told(result: Features) -> str:
    means = np.nanmean(result.scores, 1)
    return (
        f"One rule on the token or the one before it tells a feature with a mean F1 of {means[0]:.2f} on held-out windows; the neuron "
        f"that correlates most with it, {means[2]:.2f}; a random direction, {means[3]:.2f}; and another feature's rule, "
        f"{means[1]:.2f}."
    )


def spread(result: Features) -> str:
    """Return how many features one rule tells well, the medians, and how peaked activations are."""
    well = (result.scores > WELL).mean(1)
    middle = np.nanmedian(result.scores, 1)
    return (
        f"Rules are heuristics: one tells {well[0]:.0%} of the features with an F1 above {WELL:g}, {well[2]:.0%} of the "
        f"neurons and {well[3]:.0%} of the random directions (medians {middle[0]:.2f}, {middle[2]:.2f} and {middle[3]:.2f}). "
        f"{_peaked(result)}"
    ).strip()


def _peaked(result: Features) -> str:
    """Return how peaked activations are over tokens, beside those of neurons and random directions."""
    if not np.isfinite(result.kurtosis[0]).any():
        return ""
    feature, neuron, drawn = np.nanmedian(result.kurtosis[[0, 2, 3]], 1)
    return (
        "How peaked activations are over tokens is told by their excess kurtosis, 0 for a normal distribution: the medians are "
        f"{feature:,.0f} of features, {neuron:,.1f} of these neurons and {drawn:,.1f} of random directions."
    )
