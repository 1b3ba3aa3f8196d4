"""Figures of where answers lie, and of vectors."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.steering.geometry import Geometry
from interp_core.papers.steering.params import BEHAVIOURS
from interp_core.papers.steering.saved import Saved
from interp_core.plot import (
    across,
    beside,
    figure,
    fit,
    gradient,
    heat,
    layer_axis,
    legend,
    lines,
    small,
    theme,
    tip,
    y_axis,
)

_SIZE, _AXIS = (640, 300), 80


def components(result: Geometry, layer: int | None = None) -> alt.ConcatChart | alt.HConcatChart:
    """Return answers by their two first principal components, coloured by behaviour and by letter."""
    layer = len(result.layers) // 2 if layer is None else min(layer, int(result.layers[-1]))
    frame = result.frames["components"]
    frame = frame[frame["layer"] == layer]
    columns, width = across(2, 300, 70)
    panels = [
        _scatter(frame, "answer", ["matching", "other"], (1, 0), width, "By behaviour"),
        _scatter(frame, "letter", ["A", "B"], (2, 3), width, "By letter of the answer"),
    ]
    row = list(result.layers).index(layer)
    r = {name: values[row, 0] for name, values in result.correlations().items()}
    return figure(
        beside(panels, columns).resolve_scale(color="independent", shape="independent"),
        f"Answers in the stream after block {layer}: {result.behaviour}",
        f"The first component correlates by {r['behaviour']:.2f} with the behaviour and by {r['letter']:.2f} with the "
        "letter.",
        f"A point an answer, two for each of {len(result.letter)} pairs."
        + ("" if result.params.protocol == "ab" else " Letters play no part in this protocol."),
    )


def _scatter(
    frame: pd.DataFrame,
    field: str,
    names: list[str],
    colours: tuple[int, int],
    width: int,
    title: str,
) -> alt.Chart:
    scale = alt.Scale(domain=names, range=[theme.CATEGORIES[i] for i in colours])
    shape = alt.Scale(domain=names, range=["circle", "diamond"])
    key = legend(names, 2)
    axis = alt.Axis(tickCount=4, format="~s", grid=True)
    room = alt.Scale(zero=False, padding=8)
    return (
        alt.Chart(frame)
        .mark_point(filled=True, size=34, opacity=0.7)
        .encode(
            x=alt.X("pc1:Q", title="first component", axis=axis, scale=room),
            y=alt.Y("pc2:Q", title="second component", axis=axis, scale=room),
            color=alt.Color(f"{field}:N", scale=scale, legend=key),
            shape=alt.Shape(f"{field}:N", scale=shape, legend=key),
            tooltip=[
                "pair:Q",
                "answer:N",
                "letter:N",
                tip("projection", "along the vector", ".2f"),
            ],
        )
        .properties(width=width, height=min(width, 280), title=small(title, width))
    )


def separation(result: Geometry) -> alt.LayerChart:
    """Return how well the vector separates held-out answers, and what the components follow, by layer."""
    frame = result.frames["geometry"]
    curves = {
        "held-out pairs the right way round": ("separated", theme.CATEGORIES[1]),
        "|r| of first component with behaviour": ("pc1_behaviour", theme.CATEGORIES[2]),
        "|r| of first component with letter": ("pc1_letter", theme.CATEGORIES[3]),
    }
    long = pd.concat(
        frame[["layer"]].assign(value=frame[column], name=name)
        for name, (column, _) in curves.items()
    )
    colours = {name: colour for name, (_, colour) in curves.items()}
    return figure(
        lines(long, result.layers, colours, y_axis("value", "share, or |r|", (0, 1))),
        f"What separates answers, by layer: {result.behaviour}",
        f"Held-out pairs, {int(result.held_out.sum())}: the matching answer lies further along the vector. Half is chance.",
        width=fit(_SIZE[0], _AXIS),
        height=_SIZE[1],
    )


def letters(result: Geometry) -> alt.LayerChart:
    """Return cosines of vectors of halves of the pairs: by letter, and at random."""
    cosine = result.letter_cosine()
    frame = pd.concat(
        [
            pd.DataFrame(
                {
                    "layer": result.layers,
                    "value": cosine[:, 0],
                    "low": cosine[:, 1],
                    "high": cosine[:, 2],
                    "name": "(A)-matching against (B)-matching pairs",
                }
            ),
            pd.DataFrame(
                {
                    "layer": result.layers,
                    "value": result.halves_cosine,
                    "low": result.halves_cosine,
                    "high": result.halves_cosine,
                    "name": "two halves of the pairs",
                }
            ),
        ]
    )
    colours = dict(
        zip(frame["name"].unique(), (theme.CATEGORIES[1], theme.CATEGORIES[0]), strict=True)
    )
    told = (
        "The two parts point opposite ways: activations here carry the letter."
        if result.is_letter
        else ""
    )
    return figure(
        lines(frame, result.layers, colours, y_axis("value", "cosine", (-1, 1))),
        f"Vectors of two parts of the pairs: {result.behaviour}",
        "Vectors of a behaviour are the same whichever letter matches (1); those of the letter are opposite (-1). "
        "Two halves, either with both letters, say how steady the vector is that is added.",
        f"By letter: of what pairs have in common, without their noise; band: 95% interval over pairs. {told}".strip(),
        width=fit(_SIZE[0], _AXIS),
        height=_SIZE[1],
    )


def between_layers(result: Geometry) -> alt.Chart:
    """Return cosines of the vectors of every two layers."""
    frame = result.frames["between_layers"].rename(columns={"other_layer": "other"})
    ticks = [int(k) for k in result.layers[::5]]
    axis = alt.Axis(values=ticks, ticks=False, domain=False)
    y = alt.Y("other:O", title="layer", sort="descending", axis=axis)
    colour = alt.Color(
        "cosine:Q", scale=theme.signed(1), legend=gradient("cosine", 560, format=".1f")
    )
    tips = [
        tip("layer", "layer", "d"),
        tip("other", "with layer", "d"),
        tip("cosine", "cosine", ".2f"),
    ]
    rows = len(result.layers)
    chart = heat(frame, result.layers, y, rows, colour, tips, width=fit(420, 120))
    return figure(
        chart,
        f"Cosine of the vectors of two layers: {result.behaviour}",
        "Near layers have nearly the same direction.",
    )


def between_behaviours(result: Geometry) -> alt.LayerChart:
    """Return cosines with the vectors of the behaviours that ship, by layer."""
    frame = result.frames["between_behaviours"]
    names = {name: BEHAVIOURS[name] for name in result.behaviours if name != result.behaviour}
    frame = frame[frame["behaviour"].isin(names)]
    frame = frame.assign(name=frame["behaviour"].map(names), value=frame["cosine"])
    colours = dict(zip(names.values(), theme.CATEGORIES, strict=False))
    return figure(
        lines(frame, result.layers, colours, y_axis("value", "cosine", (-1, 1))),
        f"Cosine with the vectors of other behaviours: {result.behaviour}",
        "0 is what unrelated directions have.",
        width=fit(_SIZE[0], _AXIS),
        height=_SIZE[1],
    )


def sentence(result: Geometry) -> str:
    """Return what the vector is of."""
    accuracy = result.accuracy
    if result.params.protocol == "ab":
        return (
            f"{_turned(result)} Unsteered, the model picks the matching letter of {accuracy.value:.0%} of pairs, and gives A "
            f"{np.nanmean(result.says_a):.0%} on average."
        )
    return (
        f"After block {result.middle} the matching answer of {result.apart[result.middle].mean():.0%} of "
        f"{int(result.held_out.sum())} held-out pairs lies further along the vector. Unsteered, the model prefers the matching "
        f"answer of {accuracy.value:.0%} of pairs."
    )


def _turned(result: Geometry) -> str:
    value, low, high = result.letter_cosine()[result.middle]
    if np.isnan(value):
        return "Letter and behaviour are not told apart: too few of these pairs match by one of the letters, or they have nothing in common."
    if result.is_letter:
        said = (
            "Activations at the letter carry the letter: vectors of the pairs with (A) matching and of those with (B) "
            "matching point opposite ways"
        )
    elif low >= 0:
        said = "The vector keeps its direction whichever letter matches"
    else:
        said = "Whether the vector turns round with the letter that matches is undecided"
    return f"{said} (cosine {value:.3f} [{low:.3f}, {high:.3f}] after block {result.middle})."


def norms(result: Saved) -> alt.Chart:
    """Return the vector's norm as a share of the residual stream's, by layer."""
    frame = result.frames["vectors"]
    chart = (
        alt.Chart(frame)
        .mark_line(point=True, strokeWidth=2.2)
        .encode(
            x=layer_axis(result.layers),
            y=y_axis(
                "share", "share of the residual's norm", (0, 1.05 * float(frame["share"].max()))
            ),
            tooltip=[
                tip("layer", "layer", "d"),
                tip("norm", "norm of the vector"),
                tip("resid_norm", "mean norm of the residual stream"),
                tip("share", "share", ".2f"),
            ],
        )
    )
    return figure(
        chart,
        f"How large the vector is, by layer: {result.card.behaviour}",
        f"Of {result.card.pairs} pairs; as a share of the mean norm of the residual stream where it is read.",
        width=fit(_SIZE[0], _AXIS),
        height=_SIZE[1],
    )


def kept(result: Saved) -> str:
    """Return what was made, and where it is."""
    return (
        f"A vector of {result.card.behaviour} from {result.card.pairs} pairs, one direction a layer, called `{result.vector}` on "
        "the machine that made it. Its file (safetensors) and a control vector for llama.cpp (GGUF) are among the downloads."
    )
