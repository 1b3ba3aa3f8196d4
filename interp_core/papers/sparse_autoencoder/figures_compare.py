"""Figures of two dictionaries beside each other."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.sparse_autoencoder.comparison import NEAR, Comparison
from interp_core.papers.sparse_autoencoder.features import ENOUGH
from interp_core.plot import figure, fit, legend, theme, tip

_WIDTH, _AXIS = 640, 80
_BINS = np.linspace(-0.2, 1, 49)
_MOST = 12
"""Latents of the wider dictionary that a bar is drawn for; more count with these."""


def cosines(result: Comparison) -> alt.Chart:
    """Return how close in direction the closest latent of the other dictionary is."""
    return _histograms(
        result,
        result.cosine,
        "largest cosine",
        "random directions",
        "by direction",
        f"All of {result.about[0]}, against {_named(result)}.",
        "Random directions have the mean and covariance of the other's.",
    )


def correlations(result: Comparison) -> alt.Chart:
    """Return how well the activations of the best latent of the other dictionary go along."""
    some = result.correlation[:, result.often]
    return _histograms(
        result,
        some,
        "largest correlation",
        "other text",
        "by activations",
        f"The {some.shape[1]:,} features that are active at {ENOUGH} or more of {result.positions:,} tokens. Other text: the other's "
        "activations are read one window further on.",
    )


def _named(result: Comparison) -> str:
    return "itself, each latent left out" if result.itself else result.about[1]


def _histograms(
    result: Comparison, rows: np.ndarray, title: str, floor: str, by: str, *lines: str
) -> alt.Chart:
    """Return the outlines of histograms of what was measured, of its floor, and of the same dictionary."""
    names = ("the same dictionary", floor)
    if not result.itself:
        names = ("the other dictionary", floor, "the same dictionary")
    frame = pd.concat(
        pd.DataFrame(
            {
                "low": _BINS[:-1],
                "high": _BINS[1:],
                "count": np.histogram(np.clip(row, _BINS[0], _BINS[-1]), _BINS)[0],
                "kind": name,
            }
        )
        for row, name in zip(rows, names, strict=True)
    )
    frame = frame[frame["low"] >= frame.loc[frame["count"] > 0, "low"].min()]
    end = frame[frame["high"] == _BINS[-1]].assign(
        low=_BINS[-1]
    )  # where the last bin's outline ends
    least = min(0.0, float(frame["low"].min()))
    base = alt.Chart(pd.concat([frame, end])).encode(
        x=alt.X(
            "low:Q",
            title=f"{title} with another feature",
            scale=alt.Scale(domain=[least, 1], nice=False),
            axis=alt.Axis(format=".1f", values=list(np.arange(-0.2, 1.1, 0.2).round(1))),
        ),
        y=alt.Y("count:Q", title="features", stack=None, axis=alt.Axis(grid=True)).scale(
            domainMin=0
        ),
        color=alt.Color("kind:N", legend=legend(names, 3)).scale(
            domain=list(names), range=list(theme.CATEGORIES[1 : 1 + len(names)])
        ),
    )
    outline = base.mark_area(interpolate="step-after", line=True, fillOpacity=0.15)
    hover = base.mark_bar(opacity=0).encode(
        x2="high:Q",
        tooltip=[
            alt.Tooltip("kind:N"),
            tip("low", "from", ".3f"),
            tip("high", "to", ".3f"),
            tip("count", "features", "d"),
        ],
    )
    where = "the same dictionary" if result.itself else "another dictionary, and in its own"
    return figure(
        alt.layer(outline, hover),
        f"Closest feature in {where}, {by}",
        *lines,
        width=fit(_WIDTH, _AXIS),
        height=240,
    )


def splits(result: Comparison) -> alt.Chart:
    """Return of how many of the wider dictionary's latents each of the narrower's is the nearest."""
    held = np.bincount(np.minimum(result.splits, _MOST), minlength=_MOST + 1)
    names = [*map(str, range(_MOST)), f"{_MOST}+"]
    frame = pd.DataFrame({"count": names, "latents": held})
    chart = (
        alt.Chart(frame)
        .mark_bar(color=theme.CATEGORIES[1])
        .encode(
            x=alt.X(
                "count:N",
                title="features of the wider dictionary whose nearest it is",
                sort=names,
                axis=alt.Axis(labelAngle=0, ticks=False),
            ),
            y=alt.Y("latents:Q", title="features of the narrower", axis=alt.Axis(grid=True)),
            tooltip=[alt.Tooltip("count:N"), tip("latents", "features", "d")],
        )
    )
    widths = sorted((len(result.nearest), len(result.back)))
    return figure(
        chart,
        f"How many of {widths[1]:,} features are nearest to each of {widths[0]:,}",
        f"A feature of the wider dictionary counts where its cosine with the nearest is at least {NEAR:g}.",
        width=fit(_WIDTH, _AXIS),
        height=240,
    )


def compared(result: Comparison) -> str:
    """Return how much of a dictionary is found in another."""
    got = result.summary
    more = "" if result.itself else "; closest of the same dictionary: {:.2f}"
    said = (
        f"{result.about[0]}, beside {_named(result)}: the closest direction has a median cosine of {got['cosine']:.2f} "
        f"(random directions: {got['cosine_floor']:.2f}{more.format(got.get('cosine_within'))}). "
    )
    if got["correlated"]:
        said += (
            f"Of the {got['correlated']:,} features that are active at {ENOUGH} tokens or more, activations go along with the "
            f"other's best feature with a median correlation of {got['correlation']:.2f} (with other text: "
            f"{got['correlation_floor']:.2f}{more.format(got.get('correlation_within'))})."
        )
    if result.wider:
        several, (covered, floor, one) = int((result.splits >= 2).sum()), result.split
        said += f" Of the narrower one's {len(result.splits):,} features, {several:,} are the nearest of two or more"
        if len(covered):
            said += (
                f"; where such a feature is active, one of these is at {covered.mean():.0%} of the tokens (the most "
                f"frequent alone at {one.mean():.0%}; one of those nearest to the feature most like it at {floor.mean():.0%})"
            )
        said += "."
    return said
