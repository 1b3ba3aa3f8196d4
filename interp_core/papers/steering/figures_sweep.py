"""Figures of sweeps: over layers, and over strengths."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from interp_core.findings import shown
from interp_core.papers.steering.params import SCOPES
from interp_core.papers.steering.strength import RANDOM, SHUFFLED, SYSTEMS, Strength
from interp_core.papers.steering.sweep import Sweep
from interp_core.plot import (
    ends,
    figure,
    fit,
    layered,
    lines,
    points,
    strokes,
    theme,
    tip,
    values_axis,
    x_axis,
    y_axis,
)

_SIZE, _AXIS = (640, 300), 80
_P = "p(matching answer)"


def layers(result: Sweep) -> alt.LayerChart:
    """Return p(matching) by layer, a curve for each multiplier."""
    frame = result.frames["sweep"]
    names = [f"multiplier {m:+g}" if m else "unsteered" for m in result.multipliers]
    by = dict(zip(result.multipliers, names, strict=True))
    frame = frame.assign(name=frame["multiplier"].map(by), value=frame["p_matching"])
    low, high = frame["low"].min(), frame["high"].max()
    axis = y_axis("value", _P, (max(0, low - 0.02), min(1, high + 0.02)), tickCount=6)
    chart = lines(
        frame, result.layers, dict(zip(names, _ramp(result.multipliers), strict=True)), axis
    )
    return figure(
        chart,
        f"p(matching answer) by steered layer: {result.behaviour}",
        f"One layer is steered at a time, by its own vector. Bands: 95% intervals over {result.n} held-out pairs.",
        width=fit(_SIZE[0], _AXIS),
        height=_SIZE[1],
    )


def _ramp(multipliers: np.ndarray) -> list[str]:
    """Return colours: one hue below 0, grey at 0, another above."""
    below, above = theme.CATEGORIES[0], theme.CATEGORIES[1]
    others = [*theme.CATEGORIES[2:6]] * 3
    found = []
    for m in multipliers:
        if m == 0:
            found.append(theme.CATEGORIES[6])
        elif m == multipliers.min():
            found.append(below)
        elif m == multipliers.max():
            found.append(above)
        else:
            found.append(others.pop(0))
    return found


def swing(result: Sweep) -> alt.LayerChart:
    """Return how far the ends of the multipliers lie apart, by layer."""
    frame = result.frames["swing"].assign(name="all held-out pairs", value=lambda f: f["swing"])
    chart = lines(
        frame,
        result.layers,
        {"all held-out pairs": theme.CATEGORIES[2]},
        values_axis("change of p", frame),
    )
    first, last = result.multipliers[0], result.multipliers[-1]
    return figure(
        chart,
        f"Change of p(matching answer) from multiplier {first:+g} to {last:+g}: {result.behaviour}",
        f"Layer {result.best} moves the first half of the pairs most; the other half moves there by "
        f"{result.gain[0]:.2f} [{result.gain[1]:.2f}, {result.gain[2]:.2f}].",
        width=fit(_SIZE[0], _AXIS),
        height=_SIZE[1],
    )


def swept(result: Sweep) -> str:
    """Return at which layer steering moves answers most, and how far."""
    value, low, high = result.gain
    depth = 100 * (result.best + 1) / result.depth
    return (
        f"Layer {result.best} ({depth:.0f}% of depth), chosen on half of the held-out pairs, moves p(matching) on the "
        f"other half by {value:.2f} [{low:.2f}, {high:.2f}] from multiplier {result.multipliers[0]:+g} to "
        f"{result.multipliers[-1]:+g}."
    )


def multipliers(result: Strength) -> alt.LayerChart:
    """Return p(matching) by multiplier, a curve for each system prompt."""
    frame = result.frames["sweep"]
    frame = frame.assign(name=frame["system"].map(SYSTEMS), value=frame["p_matching"])
    names = [SYSTEMS[name] for name in result.systems]
    colours = dict(zip(names, (theme.CATEGORIES[i] for i in (2, 1, 0)), strict=False))
    unit = _unit(result)
    chart = _curves(frame, colours, unit, _P, (frame["low"].min(), frame["high"].max()))
    return figure(
        chart,
        f"p(matching answer) by strength at layer {result.layer}: {result.behaviour}",
        f"Means over {result.n} held-out pairs; bands: 95% intervals over pairs.",
        width=fit(_SIZE[0], _AXIS),
        height=_SIZE[1],
    )


def _unit(result: Strength) -> str:
    return "share of the residual's norm" if result.params.unit == "share" else "multiplier"


def _curves(
    frame: pd.DataFrame, colours: dict[str, str], unit: str, name: str, domain: tuple[float, float]
) -> alt.LayerChart:
    low, high = domain
    margin = 0.04 * max(high - low, 1e-3)
    at = sorted(frame["multiplier"].unique().tolist())
    x = x_axis("multiplier", unit, (at[0], at[-1]), values=at, format="~g")
    base = alt.Chart(frame).encode(
        x=x,
        color=alt.Color("name:N", legend=strokes(colours, 3, symbolOpacity=1)).scale(
            domain=list(colours), range=list(colours.values())
        ),
        tooltip=[
            alt.Tooltip("name:N", title="curve"),
            tip("multiplier", unit, "+.2~f"),
            tip("value", name, ".3f"),
            *ends(".3f"),
        ],
    )
    y = y_axis("value", name, (low - margin, high + margin), tickCount=6)
    return layered(
        # An area without the axis' own scale would draw it down to 0.
        base.mark_area(opacity=0.16).encode(y=alt.Y("low:Q", scale=y["scale"]), y2="high:Q"),
        base.mark_line(point=points(), strokeWidth=2.2).encode(y=y),
    )


def floors(result: Strength) -> alt.LayerChart:
    """Return how far vectors of equal norm move answers: the behaviour's own, and others."""
    frame = result.frames["floors"]
    kinds = ["this vector", *dict.fromkeys(str(v) for v in frame["vector"][1:])]
    frame = frame.assign(kind=["this vector", *(str(v) for v in frame["vector"][1:])])
    own = frame["kind"] == "this vector"
    axis = alt.Axis(ticks=False, domain=False, minExtent=70)
    y = alt.Y("kind:N", title=None, scale=alt.Scale(domain=kinds, padding=0.6), axis=axis)
    reach = max(
        0.02,
        float(np.abs(frame[["low", "high"]].to_numpy()[own]).max()),
        float(np.abs(frame["swing"]).max()),
    )
    x = x_axis(
        "swing",
        f"change of p(matching), {_unit(result)} {-result.at:+g} to {result.at:+g}",
        (-1.05 * reach, 1.05 * reach),
        grid=True,
    )
    base = alt.Chart(frame).encode(
        y=y,
        tooltip=[alt.Tooltip("vector:N"), tip("swing", "change of p", ".3f"), *ends(".3f")],
    )
    zero = alt.Chart(pd.DataFrame({"swing": [0.0]})).mark_rule(strokeDash=[5, 4], strokeWidth=1.4)
    chart = layered(
        zero.encode(x=x),
        base.transform_filter("datum.kind == 'this vector'")
        .mark_rule(strokeWidth=1.8)
        .encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(filled=True, size=58, opacity=1).encode(
            x=x,
            color=alt.condition(
                "datum.kind == 'this vector'",
                alt.value(theme.CATEGORIES[1]),
                alt.value(theme.CATEGORIES[0]),
            ),
        ),
        width=fit(_SIZE[0] - 60, _AXIS + 60),
        height=40 * len(kinds),
    )
    random, shuffled = result.floor_share(RANDOM), result.floor_share(SHUFFLED)
    return figure(
        chart,
        f"What other vectors of the same norm do at layer {result.layer} of {result.provenance.model.id}: {result.behaviour}",
        f"On average, sign left out, random vectors move p(matching) by {random[0]:.0%} of what this one does, vectors of "
        f"pairs with shuffled answers by {shuffled[0]:.0%}.",
        f"A point a vector; the bar is the 95% interval over {result.n} held-out pairs.",
    )


def costs(result: Strength) -> alt.LayerChart:
    """Return what steering costs on unrelated text, by multiplier."""
    frame = result.frames["costs"].assign(name="loss", value=lambda f: f["loss"])
    top, low = float(frame["high"].max()), float(min(frame["low"].min(), 0))
    chart = _curves(
        frame,
        {"loss": theme.CATEGORIES[5]},
        _unit(result),
        "loss more than unsteered (nats a token)",
        (low, top),
    )
    accuracy = frame["accuracy"].to_numpy()
    return figure(
        chart,
        f"What steering at layer {result.layer} costs on unrelated text: {result.behaviour}",
        f"Prose, every token steered{_unlike(result)}; bands: 95% intervals over {len(result.sizes)} documents.",
        f"Of {result.right.shape[1]} facts with four answers {accuracy[result.zero]:.0%} are right unsteered, "
        f"{accuracy[0]:.0%} at {result.multipliers[0]:+g} and {accuracy[-1]:.0%} at {result.multipliers[-1]:+g}.",
        width=fit(_SIZE[0], _AXIS),
        height=_SIZE[1],
    )


def _unlike(result: Strength) -> str:
    """Return which tokens of answers are steered, where it is not every one."""
    scope = result.params.scope
    return "" if scope == "all" else f" (of answers: {SCOPES[scope]})"


def trade(result: Strength) -> alt.LayerChart:
    """Return what steering does to the behaviour against what it costs, a point a strength."""
    frame = result.frames["costs"].sort_values("multiplier")
    gap = 0.05 * max(float(frame["p_matching"].max() - frame["p_matching"].min()), 0.02)
    y = y_axis("p_matching", _P, (frame["p_matching"].min() - gap, frame["p_matching"].max() + gap))
    top = max(float(frame["loss"].max()), 1e-3)
    x = x_axis(
        "loss",
        "loss more than unsteered (nats a token)",
        (min(0.0, float(frame["loss"].min())) - 0.04 * top, 1.08 * top),
    )
    tips = [
        tip("multiplier", _unit(result), "+.2~f"),
        tip("loss", "loss", ".3f"),
        tip("p_matching", _P, ".3f"),
    ]
    base = alt.Chart(
        frame.assign(name=[f"{m:+g}" if m else "0" for m in frame["multiplier"]])
    ).encode(x=x, y=y, tooltip=tips)
    return figure(
        layered(
            base.mark_line(strokeWidth=1.6, opacity=0.6).encode(order="multiplier:Q"),
            base.mark_point(filled=True, size=60, opacity=1),
            *(_named(base, sign, **place) for sign, place in _BESIDE.items()),
        ),
        f"Effect against cost at layer {result.layer}: {result.behaviour}",
        "A point a strength, with its multiplier beside it.",
        f"Cost: prose, every token steered{_unlike(result)}.",
        width=fit(_SIZE[0] - 120, _AXIS),
        height=_SIZE[1],
    )


_BESIDE = {
    "<": {"dx": 6, "dy": -9, "align": "left"},
    "==": {"dx": 9, "dy": 0, "align": "left"},
    ">": {"dx": -6, "dy": -9, "align": "right"},
}
"""Where a multiplier stands beside its point, off the curve that opens to the right, by its sign."""


def _named(base: alt.Chart, sign: str, **place: Any) -> alt.Chart:
    named = base.transform_filter(f"datum.multiplier {sign} 0")
    return named.mark_text(**place).encode(text="name:N")


def strengthened(result: Strength) -> str:
    """Return how far the ends of the multipliers lie apart, and what that costs."""
    low, middle, high = result.p[0].mean(1)[[0, result.zero, -1]]
    goes = "rises" if low < middle < high else "goes"
    return (
        f"At layer {result.layer} p(matching) {goes} from {low:.2f} at {result.multipliers[0]:+g} through {middle:.2f} "
        f"unsteered to {high:.2f} at {result.multipliers[-1]:+g}; {result.multipliers[-1]:+g} costs "
        f"{result.cost[-1, 0]:.2f} nats a token on unrelated text. {_norms(result)}"
    )


def told(result: Strength, kind: str) -> str:
    """Return what other vectors do, as a share of what this one does, with its interval where it has one."""
    value, low, high = result.floor_share(kind)
    return f"{value:.0%}" + (f" [{low:.0%}, {high:.0%}]" if np.isfinite(high) else "")


def _norms(result: Strength) -> str:
    """Return how long the vector is, beside the stream that it is added to where that is known."""
    if not result.resid_norm:
        return f"The vector's norm is {shown(result.vector_norm, '')}."
    return (
        f"The vector's norm is {result.vector_norm / result.resid_norm:.0%} of the residual stream's mean norm there "
        f"({shown(result.vector_norm, '')} of {shown(result.resid_norm, '')})."
    )
