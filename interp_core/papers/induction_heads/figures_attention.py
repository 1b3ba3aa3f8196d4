"""Figures of attention patterns on a text: one head's as a matrix and as arcs, and a layer's."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.attention import Pattern
from interp_core.papers.induction_heads.params import head_name
from interp_core.plot import alt_text, font, label, shown, small, theme, tip, title

_SQUARE, _CELL = 640, (15, 26)
"""Width that a pattern fills, in pixels, with cells within their bounds."""
_LINE, _TOKEN, _SKY = 1000, (16, 30), 240
"""Width that the line of tokens fills, with tokens within their bounds; height of its arcs."""
_NAME = 150
"""Room for a token along an axis, in pixels."""
_ARCS, _FAINT = 300, 0.02
"""Most arcs, and attention that is not drawn."""
_SMALL, _PIXEL, _COLUMNS = 190, (3, 8), 5
_COUNTED, _OTHER = "counted by prefix matching", "other"
_COLOURS = {_COUNTED: theme.CATEGORIES[5], _OTHER: theme.CATEGORIES[4]}


def _counted(result: Pattern) -> np.ndarray:
    """Return [query, key] whether prefix matching counts an entry, among the positions shown.

    A query whose token stood before counts the attention to what followed it there.
    """
    ids = np.array(result.provenance.token_ids)
    same = np.tril(ids[:, None] == ids, -1)
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    return after[np.ix_(result.positions, result.positions)]


def _entries(result: Pattern, heads: list[int]) -> pd.DataFrame:
    """Return one row per head, query and earlier key."""
    query, key = np.tril_indices(len(result.positions))
    names = _names(result)
    frame = pd.DataFrame(
        {
            "query": query,
            "key": key,
            "row": [names[i] for i in query],
            "column": [names[i] for i in key],
            "from": [_spoken(result, i) for i in query],
            "to": [_spoken(result, i) for i in key],
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
    return [f"{label(result.tokens[p], _NAME)}\n{p}" for p in result.positions]


def _spoken(result: Pattern, place: int) -> str:
    position = result.positions[place]
    return f"{shown(result.tokens[position])}  (position {position})"


def _tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("from:N", title="query"),
        alt.Tooltip("to:N", title="key"),
        tip("attention", "attention", ".1%"),
    ]


def _colour(**legend: object) -> alt.Color:
    quantity = theme.QUANTITIES["probability"]
    given = {"title": "attention", "format": "%", "values": list(quantity.ticks), **legend}
    return alt.Color("attention:Q", scale=quantity.scale, legend=alt.Legend(**given))


def _which(result: Pattern, head: int) -> str:
    """Return the head's score on the text, as a sentence."""
    score = result.score(head)
    if np.isnan(score):
        return "No token stands twice, so there is no prefix to match."
    return f"Prefix matching on this text: {score:.2f}."


def _some(result: Pattern) -> str:
    few, total = len(result.positions), len(result.tokens)
    return f"Showing {few:,} of {total:,} positions." if few < total else ""


def pattern(result: Pattern, head: int | None = None) -> alt.LayerChart:
    """Return a head's attention, queries by keys."""
    head = result.head if head is None else head
    frame, names = _entries(result, [head]), _names(result)
    frame["ink"] = theme.QUANTITIES["probability"].ink(frame["attention"].to_numpy())
    heading = title(
        f"What L{result.layer}H{head} looks at: attention from each token to those before it",
        f"A row sums to 1. {_which(result, head)}",
        "Outlined: what followed an earlier occurrence of the row's token; an induction head "
        "looks there."
        if frame["counted"].any()
        else "",
        _some(result),
    )
    size = int(np.clip(_SQUARE // len(names), *_CELL))
    axis = {
        "labelExpr": "split(datum.label, '\\n')[0]",
        "labelOverlap": False,
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
        tooltip=_tips(),
    )
    return alt.layer(
        base.mark_rect().encode(color=_colour(orient="right", gradientLength=200)),
        base.transform_filter("datum.counted").mark_rect(
            filled=False,
            stroke=alt.ExprRef("datum.ink"),
            strokeWidth=1.5,
            width=alt.RelativeBandSize(0.8),
            height=alt.RelativeBandSize(0.8),
        ),
    ).properties(
        width=size * len(names),
        height=size * len(names),
        title=heading,
        description=alt_text(heading),
    )


def _strongest(result: Pattern, head: int) -> tuple[pd.DataFrame, int]:
    """Return the entries that are drawn as arcs, and how many there are to draw."""
    frame = _entries(result, [head])
    far = (frame["query"] != frame["key"]) & (frame["attention"] >= _FAINT)
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
    size = int(np.clip(_LINE // count, *_TOKEN))
    first = np.array(result.positions) == 0
    sink = float(result.pattern[head][:, first].astype(float).sum(1)[~first].mean())
    heading = title(
        f"What L{result.layer}H{head} looks at, as arcs from each token to earlier ones",
        f"Stronger: more attention. Hover over a token for what it looks at, on its left, and what "
        f"looks at it. {_which(result, head)}",
        f"Left out: a token's look at itself, and that at the first position, {sink:.0%} of all "
        "attention."
        if first.any()
        else "Left out: a token's look at itself.",
        f"Showing {len(frame):,} of {total:,} arcs." if len(frame) < total else "",
        _some(result),
    )
    token = alt.selection_point(
        name="token", fields=["place"], on="pointerover", clear="pointerout", empty=False
    )
    apart = (
        "isDefined(token.place) && token.place[0] !== datum.query && token.place[0] !== datum.key"
    )
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=300)
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
            tooltip=_tips(),
        )
    )
    return alt.layer(lines, *_tokens(result, size, sky, token)).properties(
        width=width, height=sky, title=heading, description=alt_text(heading)
    )


def _tokens(result: Pattern, size: int, sky: float, token: alt.Parameter) -> list[alt.Chart]:
    """Return the text under the arcs, and what catches the pointer over it."""
    frame = pd.DataFrame({"position": result.positions, "place": range(len(result.positions))})
    tokens = frame["position"].map(lambda position: result.tokens[position])
    labels = tokens.map(lambda text: label(text, _NAME))
    frame = frame.assign(x=(frame["place"] + 0.5) * size, token=tokens.map(shown), label=labels)
    base = alt.Chart(frame).encode(
        x="x:Q", tooltip=[alt.Tooltip("token:N"), alt.Tooltip("position:N")]
    )
    below = alt.value(sky + 8)
    deep = max(font.width(name, theme.LABEL) for name in labels)
    text = base.mark_text(angle=270, align="right", baseline="middle", fontSize=theme.LABEL)
    text = text.encode(
        y=below,
        text="label:N",
        opacity=alt.when("!isDefined(token.place) || token.place[0] === datum.place")
        .then(alt.value(1))
        .otherwise(alt.value(0.6)),
    )
    catch = base.mark_bar(opacity=0.001, width=size).encode(y=below, y2=alt.value(sky + 8 + deep))
    return [text, catch.add_params(token)]


def layer_patterns(result: Pattern) -> alt.ConcatChart:
    """Return the patterns of all heads of the layer, side by side."""
    heads, count = len(result.pattern), len(result.positions)
    frame = _entries(result, list(range(heads)))
    clear = frame[frame["attention"] >= _FAINT].sort_values(
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
    heading = title(
        f"Attention patterns of every head of layer {result.layer}",
        f"Above each: its prefix matching on this text. The one looked at: {chosen}.",
        "An induction head makes stripes below the diagonal where the text repeats.",
        f"Rows are queries, columns keys. Attention below {_FAINT:.0%} is drawn as 0.{cut}",
        _some(result),
    )
    size = int(np.clip(_SMALL // count, *_PIXEL))
    places = alt.Scale(domain=list(range(count)), padding=0)
    drawn = drawn.drop(columns=["row", "column", "counted"])
    panels = [
        alt.Chart(drawn[drawn["head"] == head].drop(columns="head"))
        .mark_rect()
        .encode(
            x=alt.X("key:O", scale=places, axis=None),
            y=alt.Y("query:O", scale=places, axis=None),
            color=_colour(orient="bottom", direction="horizontal", gradientLength=200),
            tooltip=_tips(),
        )
        # The colour of 0, so that what is left out is drawn too.
        .properties(view=alt.ViewBackground(fill="#440154"), title=small(name))
        .properties(width=size * count, height=size * count)
        for head, name in enumerate(names)
    ]
    chart = alt.concat(*panels, columns=_COLUMNS, spacing={"row": 14, "column": 18})
    return chart.resolve_scale(color="shared").properties(
        title=heading, description=alt_text(heading)
    )


def _panel(result: Pattern, head: int) -> str:
    score = result.score(head)
    return f"H{head}" if np.isnan(score) else f"H{head}  {score:.2f}"


def sentence(result: Pattern) -> str:
    """Return how the head scores on this text."""
    return f"**{head_name(result.layer, result.head)}**: {_which(result, result.head)}"
