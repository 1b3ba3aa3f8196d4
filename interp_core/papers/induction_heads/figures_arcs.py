"""A head's attention as arcs over the text."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.attention import Pattern
from interp_core.papers.induction_heads.figures_attention import (
    FAINT,
    NAME,
    entries,
    named,
    some,
    tips,
    which,
)
from interp_core.plot import figure, fit, font, formed, label, narrow, shown, strokes, theme

_LINE, _TOKEN, _SKY = 1000, (13, 30), 240
"""Width that the line of tokens fills, with tokens within their bounds; height of its arcs."""
_LEAST = 5
"""Least width of a token on a phone, where not all are named."""
_ARCS = 300
"""Most arcs."""
_COUNTED, _OTHER = "counted by prefix matching", "other"
_COLOURS = {_COUNTED: theme.CATEGORIES[5], _OTHER: theme.CATEGORIES[4]}


def _strongest(result: Pattern, head: int) -> tuple[pd.DataFrame, int]:
    """Return the entries that are drawn as arcs, and how many there are to draw."""
    frame = entries(result, [head])
    far = (frame["query"] != frame["key"]) & (frame["attention"] >= FAINT)
    # Heads rest on the first position, and arcs to it would cover all others.
    rests = np.array(result.positions)[frame["key"]] == 0
    frame = frame[far & ~rests].sort_values("attention", ascending=False, kind="stable")
    return frame.head(_ARCS), len(frame)


def _arches(frame: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return three points of each arc, in pixels: where it starts, its top and its end."""
    start, end = ((frame[side].to_numpy() + 0.5) * size for side in ("query", "key"))
    widest = max([size, *(start - end)])
    top = min(_SKY, widest / 2) * ((start - end) / widest) ** 0.7
    points = [(start, 0 * top), ((start + end) / 2, top), (end, 0 * top)]
    parts = [frame.assign(arc=frame.index, at=i, x=x, y=y) for i, (x, y) in enumerate(points)]
    kind = np.where(frame["counted"], _COUNTED, _OTHER)
    return pd.concat([part.assign(kind=kind) for part in parts], ignore_index=True)


def arcs(result: Pattern, head: int | None = None) -> alt.LayerChart:
    """Return a head's attention as arcs over the text; hovering a token shows its own."""
    head = result.head if head is None else head
    count, (frame, total) = len(result.positions), _strongest(result, head)
    size = int(np.clip(fit(_LINE) // count, _LEAST if narrow() else _TOKEN[0], _TOKEN[1]))
    first = np.array(result.positions) == 0
    sink = float(result.pattern[head][:, first].astype(float).sum(1)[~first].mean())
    said = (
        f"Stronger: more attention. Hover over a token for what it looks at, on its left, and what "
        f"looks at it. {which(result, head)}",
        f"Left out: a token's look at itself, and that at the first position, {sink:.0%} of all "
        "attention."
        if first.any()
        else "Left out: a token's look at itself.",
        f"Showing {len(frame):,} of {total:,} arcs." if len(frame) < total else "",
        some(result),
    )
    token = alt.selection_point(
        name="token", fields=["place"], on="pointerover", clear="pointerout", empty=False
    )
    apart = (
        "isDefined(token.place) && token.place[0] !== datum.query && token.place[0] !== datum.key"
    )
    legend = strokes(_COLOURS, 2, "top")
    width, arches = size * count, _arches(frame, size)
    sky = max(60.0, float(arches["y"].max())) if len(arches) else 60.0
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, width], nice=False), axis=None)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, sky], nice=False), axis=None)
    lines = (
        alt.Chart(arches)
        .mark_line(interpolate="natural", strokeWidth=2, strokeCap="round")
        .encode(
            x=x,
            y=y,
            order="at:Q",
            detail="arc:N",
            color=alt.Color("kind:N", legend=legend).scale(
                domain=list(_COLOURS), range=list(_COLOURS.values())
            ),
            opacity=alt.when(apart)
            .then(alt.value(0.04))
            .otherwise(
                alt.Opacity(
                    "attention:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.1, 1])
                )
            ),
            tooltip=tips(),
        )
    )
    chart = alt.layer(lines, *_tokens(result, size, sky, token))
    heading = f"What L{result.layer}H{head} looks at, as arcs from each token to earlier ones"
    return figure(chart, heading, *said, width=width, height=sky)


def _tokens(result: Pattern, size: int, sky: float, token: alt.Parameter) -> list[alt.Chart]:
    """Return the text under the arcs, and what catches the pointer over it."""
    frame = pd.DataFrame({"position": result.positions, "place": range(len(result.positions))})
    tokens = frame["position"].map(formed(result.tokens).__getitem__)
    labels = tokens.map(lambda text: label(text, NAME))
    frame = frame.assign(x=(frame["place"] + 0.5) * size, token=tokens.map(shown), label=labels)
    base = alt.Chart(frame).encode(
        x="x:Q", tooltip=[alt.Tooltip("token:N"), alt.Tooltip("position:N")]
    )
    below = alt.value(sky + 8)
    deep = max(font.width(name, theme.LABEL) for name in labels)
    text = base.transform_filter(alt.FieldOneOfPredicate("place", named(len(frame), size)))
    text = text.mark_text(angle=270, align="right", baseline="middle", fontSize=theme.LABEL)
    text = text.encode(
        y=below,
        text="label:N",
        opacity=alt.when("!isDefined(token.place) || token.place[0] === datum.place")
        .then(alt.value(1))
        .otherwise(alt.value(0.6)),
    )
    catch = base.mark_bar(opacity=0.001, width=size).encode(y=below, y2=alt.value(sky + 8 + deep))
    return [text, catch.add_params(token)]
