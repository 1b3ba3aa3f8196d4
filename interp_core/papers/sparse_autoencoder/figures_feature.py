"""Figures of one feature: its examples, its activations, what it writes, what is like it."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.sparse_autoencoder.feature import BEFORE, BINS, QUANTILES, Feature
from interp_core.papers.sparse_autoencoder.figures import marked
from interp_core.plot import (
    Passage,
    across,
    beside,
    figure,
    fit,
    gradient,
    passages,
    shown,
    small,
    theme,
    tip,
)

_WIDTH, _AXIS, _PANEL = 760, 80, 320
_SHADES = ["rgba(213, 94, 0, 0)", "rgba(213, 94, 0, 1)"]
"""Of activations: from the page's own colour to vermilion, in light and dark."""


def examples(result: Feature) -> alt.LayerChart:
    """Return examples of each fifth of activation, their tokens coloured by the activation."""
    texts, before = [], -1
    for i, tokens in enumerate(result.texts):
        quantile = int(result.quantile[i])
        heading = _heading(result, quantile) if quantile != before else ""
        before = quantile
        size = len(tokens)
        values = np.where(result.activation[i, :size] > 0, result.activation[i, :size], np.nan)
        more = {"loss": result.ablation[i, :size].astype(float)}
        at = min(BEFORE, int(result.where[i, 1]))
        texts.append(Passage(heading, tokens, values, more, bold=at))
    width = fit(_WIDTH)
    colour = alt.Color(
        "value:Q",
        scale=alt.Scale(domain=[0, result.peak], nice=False, range=_SHADES),
        legend=gradient("activation", width + 120, format=".2~r"),
    )
    tips = [
        tip("value", "activation", ".3~g"),
        tip("loss", "loss added by ablation (nats)", "+.3f"),
    ]
    return figure(
        passages(texts, colour, tips, width),
        f"Feature {result.params.feature}: {marked(result.label) or 'no rule goes along with it'}",
        "Examples from every fifth of the range of activations; the token each is chosen for is underlined. "
        "Hover over a token for what removing the feature adds to its loss.",
    )


def _heading(result: Feature, quantile: int) -> str:
    high = result.peak * (1 - quantile / len(QUANTILES))
    low = result.peak * (1 - (quantile + 1) / len(QUANTILES))
    return f"{QUANTILES[quantile].capitalize()} ({low:.3g} to {high:.3g})"


def histograms(result: Feature) -> alt.HConcatChart:
    """Return how large activations are, and what all logit weights are."""
    columns, width = across(2, _PANEL, _AXIS)
    edges = np.linspace(0, result.peak, BINS + 1)
    own = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": result.histogram})
    left = result.logit_histogram[:, 0]
    step = left[1] - left[0]
    logits = pd.DataFrame({"low": left, "high": left + step, "count": result.logit_histogram[:, 1]})
    panels = [
        _bars(own, "activation", "positions", theme.CATEGORIES[1], width, "Where it is active"),
        _bars(logits, "logit weight", "tokens", theme.CATEGORIES[2], width, "Over the vocabulary"),
    ]
    return figure(
        beside(panels, columns, color="independent"),
        f"Activations and logit weights of feature {result.params.feature}",
        f"It is active at {result.density:.2%} of {result.positions:,} positions. Counts are on a log scale.",
    )


def _bars(frame: pd.DataFrame, x: str, y: str, colour: str, width: int, title: str) -> alt.Chart:
    shown_ = frame[frame["count"] > 0].assign(floor=0.7)
    return (
        alt.Chart(shown_)
        .mark_rect(color=colour, opacity=0.85)
        .encode(
            x=alt.X("low:Q", title=x, axis=alt.Axis(tickCount=5, format=".2~r")),
            x2="high:Q",
            y=alt.Y(
                "floor:Q", title=f"{y} (log scale)", scale=alt.Scale(type="log", domainMin=0.7)
            ),
            y2="count:Q",
            tooltip=[tip("low", "from"), tip("high", "to"), tip("count", y, ",d")],
        )
        .properties(width=width, height=200, title=small(title, width))
    )


def logits(result: Feature) -> alt.HConcatChart:
    """Return the tokens whose logits the feature raises and lowers most."""
    columns, width = across(2, _PANEL - 60, _AXIS + 40)
    panels = []
    for title, tokens, weights, colour in (
        ("Promoted", result.promoted, result.promotion, theme.CATEGORIES[1]),
        ("Suppressed", result.suppressed, result.suppression, theme.CATEGORIES[3]),
    ):
        names = [f"{i} {shown(token)}" for i, token in enumerate(tokens)]
        frame = pd.DataFrame({"token": names, "weight": weights})
        axis = alt.Axis(
            labelExpr="slice(datum.label, indexof(datum.label, ' ') + 1)", ticks=False, domain=False
        )
        panels.append(
            alt.Chart(frame)
            .mark_bar(color=colour, opacity=0.85)
            .encode(
                x=alt.X("weight:Q", title="logit weight", axis=alt.Axis(tickCount=4, grid=True)),
                y=alt.Y("token:N", title=None, sort=names, axis=axis),
                tooltip=[alt.Tooltip("token:N"), tip("weight", "logit weight", ".3f")],
            )
            .properties(width=width, height=200, title=small(title, width))
        )
    return figure(
        beside(panels, columns, color="independent"),
        f"Logits that feature {result.params.feature} moves",
        "What a unit of it adds to logits through the final norm's gain and the unembedding alone, the vocabulary's "
        "median taken away.",
    )


def neighbours(result: Feature) -> pd.DataFrame:
    """Return the features and dimensions that are most like it, as a table."""
    return pd.DataFrame(
        {
            "similar direction": result.similar,
            "cosine": result.cosine.round(2),
            "active together": result.correlated,
            "correlation": result.correlation.round(2),
            "dimension of the site": result.neurons,
            "share of the direction": (100 * result.alignment).round(1).astype(str) + "%",
        }
    )


def sentence(result: Feature) -> str:
    """Return what the feature goes along with, and how well."""
    said = f"Feature {result.params.feature} is active at {result.density:.2%} of {result.positions:,} tokens."
    if result.label and np.isfinite(result.score):
        said += (
            f" The one rule that goes along with it best, a heuristic and no meaning, is: *{_plain(result.label)}*. On held-out "
            f"windows its F1 is {result.score:.2f}; rules of other features have {result.score_random:.2f} on it."
        )
    if np.isfinite(result.agreement):
        said += (
            " What its removal adds to the loss of the tokens after it, and what it would add by the feature's logit weights "
            f"alone, correlate by {result.agreement:.2f}"
        )
        one = result.provenance.model.n_layers == 1
        said += ", as must nearly be so in a model of one layer." if one else "."
    return said


def _plain(text: str) -> str:
    """Return a label as Markdown shows it as it is."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|<>~$&" else c for c in marked(text))
