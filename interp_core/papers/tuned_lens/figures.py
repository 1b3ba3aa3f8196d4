"""Figures of one prompt, read through both lenses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.logit_lens import figures, figures_grid
from interp_core.papers.logit_lens.params import FINAL
from interp_core.papers.tuned_lens.reading import LENSES, Lens, Readings
from interp_core.plot import (
    figure,
    fit,
    font,
    gradient,
    layer_axis,
    layer_name,
    layered,
    legend,
    shown,
    small,
    strokes,
    theme,
    tip,
    values_axis,
)
from interp_core.plot.bands import lines

COLOURS = {"logit": "#999999", "tuned": "#0072B2", "bias-only": "#E69F00", "beside": "#E69F00"}
"""Of each lens, in every figure."""
WIDTH, AXIS = 640, 80
_CELL, _ROW, _ROOM, _LEGEND = (10, 60), (11, 18), 620, 120
_DIFFERENCES = {
    "kl": ("KL to the output", "KL (nats)"),
    "entropy": ("Entropy of the readout", "entropy (nats)"),
    "probability": ("Probability of the output's top token", "probability"),
}


def grid(
    result: Readings, colour: figures_grid.Colour = "probability", lens: Lens = "tuned"
) -> alt.LayerChart:
    """Return the grid of the logit lens, read through one of the lenses."""
    return figures_grid.grid(result.through(lens), colour, f"{lens} lens: ")


def difference(result: Readings, what: Literal["kl", "entropy", "probability"] = "kl") -> alt.Chart:
    """Return layers by positions: what the tuned lens reads less what the logit lens reads."""
    name, unit = _DIFFERENCES[what]
    own = result.log_prob[..., 0] if what == "probability" else getattr(result, what)
    values = np.exp(own) if what == "probability" else own
    tokens = [shown(result.tokens[p]) for p in result.positions]
    rows = [layer_name(int(n), result.provenance.model.n_layers - 1) for n in result.layers]
    frame = pd.DataFrame(
        {
            "row": np.repeat(rows, len(tokens)),
            "place": [f"{p}" for p in result.positions] * len(rows),
            "token": tokens * len(rows),
            **{lens: values[n].ravel() for n, lens in enumerate(LENSES)},
            "value": (values[1] - values[0]).ravel(),
        }
    )
    # The embedding, where the logit lens is sure of the input token, would pale all else.
    blocks = (values[1] - values[0])[result.layers >= 0]
    bound = max(float(np.abs(blocks).max(initial=0)), 1e-6)
    width = int(np.clip(fit(_ROOM, 95) // len(tokens), *_CELL)) * len(tokens)
    height = int(np.clip(440 // len(rows), *_ROW)) * len(rows)
    chart = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X(
                "place:O",
                title="position",
                sort=None,
                axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False),
            ),
            y=alt.Y(
                "row:N",
                title="layer",
                scale=alt.Scale(domain=rows[::-1]),
                axis=alt.Axis(ticks=False, domain=False),
            ),
            color=alt.Color(
                "value:Q",
                scale=theme.signed(bound),
                legend=gradient(["difference,", unit], whole=95 + width + _LEGEND),
            ),
            tooltip=[
                alt.Tooltip("row:N", title="layer"),
                alt.Tooltip("place:N", title="position"),
                alt.Tooltip("token:N", title="input token"),
                *[tip(lens, f"{lens} lens, {unit}") for lens in LENSES],
                tip("value", "difference", "+.3~g"),
            ],
        )
    )
    differ = (values[1] - values[0])[result.layers < result.provenance.model.n_layers - 1]
    lower = float((differ < 0).mean()) if differ.size else 0.0
    return figure(
        chart,
        f"{name}: tuned lens less logit lens",
        f"Blue: lower through the tuned lens, as in {lower:.0%} of the cells before the output. "
        "0 at the output, which neither lens changes.",
        _beyond((values[1] - values[0])[result.layers < 0], bound),
        width=width,
        height=height,
    )


def _beyond(first: np.ndarray, bound: float) -> str:
    """Return what to say of the embedding where the colours end before its differences do."""
    if not first.size or np.abs(first).max() <= bound:
        return ""
    return f"The embedding is off the scale: {first.min():.0f} to {first.max():.0f} nats."


def level(titles: Sequence[str], width: float) -> list[alt.TitleParams]:
    """Return the titles of panels in a row, all with as many lines as the longest, so that plots are level."""
    wrapped = [font.wrapped(text, width, theme.LABEL) for text in titles]
    most = max(len(rows) for rows in wrapped)
    made = [small(rows[0]) for rows in wrapped]
    for title, rows in zip(made, wrapped, strict=True):
        if most > 1:
            title["text"] = [*rows, *[" "] * (most - len(rows))]
    return made


def trajectories(
    result: Readings,
    position: int | None = None,
    scale: Literal["probability", "rank"] = "probability",
) -> alt.LayerChart:
    """Return how each tracked token fares at one position, a line for each lens."""
    parts = []
    for lens in LENSES:
        read = result.through(lens)
        _, position = read.cell(None, position)
        parts.append(figures.followed(read, position).assign(lens=f"{lens} lens"))
    frame = pd.concat(parts, ignore_index=True)
    names = list(dict.fromkeys(frame["target"]))
    colours = [theme.CATEGORIES[n % len(theme.CATEGORIES)] for n in range(len(names))]
    key = legend(names, 2, "top", symbolType="stroke", symbolSize=500)
    lenses = [f"{lens} lens" for lens in reversed(LENSES)]
    dashes = strokes(lenses, 2, symbolStrokeColor=COLOURS["logit"])
    dashed = alt.StrokeDash("lens:N", legend=dashes).scale(domain=lenses, range=[[1, 0], [4, 4]])
    base = alt.Chart(frame).encode(
        x=layer_axis(result.layers),
        y=figures.scale_axis(scale),
        color=alt.Color("target:N", legend=key).scale(domain=names, range=colours),
        tooltip=[
            alt.Tooltip("target:N", title="token"),
            alt.Tooltip("lens:N"),
            tip("layer", "layer", "d"),
            tip("probability", "probability"),
            tip("rank", "rank", ",d"),
        ],
    )
    # Dots of their own: with those of a line the legend would have no dashes.
    chart = layered(
        base.mark_line(strokeWidth=2.2).encode(strokeDash=dashed, detail="lens:N"),
        base.mark_point(size=28, filled=True, opacity=1),
    )
    return figure(
        chart,
        f"{scale.capitalize()} of the followed tokens over layers, through both lenses",
        f"At position {position}, after \u201c{shown(result.tokens[position])}\u201d.",
        width=fit(WIDTH, AXIS),
        height=280,
    )


def layers(result: Readings) -> alt.LayerChart:
    """Return the mean KL to the output over this prompt's positions, by layer and lens."""
    frame = result.frames["layers"]
    frame = frame[frame["layer"] >= 0].assign(name=lambda f: f["lens"] + " lens", value=frame["kl"])
    colours = {f"{lens} lens": COLOURS[lens] for lens in LENSES}
    shown_layers = result.layers[result.layers >= 0]
    return figure(
        lines(frame, shown_layers, colours, values_axis("KL to the output (nats)", frame)),
        "Mean KL(output || layer) of this prompt, by layer",
        f"Means over its positions from {result.params.skip_first} on, blocks only.",
        width=fit(WIDTH, AXIS),
        height=260,
    )


def attribution(
    result: Readings, position: int | None = None, target: str = FINAL
) -> alt.LayerChart:
    """Return each component's share of a token's logit, which depends on no lens."""
    return figures.attribution(result.through("logit"), position, target)


def top_tokens(
    result: Readings, layer: int | None = None, position: int | None = None
) -> pd.DataFrame:
    """Return the ten likeliest tokens of one cell, through each lens."""
    tables = [figures.top_tokens(result.through(lens), layer, position) for lens in LENSES]
    logit, tuned = (table.reset_index(drop=True) for table in tables)
    return pd.DataFrame(
        {
            "rank": tuned["rank"],
            "tuned lens": tuned["token"],
            "probability": tuned["probability"],
            "logit lens": logit["token"],
            "its probability": logit["probability"],
        }
    )


def sentence(result: Readings) -> str:
    """Return what the model says last, from which layer on each lens says so, and what the tuned lens is."""
    return f"{said(result)} Tuned lens: {result.about}."


def said(result: Readings) -> str:
    """Return what the model says last, and from which layer on each lens says so."""
    facts = result.summary
    after, token = shown(facts["token"]), shown(facts["final_token"])
    return (
        f"After \u201c{after}\u201d the model says \u201c{token}\u201d "
        f"({facts['final_probability']:.0%}). {_depths(result)}"
    )


def _depths(result: Readings) -> str:
    """Return from which layer on each lens has the output's top token on top to the end."""
    layers = result.summary["crystallisation_layer"]

    def where(layer: int | None) -> str:
        if layer is None:
            return "no layer that was read"
        return "the embedding" if layer < 0 else f"layer {layer}"

    return (
        f"The tuned lens has it on top from {where(layers['tuned'])} on, "
        f"the logit lens from {where(layers['logit'])}."
    )
