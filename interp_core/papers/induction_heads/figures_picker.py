"""A layer's heads and their patterns in one figure, which answers to the pointer with no app behind it."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd

from interp_core.papers.induction_heads.attention import Pattern
from interp_core.papers.induction_heads.figures_attention import (
    FAINT,
    cell,
    colour_of,
    entries,
    named,
    outlines,
    room_of_name,
    some,
    tips,
)
from interp_core.plot import below, figure, formed, label, layered, small, theme, tip

_BARS = 110
"""Height of the scores, in pixels."""


def picker(result: Pattern) -> alt.VConcatChart:
    """Return the scores of a layer's heads above the pattern of one; a click on a bar picks another."""
    size = cell(len(result.positions))
    width = size * len(result.positions)
    pick = alt.selection_point(
        name="head", fields=["head"], value=[{"head": result.head}], toggle=False, clear=False
    )
    chart = alt.vconcat(_scores(result, pick, width), _pattern(result, pick, size))
    return figure(
        chart.resolve_scale(color="independent"),
        f"The heads of layer {result.layer}, and what the one that is picked looks at",
        "Click a bar to pick its head. Hover over the pattern to light a token's row and column.",
        f"Attention below {FAINT:.0%} is drawn as 0. {some(result)}",
    )


def _scores(result: Pattern, pick: alt.Parameter, width: int) -> alt.Chart:
    heads = range(len(result.pattern))
    frame = pd.DataFrame({"head": heads, "score": [result.score(head) for head in heads]})
    return (
        alt.Chart(frame.assign(name=[f"H{head}" for head in heads]))
        .mark_bar(cursor="pointer", color=theme.CATEGORIES[0])
        .encode(
            x=alt.X("name:N", sort=None, title=None, axis=alt.Axis(labelAngle=0, ticks=False)),
            y=alt.Y("score:Q", title="prefix matching", axis=alt.Axis(grid=True, tickCount=4)),
            opacity=alt.when(pick).then(alt.value(1)).otherwise(alt.value(0.35)),
            tooltip=[alt.Tooltip("name:N", title="head"), tip("score", "on this text", ".2f")],
        )
        .add_params(pick)
        .properties(width=width, height=_BARS, title=small("Prefix matching of every head"))
    )


def _pattern(result: Pattern, pick: alt.Parameter, size: int) -> alt.LayerChart:
    frame = entries(result, list(range(len(result.pattern))))
    drawn = (frame["attention"] >= FAINT) | frame["counted"]
    frame = frame[drawn].drop(columns=["row", "column"])
    tokens, count = formed(result.tokens), len(result.positions)
    width = size * count
    names = json.dumps([label(tokens[each], room_of_name()) for each in result.positions])
    axis = alt.Axis(
        labelExpr=f"{names}[datum.value]",
        values=named(count, size),
        labelOverlap=False,
        ticks=False,
        domain=False,
    )
    scale = alt.Scale(domain=list(range(count)), padding=0)
    ink = theme.QUANTITIES["probability"].ink(frame["attention"].to_numpy())
    over = alt.selection_point(
        name="over", fields=["query", "key"], on="pointerover", clear="pointerout", empty=False
    )
    apart = "isDefined(over.query) && over.query[0] !== datum.query && over.key[0] !== datum.key"
    base = (
        alt.Chart(frame.assign(ink=ink))
        .transform_filter(pick)
        .encode(
            x=alt.X("key:O", title="key", scale=scale, axis=axis),
            y=alt.Y("query:O", title="query", scale=scale, axis=axis),
            opacity=alt.when(apart).then(alt.value(0.25)).otherwise(alt.value(1)),
            tooltip=tips(),
        )
    )
    tiles = base.mark_rect().encode(color=colour_of(below)).add_params(over)
    # The colour of 0, so that what is left out is drawn too.
    dark = alt.ViewBackground(fill="#440154")
    title = small("Its attention; outlined: what followed an earlier occurrence", width)
    return layered(tiles, outlines(base, size), width=width, height=width, view=dark, title=title)
