"""Figures of attention patterns on a text: one head's as a matrix, and a layer's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.attention import Pattern
from interp_core.papers.induction_heads.params import head_name
from interp_core.plot import (
    across,
    below,
    figure,
    fit,
    formed,
    gradient,
    label,
    narrow,
    shown,
    small,
    theme,
    tip,
)

_SQUARE, _CELL, _LABELS, _LEGEND = 640, (12, 26), 130, 110
"""Width that a pattern fills, in pixels, with cells within their bounds; room beside it."""
_LEAST, _FEW, _ROW = 3, 75, 12
"""On a phone: least width of a cell, and room beside a pattern. Height of a token's name."""
NAME, _SHORT = 150, 55
"""Room for a token along an axis, in pixels, and on a phone."""
FAINT = 0.02
"""Attention that is not drawn."""
_SMALL, _PIXEL, _COLUMNS = 190, (3, 8), 5


def _counted(result: Pattern) -> np.ndarray:
    """Return [query, key] whether prefix matching counts an entry, among the positions shown.

    A query whose token stood before counts the attention to what followed it there.
    """
    ids = np.array(result.provenance.token_ids)
    same = np.tril(ids[:, None] == ids, -1)
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    return after[np.ix_(result.positions, result.positions)]


def entries(result: Pattern, heads: list[int]) -> pd.DataFrame:
    """Return one row per head, query and earlier key."""
    query, key = np.tril_indices(len(result.positions))
    names = _names(result)
    frame = pd.DataFrame(
        {
            "query": query,
            "key": key,
            "row": [names[i] for i in query],
            "column": [names[i] for i in key],
            "from": [_spoken(result, int(i)) for i in query],
            "to": [_spoken(result, int(i)) for i in key],
            "counted": _counted(result)[query, key],
        }
    )
    values = result.pattern[:, query, key].astype(float)
    return pd.concat(
        [frame.assign(head=head, attention=values[head].round(4)) for head in heads],
        ignore_index=True,
    )


def _names(result: Pattern) -> list[str]:
    """Return tokens told apart by their position, which labels leave out."""
    tokens = formed(result.tokens)
    return [f"{label(tokens[p], room_of_name())}\n{p}" for p in result.positions]


def room_of_name() -> int:
    """Return the room that a token has along an axis, in pixels."""
    return _SHORT if narrow() else NAME


def _spoken(result: Pattern, place: int) -> str:
    position = result.positions[place]
    return f"{shown(result.tokens[position])}  (position {position})"


def tips() -> list[alt.Tooltip]:
    """Return what hovering over an entry tells."""
    return [
        alt.Tooltip("from:N", title="query"),
        alt.Tooltip("to:N", title="key"),
        tip("attention", "attention", ".1%"),
    ]


def colour_of(legend: Callable[..., alt.Legend], **given: Any) -> alt.Color:
    """Return the colours of attention, with a legend of that kind."""
    quantity = theme.QUANTITIES["probability"]
    key = legend("attention", format="%", values=list(quantity.ticks), **given)
    return alt.Color("attention:Q", scale=quantity.scale, legend=key)


def which(result: Pattern, head: int) -> str:
    """Return the head's score on the text, as a sentence."""
    score = result.score(head)
    if np.isnan(score):
        return "No token stands twice, so there is no prefix to match."
    return f"Prefix matching on this text: {score:.2f}."


def some(result: Pattern) -> str:
    """Return how many positions are shown, as a sentence, where not all are."""
    few, total = len(result.positions), len(result.tokens)
    return f"Showing {few:,} of {total:,} positions." if few < total else ""


def cell(count: int) -> int:
    """Return the width of one of so many cells in a row, in pixels."""
    least = _CELL[0] if not narrow() else _LEAST
    return int(np.clip(fit(_SQUARE, _FEW if narrow() else _LABELS) // count, least, _CELL[1]))


def named(count: int, size: int) -> list[int]:
    """Return the places whose tokens are named along an axis: all, or as many as there is room for."""
    return list(range(0, count, max(1, -(-_ROW // size))))


def outlines(base: alt.Chart, size: int) -> alt.Chart:
    """Return the outlines of the entries that prefix matching counts, in cells of that width."""
    return base.transform_filter("datum.counted").mark_rect(
        filled=False,
        stroke=alt.ExprRef("datum.ink"),
        strokeWidth=1.5 if size >= 10 else 0.6,
        width=alt.RelativeBandSize(0.8),
        height=alt.RelativeBandSize(0.8),
    )


def pattern(result: Pattern, head: int | None = None) -> alt.LayerChart:
    """Return a head's attention, queries by keys."""
    head = result.head if head is None else head
    frame, names = entries(result, [head]), _names(result)
    frame["ink"] = theme.QUANTITIES["probability"].ink(frame["attention"].to_numpy())
    lines = (
        f"A row sums to 1. {which(result, head)}",
        "Outlined: what followed an earlier occurrence of the row's token; an induction head "
        "looks there."
        if frame["counted"].any()
        else "",
        some(result),
    )
    size = cell(len(names))
    whole = size * len(names) + _LABELS + _LEGEND
    axis: dict[str, Any] = {
        "labelExpr": "split(datum.label, '\\n')[0]",
        "labelOverlap": False,
        "values": [names[place] for place in named(len(names), size)],
        "ticks": False,
        "domain": False,
    }
    scale = alt.Scale(domain=names, padding=0)
    base = alt.Chart(frame).encode(
        x=alt.X(
            "column:N",
            title="key: the token looked at",
            scale=scale,
            axis=alt.Axis(labelAngle=-90, **axis),
        ),
        y=alt.Y("row:N", title="query: the token that looks", scale=scale, axis=alt.Axis(**axis)),
        tooltip=tips(),
    )
    chart = alt.layer(
        base.mark_rect().encode(color=colour_of(gradient, whole=whole)),
        outlines(base, size),
    )
    heading = f"What L{result.layer}H{head} looks at: attention from each token to those before it"
    return figure(chart, heading, *lines, width=size * len(names), height=size * len(names))


def layer_patterns(result: Pattern) -> alt.ConcatChart:
    """Return the patterns of all heads of the layer, side by side."""
    heads, count = len(result.pattern), len(result.positions)
    frame = entries(result, list(range(heads)))
    clear = frame[frame["attention"] >= FAINT].sort_values(
        "attention", ascending=False, kind="stable"
    )
    drawn = clear.head(theme.MAX_MARKS)
    names = [_panel(result, head) for head in range(heads)]
    chosen = names[result.head].replace("  ", ", ")
    cut = (
        f" Showing the strongest {len(drawn):,} of {len(clear):,}."
        if len(drawn) < len(clear)
        else ""
    )
    lines = (
        f"Above each: its prefix matching on this text. The one looked at: {chosen}.",
        "An induction head makes stripes below the diagonal where the text repeats.",
        f"Rows are queries, columns keys. Attention below {FAINT:.0%} is drawn as 0.{cut}",
        some(result),
    )
    columns, width = across(_COLUMNS, _SMALL)
    size = int(np.clip(width // count, *_PIXEL))
    places = alt.Scale(domain=list(range(count)), padding=0)
    drawn = drawn.drop(columns=["row", "column", "counted"])
    panels = [
        alt.Chart(drawn[drawn["head"] == head].drop(columns="head"))
        .mark_rect()
        .encode(
            x=alt.X("key:O", scale=places, axis=None),
            y=alt.Y("query:O", scale=places, axis=None),
            color=colour_of(below),
            tooltip=tips(),
        )
        # The colour of 0, so that what is left out is drawn too.
        .properties(view=alt.ViewBackground(fill="#440154"), title=small(name))
        .properties(width=size * count, height=size * count)
        for head, name in enumerate(names)
    ]
    chart = alt.concat(*panels, columns=columns, spacing={"row": 14, "column": 18})
    heading = f"Attention patterns of every head of layer {result.layer}"
    return figure(chart.resolve_scale(color="shared"), heading, *lines)


def _panel(result: Pattern, head: int) -> str:
    score = result.score(head)
    return f"H{head}" if np.isnan(score) else f"H{head}  {score:.2f}"


def sentence(result: Pattern) -> str:
    """Return how the head scores on this text."""
    return f"**{head_name(result.layer, result.head)}**: {which(result, result.head)}"
