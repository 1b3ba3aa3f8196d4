"""Figures of a text's features, and of continuations with one of them."""

from __future__ import annotations

import json
import re

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.sparse_autoencoder.firing import Firing
from interp_core.papers.sparse_autoencoder.steered import Steered
from interp_core.plot import figure, fit, gradient, narrow, shown, side_labels, theme, tip
from interp_core.plot.font import width as text_width

_WIDTH, _AXIS, _CELL = 640, 90, 26
_LABEL = 22
"""Characters of a label that stand beside a feature's number."""


def clicked() -> alt.Parameter:
    """Return what holds the feature whose mark was clicked."""
    return alt.selection_point(name="feature", fields=["feature"])


def marked(text: str) -> str:
    """Return a text with the tokens that it quotes as figures show them."""
    return re.sub("“(.*?)”", lambda m: f"“{shown(m[1])}”", text, flags=re.DOTALL)


def _label(text: str) -> str:
    """Return a rule as an axis has it: whole where it is short."""
    said = marked(text)
    return said if len(said) <= _LABEL else said[: _LABEL - 1] + "…"


def activations(result: Firing) -> alt.Chart:
    """Return the text's strongest features at each token, with their labels where those were measured."""
    frame = result.frames["activations"]
    strongest = result.strongest
    frame = frame[frame["feature"].isin(strongest)]
    places = range(len(result.tokens))
    names = {i: f"{i} {shown(result.tokens[i])}" for i in places}
    every = [names[i] for i in places]
    labels = {int(i): result.labels.get(int(i), "") for i in strongest}
    frame = frame.assign(
        at=frame["position"].map(names),
        token=frame["token"].map(shown),
        label=frame["feature"].map(labels).map(marked),
    )
    axis = alt.Axis(
        labelExpr="slice(datum.label, indexof(datum.label, ' ') + 1)",
        labelAngle=-60,
        ticks=False,
        domain=False,
    )
    said = {str(i): f"{_label(text)}  {i}" for i, text in labels.items() if text and not narrow()}
    side = alt.Axis(
        labelExpr=f"({json.dumps(said)})[datum.label] || datum.label",
        ticks=False,
        domain=False,
    )
    beside = max((text_width(text, theme.LABEL) for text in said.values()), default=0)
    left = _AXIS + round(beside)
    key = gradient("activation", 470 + left, format=".2~r")
    chart = (
        alt.Chart(frame, view=alt.ViewBackground(fill="#80808024"))
        .mark_rect()
        .encode(
            x=alt.X("at:N", title="token", scale=alt.Scale(domain=every), axis=axis),
            y=alt.Y("feature:O", title="feature", sort=strongest.tolist(), axis=side),
            color=alt.Color(
                "activation:Q", scale=alt.Scale(scheme="viridis", domainMin=0), legend=key
            ),
            tooltip=[
                tip("feature", "feature", "d"),
                alt.Tooltip("label:N"),
                alt.Tooltip("token:N"),
                tip("position", "position", "d"),
                tip("activation", "activation", ".3~g"),
            ],
        )
        .add_params(clicked())
    )
    return figure(
        chart,
        f"Strongest features of the text: {result.site}",
        f"{len(set(result.feature.tolist())):,} features are active, {result.l0:.0f} at a token. The first token, the attention "
        "sink, is left out."
        + (" Labels: the rule on tokens that goes along with a feature best." if said else ""),
        width=fit(min(_WIDTH, _CELL * len(result.tokens)), left),
        left=left,
        height=22 * max(len(strongest), 1),
    )


def effects(result: Firing) -> alt.LayerChart:
    """Return the features of one token: what they add to the target's logit, and what ablation takes."""
    frame = result.frames["features"]
    bound = _padded(frame["ablation_effect"])
    token = shown(result.tokens[result.position])
    size = fit(_WIDTH, 130), 320
    y = alt.Y(
        "ablation_effect:Q",
        title="log-probability lost by ablation (nats)",
        scale=alt.Scale(domain=bound),
        axis=alt.Axis(grid=True, format=".2~f"),
    )
    base = alt.Chart(frame).encode(
        x=alt.X(
            "logit_effect:Q",
            title="added to the target's logit, directly",
            scale=alt.Scale(domain=_padded(frame["logit_effect"]), nice=False),
            axis=alt.Axis(grid=True, format=".2~f", tickCount=6),
        ),
        tooltip=[
            tip("feature", "feature", "d"),
            tip("activation", "activation", ".3~g"),
            tip("logit_effect", "logit", ".3f"),
            tip("ablation_effect", "lost by ablation (nats)", ".3f"),
            alt.Tooltip("promotes:N"),
        ],
    )
    dots = base.mark_point(filled=True, size=60, opacity=0.85, color=theme.CATEGORIES[1]).encode(
        y=y
    )
    dots = dots.add_params(clicked())
    most = frame.reindex(frame["ablation_effect"].abs().sort_values(ascending=False).index)[:6]
    named = most.assign(name=most["feature"].astype(str))
    marks = side_labels(base, named, "name", size, y)
    return figure(
        alt.layer(*marks[:1], dots, *marks[1:]),
        f"What the features of {token} do for {shown(result.target)}",
        f"p({shown(result.target)}) after the text is {result.probability:.3f}. Each feature is taken away at position "
        f"{result.position} alone. Names: the six of the largest effects.",
        width=size[0],
        height=size[1],
    )


def _padded(values: pd.Series) -> list[float]:
    low, high = min(0.0, values.min()), max(0.0, values.max())
    room = 0.08 * max(high - low, 1e-3)
    return [float(low - room), float(high + room)]


def ranked(result: Firing) -> pd.DataFrame:
    """Return the features of one token as a table, by falling activation."""
    frame = result.frames["features"].head(result.params.top)
    return pd.DataFrame(
        {
            "feature": frame["feature"],
            **(
                {"rule (heuristic)": frame["feature"].map(result.labels).fillna("").map(marked)}
                if result.labels
                else {}
            ),
            "activation": frame["activation"].round(3),
            "logit effect": frame["logit_effect"].round(3),
            "lost by ablation (nats)": frame["ablation_effect"].round(3),
            "promotes": frame["promotes"].map(marked),
        }
    )


def sentence(result: Firing) -> str:
    """Return how many features are active, and which does most."""
    said = (
        f"Of the dictionary ({result.about}), {result.l0:.0f} features are active at a token; they explain "
        f"{np.median(result.explained[1:]):.0%} of a token's squared distance to the bias in the median."
    )
    if len(result.ranked):
        best = int(result.ablation.argmax())
        said += (
            f" Of those of the token at position {result.position}, feature {result.ranked[best]} does most for "
            f"the target: without it the target loses {result.ablation[best]:.2f} nats."
        )
    return said


def steered(result: Steered) -> str:
    """Return what the feature did to the continuation."""
    if len(result.texts) < 2:
        return f"The model's own continuation has a perplexity of {result.perplexity[0]:.1f}."
    said = (
        f"With {result.names[1]} (a peak of {result.peak:.3g}) at {result.where}, the continuation's perplexity "
        f"under the unsteered model is {result.perplexity[1]:.1f}; its own is {result.perplexity[0]:.1f}."
    )
    return said + (" At this strength the model breaks: try less." if result.broken[1] else "")
