"""Figures of a logit lens and of its survey."""

from __future__ import annotations

from typing import Literal

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.logit_lens.lens import LogitLens
from interp_core.papers.logit_lens.params import FINAL
from interp_core.plot import (
    figure,
    fit,
    layer_axis,
    legend,
    points,
    rank_axis,
    shown,
    theme,
)

_WIDTH, AXIS, _ROW = 640, 80, 20
"""Width of a plot, room of its vertical axis, height of a row, in pixels."""
_SAID, _OTHER = "the output's token", "other tokens"
_DASHES = [[1, 0], [6, 3], [2, 2]]


def trajectories(
    result: LogitLens,
    position: int | None = None,
    scale: Literal["probability", "rank"] = "probability",
) -> alt.Chart:
    """Return how each tracked token fares over the layers at one position; the last if None."""
    _, position = result.cell(None, position)
    frame = followed(result, position)
    names = list(dict.fromkeys(frame["target"]))
    colours = [theme.CATEGORIES[n % len(theme.CATEGORIES)] for n in range(len(names))]
    dashes = [_DASHES[n % len(_DASHES)] for n in range(len(names))]
    key = legend(names, 2, "top", symbolType="stroke", symbolSize=500)
    chart = (
        alt.Chart(frame)
        .mark_line(point=points(), strokeWidth=2.2)
        .encode(
            x=layer_axis(result.layers),
            y=scale_axis(scale),
            color=alt.Color("target:N", legend=key).scale(domain=names, range=colours),
            strokeDash=alt.StrokeDash("target:N", legend=key).scale(domain=names, range=dashes),
            tooltip=[
                alt.Tooltip("target:N", title="token"),
                alt.Tooltip("layer:Q"),
                alt.Tooltip("probability:Q", format=".3~g"),
                alt.Tooltip("rank:Q", format=",d"),
            ],
        )
    )
    return figure(
        chart,
        f"{scale.capitalize()} of the followed tokens over layers",
        f"At position {position}, after {_quoted(result.tokens[position])}."
        + _settled(result, position),
        width=fit(_WIDTH, AXIS),
        height=280,
    )


def scale_axis(scale: Literal["probability", "rank"]) -> alt.Y:
    """Return the vertical axis of trajectories."""
    if scale == "rank":
        return rank_axis("rank:Q")
    axis = alt.Axis(grid=True, format="%")
    return alt.Y("probability:Q", title="probability", scale=alt.Scale(domain=[0, 1]), axis=axis)


def _settled(result: LogitLens, position: int) -> str:
    """Return from which layer on the output's top token stays on top, as a sentence."""
    layer = result.crystallised[result.positions == position][0]
    if np.isnan(layer):
        return ""
    where = "the embedding" if layer < 0 else f"layer {layer:.0f}"
    return f" The output's token stays on top from {where} on."


def _quoted(token: str) -> str:
    return f"“{shown(token)}”"


def followed(result: LogitLens, position: int) -> pd.DataFrame:
    """Return one row per followed token and layer; a token that is followed twice is one line."""
    p = int(np.flatnonzero(result.positions == position)[0])
    ids = [int(result.final_top[p]), int(result.next_ids[p]), *map(int, result.watched)]
    roles = ["output's top", "actual next", *["watched"] * len(result.watched)]
    followed = {}
    for target, (token, role) in enumerate(zip(ids, roles, strict=True)):
        if token >= 0:
            followed.setdefault(token, (target, []))[1].append(role)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "target": f"{shown(result.vocabulary[token])}  ({', '.join(dict.fromkeys(names))})",
                    "layer": result.layers,
                    "rank": result.rank[:, p, target] + 1,
                    "probability": np.exp(result.log_prob[:, p, target]),
                }
            )
            for token, (target, names) in followed.items()
        ],
        ignore_index=True,
    )


def attribution(
    result: LogitLens, position: int | None = None, target: str = FINAL
) -> alt.LayerChart:
    """Return what each part of the model adds to a token's logit at one position; the last if None."""
    _, position = result.cell(None, position)
    frame = result.frames["attribution"]
    target = target if target in set(frame["target"]) else FINAL
    frame = frame[(frame["position"] == position) & (frame["target"] == target)]
    frame = frame[(frame["component"] != "norm bias") | (frame["logit"] != 0)]
    token = _quoted(frame["token"].iloc[0])
    rows = frame["layer"].astype(str).mask(frame["component"] == "embedding", "embed")
    rows = rows.mask(frame["component"] == "norm bias", "norm bias")
    paired = frame["component"].isin(["attention", "MLP"])
    frame = frame.assign(row=rows, token=frame["token"].map(shown), paired=paired)
    present = [name for name in theme.COMPONENTS if name in set(frame["component"])]
    colours = alt.Scale(domain=present, range=[theme.COMPONENTS[name] for name in present])
    axis = alt.Axis(grid=True, format="~r", tickCount=8)
    base = alt.Chart(frame).encode(
        x=alt.X("logit:Q", title="contribution (logits)", axis=axis),
        y=alt.Y("row:N", title="layer", scale=alt.Scale(domain=list(rows.unique()[::-1]))),
        color=alt.Color("component:N", scale=colours, legend=legend(present, 4, "top")),
        tooltip=[
            alt.Tooltip("component:N"),
            alt.Tooltip("row:N", title="layer"),
            alt.Tooltip("token:N"),
            alt.Tooltip("logit:Q", title="contribution (logits)", format="+.3f"),
        ],
    )
    lane = alt.YOffset("component:N", scale=alt.Scale(domain=["MLP", "attention"]))
    chart = alt.layer(
        base.transform_filter("datum.paired").mark_bar().encode(yOffset=lane),
        base.transform_filter("!datum.paired").mark_bar(),
    )
    return figure(
        chart,
        f"Direct logit attribution to {token} over layers",
        f"At position {position}, after {_quoted(result.tokens[position])}. "
        f"The bars add up to its logit, {frame['logit'].sum():.2f}; bars to the left lower it.",
        width=fit(_WIDTH, AXIS),
        height=alt.Step(_ROW, **{"for": "position"}),
    )


def top_tokens(
    result: LogitLens, layer: int | None = None, position: int | None = None
) -> pd.DataFrame:
    """Return the ten likeliest tokens of one cell; the last cell where none is given."""
    layer, position = result.cell(layer, position)
    grid = result.frames["grid"]
    cell = grid[(grid["layer"] == layer) & (grid["position"] == position)].head(10)
    return pd.DataFrame(
        {
            "rank": cell["rank"] + 1,
            "token": cell["token"].map(shown),
            "token id": cell["token_id"],
            "probability": cell["probability"],
        }
    )


def slider(
    result: LogitLens, layer: int | None = None, position: int | None = None
) -> alt.LayerChart:
    """Return the ten likeliest tokens at one position, with a slider over layers that needs no app behind it."""
    layer, position = result.cell(layer, position)
    grid = result.frames["grid"]
    grid = grid[(grid["position"] == position) & (grid["rank"] < 10)]
    layers = sorted({int(each) for each in grid["layer"]})
    said = grid.loc[grid["layer"] == layers[-1], "token_id"].iloc[0]
    kind = np.where(grid["token_id"] == said, _SAID, _OTHER)
    frame = pd.DataFrame(
        {
            "layer": grid["layer"],
            "rank": grid["rank"] + 1,
            "token": grid["token"].map(shown),
            "probability": grid["probability"],
            "kind": kind,
        }
    )
    at = alt.param(
        name="at",
        value=layer,
        bind=alt.binding_range(min=layers[0], max=layers[-1], step=1, name="layer"),
    )
    ticks = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], grid=True, domain=False)
    base = (
        alt.Chart(frame)
        .transform_filter("datum.layer === at")
        .encode(
            # Room for a token behind the longest bar.
            x=alt.X("probability:Q", scale=alt.Scale(domain=[0, 1.3], nice=False), axis=ticks),
            y=alt.Y(
                "rank:O", scale=alt.Scale(domain=list(range(1, 11))), axis=alt.Axis(ticks=False)
            ),
            tooltip=["token:N", alt.Tooltip("probability:Q", format=".2%"), "rank:O"],
        )
    )
    bars = base.mark_bar(height=14).encode(
        color=alt.Color("kind:N", legend=legend((_SAID, _OTHER), 2)).scale(
            domain=[_SAID, _OTHER], range=[theme.CATEGORIES[5], theme.CATEGORIES[0]]
        )
    )
    names = base.mark_text(align="left", dx=6).encode(text="token:N")
    token = shown(result.tokens[position])
    return figure(
        alt.layer(bars, names).add_params(at),
        f"The ten likeliest tokens after {token}, read at one layer",
        "Move the slider from the embedding (-1) to the output.",
        width=fit(_WIDTH, AXIS),
        height=10 * _ROW,
    )


def sentence(result: LogitLens) -> str:
    """Return what the model says last, and from which layer on the lens says so."""
    said = result.summary
    layer = said["crystallisation_layer"]
    answer = f"After {_quoted(said['token'])} the model says {_quoted(said['final_token'])} ({said['final_probability']:.0%})"
    if layer is None:
        return f"{answer}; no layer that was read keeps it on top to the end."
    where = "the embedding" if layer < 0 else f"layer {layer} of {said['n_layers']}"
    return f"{answer}. The lens has it on top from {where} on."
