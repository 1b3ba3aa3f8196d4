"""The grid of a logit lens: the top token of every layer and position, coloured by a quantity."""

from __future__ import annotations

import json
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.logit_lens.lens import LogitLens
from interp_core.plot import (
    columns,
    figure,
    fit,
    font,
    formed,
    gradient,
    layer_name,
    narrow,
    shown,
    theme,
)

Colour = Literal["probability", "entropy", "kl", "rank", "cross_entropy"]

_ROOM, _NARROW, _LONG = 620, 28, 96
"""Width that the columns share, of the narrowest, and up to which none gives way, in pixels."""
_AXIS, _TITLE = 95, 26
"""Room of the names of layers, and of what stands beside them on a phone, in pixels."""
_SIDE, _GAP, _COMPACT = 9, 2, 15
"""Room beside a token, for its dot; between columns; width of a column without tokens."""
_GIVES = 0.9
"""Share of what the tokens need that columns have on a phone, at least."""
_DEEP = 150
"""Room for names that stand upright, in pixels."""
_HEIGHT, _ROW = 500, (16, 22)
"""Height to fill, in pixels, with rows no lower and no higher than these."""
_WIDE = 14
"""Positions from which on the layers are named on both sides."""
_TOKENS = 10
"""Most likely tokens that hovering tells."""
_STREAM = {
    "resid_post": "after each layer",
    "resid_mid": "after each layer's attention",
    "attn_out": "in each attention's output",
    "mlp_out": "in each MLP's output",
}
_COLOURED = {
    "probability": "coloured by its probability",
    "entropy": "coloured by the entropy of the distribution",
    "kl": "coloured by KL(output || layer)",
    "rank": "coloured by the rank of the output's top token",
    "cross_entropy": "coloured by the surprisal of the actual next token",
}


def window(result: LogitLens) -> tuple[slice, bool]:
    """Return the positions that the grid has room for, and whether their tokens fit in the cells.

    Where they do not, cells are narrow and without text. Where there are more than fit, the last
    positions are shown; a phone has room for a few.
    """
    cells = len(result.layers)
    marks = cells + _agrees(result).sum(0) + _hits(result).sum(0)
    if (marks + cells).sum() <= theme.MAX_MARKS:
        whole = (_GIVES * np.cumsum(_needs(result)[::-1]) <= _room(result)).sum()
        return slice(-max(int(whole), 1) if narrow() else None, None), True
    fits = int((np.cumsum(marks[::-1]) <= theme.MAX_MARKS).sum())
    return slice(-max(fits, 1), None), False


def _room(result: LogitLens) -> int:
    """Return the width that the columns share, in pixels."""
    if not narrow():
        return fit(_ROOM, _AXIS)
    names = max(font.width(name, theme.LABEL) for name in _rows(result))
    return fit(_ROOM, int(np.ceil(names)) + _TITLE)


def _needs(result: LogitLens) -> np.ndarray:
    """Return [position], the width at which a column has its tokens whole, in pixels."""
    top = {i: shown(result.vocabulary[i]) for i in np.unique(result.top_ids[:, :, 0]).tolist()}
    cell = {i: font.width(text, theme.TEXT) + 2 * _SIDE + _GAP for i, text in top.items()}
    names = [font.width(name, theme.LABEL) + _SIDE for name in _inputs(result)]
    columns = zip(names, result.top_ids[:, :, 0].T.tolist(), strict=True)
    return np.array([max(_NARROW, name, *(cell[i] for i in column)) for name, column in columns])


def _inputs(result: LogitLens) -> list[str]:
    """Return the token at each position, as it is shown."""
    tokens = formed(result.tokens)
    return [shown(tokens[p]) for p in result.positions]


def _agrees(result: LogitLens) -> np.ndarray:
    return result.rank[:, :, 0] == 0


def _hits(result: LogitLens) -> np.ndarray:
    return result.top_ids[:, :, 0] == result.next_ids


def _rows(result: LogitLens) -> list[str]:
    """Return what the axis calls each layer, from the embedding up."""
    output = result.provenance.model.n_layers - 1
    output_shown = output if result.params.stream == "resid_post" else None
    return [layer_name(int(layer), output_shown) for layer in result.layers]


def _cells(result: LogitLens, colour: Colour) -> pd.DataFrame:
    """Return one row per cell shown: its colour, its text, its marks and what hovering tells."""
    where, _ = window(result)
    positions, rows = result.positions[where], _rows(result)
    cells = result.frames["cells"]
    cells = cells[cells["position"].isin(positions)]
    tokens = result.frames["tokens"]["next"].iloc[where]
    following = tokens.map(shown, na_action="ignore").fillna("(end)")
    frame = pd.DataFrame(
        {
            "row": np.repeat(rows, len(positions)),
            "input": _inputs(result)[where] * len(rows),
            "next": [*following] * len(rows),
            "top": cells["top"].map(shown).array,
            "hit": _hits(result)[:, where].ravel(),
            "probability": cells["top_probability"].array,
            "rank": cells["final_rank"].array + 1,
        }
    )
    for name in ("layer", "position", "entropy", "kl", "cross_entropy", "agrees"):
        frame[name] = cells[name].array
    for k in range(min(_TOKENS, result.top_ids.shape[2])):
        ids, chances = result.top_ids[:, where, k].ravel(), result.top_probs[:, where, k].ravel()
        frame[str(k + 1)] = [
            f"{shown(result.vocabulary[i])}  {p:.1%}" for i, p in zip(ids, chances, strict=True)
        ]
    return frame.assign(ink=theme.QUANTITIES[colour].ink(frame[colour]))


def grid(result: LogitLens, colour: Colour = "probability", lens: str = "") -> alt.LayerChart:
    """Return layers by positions: the top token of each cell, coloured by a quantity.

    ``lens`` opens the title, where there is more than one.
    A click selects a cell: the parameter ``cell`` holds its ``layer`` and ``position``.
    """
    where, text = window(result)
    widths = _widths(result) if text else np.full(len(result.positions[where]), float(_COMPACT))
    frame = _laid_out(_cells(result, colour), widths, text)
    rows = alt.Scale(domain=_rows(result)[::-1], paddingInner=0.06)
    lines = (
        _title(f"{lens}top next token {_STREAM[result.params.stream]}, {_COLOURED[colour]}"),
        f"Read a column upwards. Outlined: the output's token. {'Corner dot' if text else 'Dot'}: the actual next "
        "token. · is a space.",
        _left_out(len(result.positions[where]), len(result.positions), text),
    )
    base = alt.Chart(frame).encode(
        x=_token_axis(frame, text), y=_layer_axis(rows), tooltip=_tooltip(frame)
    )
    tiles, outline, *rest = _tiles(base, colour), *_marks(base, text)
    if len(result.positions[where]) >= _WIDE:
        outline = outline.encode(y=_layer_axis(rows, "right"))
    chart = alt.layer(tiles.encode(y=_layer_axis(rows, "left")), outline, *rest).resolve_axis(
        y="independent"
    )
    size: dict[str, Any] = {
        "width": float(frame["right"].max()),
        "height": alt.Step(_row_height(result)),
    }
    return figure(chart, *lines, **size)


def _title(text: str) -> str:
    return text[0].upper() + text[1:]


def _widths(result: LogitLens) -> np.ndarray:
    """Return the widths of columns with tokens, in pixels."""
    needs, least = _needs(result)[window(result)[0]], 0 if narrow() else _LONG
    return columns.shared(needs.tolist(), _room(result), least)


def _laid_out(frame: pd.DataFrame, of: np.ndarray, text: bool) -> pd.DataFrame:
    """Return the cells with where they are, in columns of given widths, and what fits of their tokens."""
    position = frame["position"]
    widths = pd.Series(of, position.unique())
    width, end = position.map(widths), position.map(widths.cumsum())
    room = width - 2 * _SIDE - _GAP
    return frame.assign(
        left=end - width,
        middle=end - (width + _GAP) / 2,
        right=end - _GAP,
        shown=[font.cut(*cell, theme.TEXT) for cell in zip(frame["top"], room, strict=True)],
        name=[
            font.cut(token, space - _SIDE if text else _DEEP, theme.LABEL)
            for token, space in zip(frame["input"], width, strict=True)
        ],
    )


def _left_out(count: int, total: int, text: bool) -> str:
    """Return what a grid leaves out, as a sentence."""
    if text:
        return f"Showing the last {count:,} of {total:,} positions." if count < total else ""
    if count == total:
        return f"{total:,} positions leave no room for the tokens; hovering tells them."
    return f"Showing {count:,} of {total:,} positions, the last ones; hovering tells the tokens."


def _row_height(result: LogitLens) -> int:
    """Return the height of a row, so that a deep model's grid still fits a screen."""
    return int(np.clip(_HEIGHT // len(result.layers), *_ROW))


def _layer_axis(rows: alt.Scale, side: Literal["left", "right"] | None = None) -> alt.Y:
    axis = alt.Axis(orient=side, ticks=False, domain=False) if side else None
    return alt.Y("row:N", title="layer" if side == "left" else None, scale=rows, axis=axis)


def _marks(base: alt.Chart, text: bool) -> list[alt.Chart]:
    """Return the outlines, the dots and the tokens, in an ink that reads on their cell."""
    ink = alt.ExprRef("datum.ink")
    outline = base.transform_filter("datum.agrees").mark_rect(
        filled=False,
        stroke=ink,
        strokeWidth=1.2,
        xOffset=2,
        x2Offset=-2,
        height=alt.RelativeBandSize(0.78),
    )
    outline, base = outline.encode(x2="right:Q"), base.encode(x="middle:Q")
    corner: dict[str, Any] = {"xOffset": -6, "yOffset": -4} if text else {}
    dot = base.transform_filter("datum.hit").mark_point(
        filled=True, color=ink, size=14, opacity=1, **corner
    )
    tokens = base.mark_text(color=ink, fontSize=theme.TEXT).encode(text="shown:N")
    return [outline, dot.encode(x="right:Q"), tokens] if text else [outline, dot]


def _tiles(base: alt.Chart, colour: Colour) -> alt.Chart:
    """Return the coloured cells, and the selection of one."""
    quantity = theme.QUANTITIES[colour]
    cell = alt.selection_point(name="cell", fields=["layer", "position"])
    ticks: dict[str, Any] = {
        "format": quantity.format,
        "values": list(quantity.ticks),
        "labelOverlap": False,
    }
    legend = gradient(quantity.title, **ticks)
    return (
        base.mark_rect(invalid="show", stroke="#D55E00")
        .encode(
            x2="right:Q",
            color=alt.when(f"!isValid(datum.{colour})")
            .then(alt.value("#80808030"))
            .otherwise(alt.Color(f"{colour}:Q", scale=quantity.scale, legend=legend)),
            strokeWidth=alt.when(cell, empty=False).then(alt.value(3)).otherwise(alt.value(0)),
        )
        .add_params(cell)
    )


def _tooltip(frame: pd.DataFrame) -> list[alt.Tooltip]:
    # Titles that are whole numbers would be sorted to the front.
    return [
        alt.Tooltip("row:N", title="layer"),
        alt.Tooltip("position:Q"),
        alt.Tooltip("input:N", title="input token"),
        alt.Tooltip("next:N", title="actual next"),
        *[alt.Tooltip(f"{k}:N", title=f"{k}.") for k in range(1, _TOKENS + 1) if str(k) in frame],
        alt.Tooltip("entropy:Q", title="entropy (nats)", format=".2f"),
        alt.Tooltip("kl:Q", title="KL to output (nats)", format=".2f"),
        alt.Tooltip("cross_entropy:Q", title="surprisal of next (nats)", format=".2f"),
        alt.Tooltip("rank:Q", title="rank of output's top", format=",d"),
    ]


def _token_axis(frame: pd.DataFrame, text: bool) -> alt.X:
    """Return the axis of positions, each labelled with its token."""
    places = frame.drop_duplicates("position")
    middles = places["middle"].tolist()
    names = places["name"].tolist()
    if text:
        names = [[name, str(p)] for name, p in zip(names, places["position"], strict=True)]
    axis = alt.Axis(
        values=middles,
        labelExpr=f"{json.dumps(names)}[indexof({middles}, datum.value)]",
        labelAngle=0 if text else -90,
        labelFlush=False,
        labelOverlap=False,
        ticks=False,
    )
    scale = alt.Scale(domain=[0, float(frame["right"].max())], nice=False)
    return alt.X("left:Q", title="input token and its position", scale=scale, axis=axis)
