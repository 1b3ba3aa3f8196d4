"""Figures of what is lost without some heads, on repeats and along texts."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.ablation import Ablated
from interp_core.papers.induction_heads.context import InContext
from interp_core.papers.induction_heads.figures_parts import AXIS, by_condition, sequences
from interp_core.papers.induction_heads.params import head_name, parse_top
from interp_core.plot import ends, figure, fit, loss_curves, tip, x_axis

_WIDTH, _NEAR, _NAMED = 700, 5, 5
_POINTS = 1000
"""Points of all lines, at most."""


def _named_set(result: Ablated) -> str:
    names = [head_name(*pair) for pair in result.heads]
    if parse_top(result.params.ablate[0]) and len(names) > 1:
        return f"the {len(names)} best heads by prefix matching"
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} heads, {names[0]} first"


def ablation_losses(result: Ablated) -> alt.LayerChart:
    """Return the loss by position, whole and without heads, the repetitions told apart by rules."""
    frame, colour = by_condition(result.frames["losses"])
    end, tokens = int(frame["position"].max()), result.params.tokens
    starts = [end + 1 - tokens * k for k in range(1, result.params.repeats)][::-1]
    found = result.summary
    lines = (
        f"On the last repetition: {found['base_last_copy_loss']:.1f} nats whole, "
        f"{found['ablated_last_copy_loss']:.1f} without them; as many other heads of the same "
        f"layers cost {found['others_rise']:+.1f}.",
        f"Thin rules: where repetitions 2, 3 and so on begin. Bands: 95% intervals, "
        f"{sequences(result.params, len(result.base))}.",
    )
    x = x_axis("position", "position (tokens)", (1, end), format="d", tickMinStep=1)
    curves = loss_curves(frame, x, colour)
    names = [f"{copy}" for copy in range(2, len(starts) + 2)]
    rules = alt.Chart(pd.DataFrame({"position": starts, "copy": names})).encode(x=x)
    chart = alt.layer(
        rules.mark_rule(strokeWidth=1, opacity=0.7),
        curves,
        rules.mark_text(align="left", dx=4, baseline="top").encode(y=alt.value(2), text="copy:N"),
    )
    heading = f"Loss by position, without {_named_set(result)}"
    return figure(chart, heading, *lines, width=fit(_WIDTH, AXIS), height=320)


def ablation_rises(result: Ablated) -> alt.LayerChart:
    """Return how much the last repetition's loss rises without the heads, and without each other draw."""
    frame, colour = by_condition(result.frames["rises"])
    draws = [f"draw {i + 1}" for i in range(len(result.controls))]
    frame = frame.assign(row=["these heads", *draws]).sort_values(
        "rise", ascending=False, kind="stable"
    )
    lead = result.resample.mean(result.lead)
    lines = (
        f"Each draw: other heads of the same layers. These heads cost {lead.value:.1f} nats more "
        f"[{lead.low:.1f}, {lead.high:.1f}].",
        f"Bars: 95% intervals, {sequences(result.params, len(result.base))}; {len(draws)} draws.",
    )
    domain = [min(0.0, frame["low"].min()), max(0.0, frame["high"].max())]
    x = alt.X(
        "rise:Q",
        title="rise of the loss (nats)",
        scale=alt.Scale(domain=domain, nice=True),
        axis=alt.Axis(grid=True, tickCount=6),
    )
    rows = alt.Axis(grid=False, ticks=False, domain=False, labelOverlap=False)
    base = alt.Chart(frame).encode(
        y=alt.Y("row:N", title=None, scale=alt.Scale(domain=frame["row"].tolist()), axis=rows),
        color=colour.legend(None),
        tooltip=[
            alt.Tooltip("row:N", title="set"),
            alt.Tooltip("heads:N"),
            tip("rise", "rise (nats)", "+.2f"),
            *ends("+.2f"),
        ],
    )
    chart = alt.layer(
        alt.Chart(pd.DataFrame({"rise": [0]})).mark_rule(strokeWidth=1).encode(x="rise:Q"),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(size=70, filled=True, opacity=1).encode(x=x),
    )
    heading = f"Rise of the last repetition's loss without {_named_set(result)}, and without as many others"
    return figure(chart, heading, *lines, width=fit(_WIDTH - 60, 110), height=alt.Step(22))


def context_losses(result: InContext) -> alt.LayerChart:
    """Return the loss by position over texts, averaged over neighbours, whole and ablated."""
    losses = result.losses.astype(np.float32)
    texts, length = losses.shape[1:]
    most = _POINTS // len(losses)
    position = np.arange(1, length + 1, max(1, -(-length // most)))
    parts = []
    for condition, each in zip(result.conditions, losses, strict=True):
        total = np.pad(each.astype(float).cumsum(-1), ((0, 0), (1, 0)))
        low, high = np.maximum(position - 1 - _NEAR, 0), np.minimum(position + _NEAR, length)
        means = (total[:, high] - total[:, low]) / (high - low)
        columns = result.resample.columns("loss", means)
        parts.append(pd.DataFrame({"position": position, "condition": condition, **columns}))
    frame, colour = by_condition(pd.concat(parts, ignore_index=True))
    found = [result.score(i) for i in range(len(losses))]
    scores = [f"{each.value:+.2f} [{each.low:+.2f}, {each.high:+.2f}]" for each in found]
    without = ""
    if len(scores) > 1:
        without = (
            f"; {scores[1]} without {len(result.heads)} heads, {scores[2]} without as many others"
        )
    lines = (
        f"In-context learning score, loss of token {result.late} less that of token "
        f"{result.early}: {scores[0]} nats{without}.",
        f"Means over {_NEAR} positions on either side. Bands: 95% intervals, n = {texts} texts.",
    )
    x = x_axis("position", "position in the text (tokens)", (1, length), format="d", tickCount=10)
    rules = pd.DataFrame({"position": [result.early, result.late]})
    at = alt.Chart(rules.assign(name="token " + rules["position"].astype(str))).encode(x=x)
    names, early = at.encode(y=alt.value(2), text="name:N"), f"datum.position == {result.early}"
    chart = alt.layer(
        at.mark_rule(strokeDash=[4, 3]),
        loss_curves(frame, x, colour),
        names.mark_text(align="left", dx=4, baseline="top").transform_filter(early),
        names.mark_text(align="right", dx=-4, baseline="top").transform_filter(f"!({early})"),
    )
    return figure(chart, "Loss by position in a text", *lines, width=fit(_WIDTH, AXIS), height=320)


def sentence(result: Ablated) -> str:
    """Return what repeats lose without the heads, and without others."""
    said = result.summary
    return (
        f"Without {', '.join(said['heads'][:8])} the last repetition's loss rises by {said['rise']:.1f} "
        f"[{said['rise_low']:.1f}, {said['rise_high']:.1f}] nats, to {said['ablated_last_copy_loss']:.1f}; "
        f"without as many other heads of the same layers, by {said['others_rise']:.2f}."
    )


def context_sentence(result: InContext) -> str:
    """Return the in-context learning score, whole and ablated."""
    said = result.summary
    text = (
        f"loss({said['late']}) − loss({said['early']}) = {said['in_context_score']:.2f} "
        f"[{said['in_context_score_low']:.2f}, {said['in_context_score_high']:.2f}] nats over "
        f"{said['texts']} texts"
    )
    return (
        f"{text}; {said['ablated_score']:.2f} without {len(result.heads)} heads, {said['others_score']:.2f} without "
        "as many others of the same layers."
        if result.heads
        else f"{text}."
    )
