"""Figures of a search for induction heads: scores, losses by copy, ablations, in-context learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import altair as alt
import numpy as np
import pandas as pd

from interp_core import bootstrap
from interp_core.charts import theme
from interp_core.charts.causal_tracing_parts import tip
from interp_core.charts.induction_circuits import (
    ablation_makers,
    by_condition,
    circuit_makers,
    name_of,
    sequences,
    signed_ink,
)
from interp_core.charts.induction_parts import (
    head_cells,
    loss_curves,
    scatter,
    shown_layers,
    side_labels,
)
from interp_core.charts.induction_patterns import pattern_makers
from interp_core.charts.parts import alt_text, title

if TYPE_CHECKING:
    from interp_core.papers.induction_heads.context_result import InContext
    from interp_core.papers.induction_heads.heads_result import Heads
    from interp_core.results import Result

__all__ = [
    "ablation_makers",
    "circuit_makers",
    "context_makers",
    "copy_losses",
    "head_grid",
    "makers",
    "pattern_makers",
    "score_scatter",
]

Score = Literal[
    "prefix_matching",
    "previous_token",
    "duplicate_token",
    "first_token",
    "current_token",
    "entropy",
    "copying",
    "logit_copying",
]
SCORES: dict[Score, tuple[str, str]] = {
    "prefix_matching": (
        "Prefix matching",
        "Attention to what followed the current token before: 1 for a perfect induction head.",
    ),
    "previous_token": ("Attention to the previous token", "1: the head looks nowhere else."),
    "duplicate_token": (
        "Attention to earlier copies of the same token",
        "1: the head looks nowhere else.",
    ),
    "first_token": ("Attention to the first position", "High where a head rests."),
    "current_token": ("Attention to the current token itself", "1: the head looks nowhere else."),
    "entropy": ("Entropy of attention", "Low: the head looks at few tokens; high: at many."),
    "copying": (
        "Copying score by eigenvalues",
        "Read off the weights. 1: the head raises the logits of the very tokens it reads; -1: it "
        "lowers them.",
    ),
    "logit_copying": (
        "Copying score by logits",
        "Of all that the head raises among the sequence's tokens, the share of the one it looks "
        "at, from -1 (none) to 1 (half or more).",
    ),
}
"""What each score is called, and what its values mean."""
_SIGNED = ("copying", "logit_copying")
_WIDTH, _NAMED, _NEAR = 700, 8, 5


def _head_table(heads: Heads) -> pd.DataFrame:
    """Return one row a head: its scores, its name, and its rank in words."""
    frame = heads.frames["heads"]
    pairs = list(zip(frame["layer"], frame["head"], strict=True))
    total, above = len(heads.ranked), set(heads.induction_heads)
    return frame.assign(
        name=[name_of(*pair) for pair in pairs],
        place=["-" if np.isnan(k) else f"{k:.0f} of {total}" for k in frame["rank"].astype(float)],
        induction=[pair in above for pair in pairs],
        reach=["all" if pd.isna(w) else f"{w:.0f} positions" for w in frame["window"]],
    ).drop(columns=["rank", "window"])


def _tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("name:N", title="head"),
        alt.Tooltip("place:N", title="rank by prefix matching"),
        tip("prefix_matching", "prefix matching", ".3f"),
        tip("spread", "its SD over sequences", ".3f"),
        tip("previous_token", "attention to previous token", ".3f"),
        tip("duplicate_token", "to copies of the token", ".3f"),
        tip("first_token", "to the first position", ".3f"),
        tip("current_token", "to itself", ".3f"),
        tip("entropy", "entropy (nats)", ".2f"),
        tip("copying", "copying by eigenvalues", "+.2f"),
        tip("logit_copying", "copying by logits", "+.2f"),
        alt.Tooltip("reach:N", title="attention sees"),
    ]


def _score_colour(heads: Heads, score: Score, values: np.ndarray) -> tuple[alt.Color, np.ndarray]:
    """Return the colours of a score, and the ink that reads on each value's."""
    name = SCORES[score][0].lower()
    legend = {"orient": "right", "gradientLength": 200}
    if score in _SIGNED:
        legend |= {"title": ["copying score", "(-1 to 1)"], "values": [-1, -0.5, 0, 0.5, 1]}
        colour = alt.Color(f"{score}:Q", scale=theme.signed(1), legend=alt.Legend(**legend))
        return colour, signed_ink(values, 1)
    quantity = theme.QUANTITIES["probability"]
    if score == "entropy":
        end = float(np.ceil(np.log(heads.tokens.shape[1])))
        quantity = dataclasses.replace(theme.QUANTITIES["entropy"], domain=(0, end))
        legend |= {"title": ["entropy", "(nats)"], "tickCount": 5}
    else:
        name = "prefix matching" if score == "prefix_matching" else "attention"
        legend |= {"title": [name, "(share of attention)"] if name != "attention" else name}
        legend |= {"values": [0, 0.2, 0.4, 0.6, 0.8, 1], "format": ".1f"}
    colour = alt.Color(f"{score}:Q", scale=quantity.scale, legend=alt.Legend(**legend))
    return colour, quantity.ink(values)


def head_grid(
    heads: Heads, score: Score = "prefix_matching", select: bool = True
) -> alt.LayerChart:
    """Return layers by heads, coloured by a score, the induction heads outlined.

    A click selects a head: the parameter ``head`` holds its ``layer`` and ``head``.
    """
    frame = _head_table(heads)
    depth, count = heads.prefix_matching.shape
    layers = shown_layers(depth, count)
    frame = frame[frame["layer"].isin(layers)]
    values = frame[score].to_numpy(float)
    colour, ink = _score_colour(heads, score, values)
    high = frame["induction"] if score in _SIGNED else values >= heads.params.threshold
    numbers = frame[score].map("{:.2f}".format).where(high & (score != "entropy"), "")
    frame = frame.assign(ink=ink, number=numbers, outlined=frame["induction"])
    above, missing = len(heads.induction_heads), int(np.isnan(values).sum())
    text, gloss = SCORES[score]
    heading = title(
        f"{text} of every head",
        gloss,
        f"Outlined: prefix matching above {heads.params.threshold:g}, {above} of "
        f"{depth * count:,} heads. "
        + ("" if score == "copying" else f"Means over {sequences(heads, len(heads.losses))}."),
        f"Grey: {missing:,} heads that do not see back to the copy before." if missing else "",
        f"Showing the last {len(layers)} of {depth} layers." if len(layers) < depth else "",
    )
    chart = head_cells(frame, colour, _tips(), layers, count, select=select)
    return chart.properties(title=heading, description=alt_text(heading))


def copy_losses(heads: Heads) -> alt.LayerChart:
    """Return the loss by place in the copy, a line a copy."""
    frame = heads.frames["losses"]
    last = heads.params.repeats
    frame = frame.assign(name=frame["copy"].map("copy {}".format))
    names = [f"copy {copy}" for copy in range(1, last + 1)]
    means = heads.copy_losses.mean(0)
    heading = title(
        "Loss of each token, by its place in the copy",
        f"Random tokens cannot be predicted at first ({means[0]:.1f} nats in copy 1); what repeats "
        f"can ({means[-1]:.1f} in copy {last}).",
        f"Bands: 95% intervals, {sequences(heads, len(heads.losses))}.",
    )
    scale = alt.Scale(
        domain=names, scheme=alt.SchemeParams("plasma", extent=[0.25, 0.8]), type="ordinal"
    )
    legend = alt.Legend(
        title=None, orient="bottom", columns=8, symbolType="stroke", symbolSize=300, symbolOpacity=1
    )
    x = alt.X(
        "place:Q",
        title="place in the copy (0 = its first token)",
        scale=alt.Scale(domain=[0, heads.params.tokens - 1], nice=False),
        axis=alt.Axis(format="d", tickMinStep=1, labelFlush=False),
    )
    curves = loss_curves(frame, x, alt.Color("name:N", sort=names, scale=scale, legend=legend))
    ends = frame[frame["copy"].isin([1, last])].groupby("copy").tail(1)
    y, base = curves.layer[1].encoding.y, alt.Chart(ends).encode(x=x)
    _, labels = side_labels(base, ends, "name", (_WIDTH, 320), y)
    return alt.layer(curves, labels).properties(
        width=_WIDTH, height=320, title=heading, description=alt_text(heading)
    )


def score_scatter(heads: Heads) -> alt.LayerChart:
    """Return prefix matching against the copying score, a dot a head."""
    frame = _head_table(heads).dropna(subset=["prefix_matching", "copying"])
    missing = heads.copying.size - len(frame)
    frame = frame.sort_values("prefix_matching", ascending=False)
    cut = frame.head(theme.MAX_MARKS)
    kinds = ["other heads", "induction heads"]
    induction = cut[cut["induction"]]
    copy = int((induction["copying"] > 0).sum())
    named = induction.head(_NAMED)
    some = f", the {len(named)} best are named" if len(named) < len(induction) else ""
    heading = title(
        "Prefix matching against copying, of every head",
        "Prefix matching: attention to what followed before. Copying, by eigenvalues of the "
        "weights: 1 raises the token read.",
        f"{copy} of {len(induction)} induction heads copy (score above 0){some}. {sequences(heads, len(heads.losses))}.",
        f"Left out: {missing:,} heads that do not see back to the copy before." if missing else "",
        f"Showing {len(cut):,} of {len(frame):,} heads." if len(cut) < len(frame) else "",
    )
    kind = pd.Categorical(np.where(cut["induction"], kinds[1], kinds[0]), kinds)
    x = alt.X(
        "copying:Q",
        title="copying score by eigenvalues",
        scale=alt.Scale(domain=[-1, 1]),
        axis=alt.Axis(grid=True, values=[-1, -0.5, 0, 0.5, 1]),
    )
    y = alt.Y(
        "prefix_matching:Q",
        title="prefix matching (share of attention)",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(grid=True, tickCount=5),
    )
    chart = scatter(cut.assign(kind=kind), x, y, _tips(), named)
    return chart.properties(title=heading, description=alt_text(heading))


def context_losses(result: InContext) -> alt.LayerChart:
    """Return the loss by position over texts, averaged over neighbours, whole and ablated."""
    losses = result.losses.astype(np.float32)
    texts, length = losses.shape[1:]
    position = np.arange(1, length + 1, max(1, -(-length // 500)))
    parts = []
    for condition, each in zip(result.conditions, losses, strict=True):
        total = np.pad(each.astype(float).cumsum(-1), ((0, 0), (1, 0)))
        low, high = np.maximum(position - 1 - _NEAR, 0), np.minimum(position + _NEAR, length)
        means = (total[:, high] - total[:, low]) / (high - low)
        ends = bootstrap.interval(result.counts @ means)
        columns = {"loss": means.mean(0), "low": ends[:, 0], "high": ends[:, 1]}
        parts.append(pd.DataFrame({"position": position, "condition": condition, **columns}))
    frame, colour = by_condition(pd.concat(parts, ignore_index=True))
    scores = ["{:+.2f} [{:+.2f}, {:+.2f}]".format(*result.score(i)) for i in range(len(losses))]
    without = f"; {scores[1]} without {len(result.heads)} heads" if len(scores) > 1 else ""
    heading = title(
        "Loss by position in a text",
        f"In-context learning score, loss of token {result.late} less that of token "
        f"{result.early}: {scores[0]} nats{without}.",
        f"Means over {_NEAR} positions on either side. Bands: 95% intervals, n = {texts} texts.",
    )
    x = alt.X(
        "position:Q",
        title="position in the text (tokens)",
        scale=alt.Scale(domain=[1, length], nice=False),
        axis=alt.Axis(format="d", tickCount=10),
    )
    rules = pd.DataFrame({"position": [result.early, result.late]})
    at = alt.Chart(rules.assign(name="token " + rules["position"].astype(str))).encode(x=x)
    return alt.layer(
        at.mark_rule(strokeDash=[4, 3]),
        loss_curves(frame, x, colour),
        at.mark_text(align="right", dx=-4, baseline="top").encode(y=alt.value(2), text="name:N"),
    ).properties(width=_WIDTH, height=320, title=heading, description=alt_text(heading))


def context_makers(result: InContext) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    """Return what draws the figure of in-context learning."""
    return {"context_losses": partial(context_losses, result)}


def _other_makers(result: Result) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    """Return what draws each figure of another analysis."""
    from interp_core.charts import induction_training
    from interp_core.papers import induction_heads as paper

    kinds = {
        paper.Ablated: ablation_makers,
        paper.InContext: context_makers,
        paper.Circuits: circuit_makers,
        paper.Training: induction_training.makers,
    }
    return kinds[type(result)](result)


def makers(heads: Heads) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    """Return what draws each figure of a result and of the other analyses that it holds.

    A second ablation's figures are named after its heads, e.g. ``ablation_losses_L3H2``.
    """
    figures: dict[str, Callable[[], alt.TopLevelMixin]] = {
        "head_grid": partial(head_grid, heads),
        "copy_losses": partial(copy_losses, heads),
        "score_scatter": partial(score_scatter, heads),
    }
    for other in heads.others:
        after = "_".join(["", *other.params.ablate])
        for name, draw in _other_makers(other).items():
            figures[name + after if name in figures else name] = draw
    return figures
