"""Figures of a logit lens and of its survey."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import altair as alt
import numpy as np
import pandas as pd

from interp_core.charts import theme
from interp_core.charts.logit_lens_grid import grid, window
from interp_core.charts.logit_lens_layers import SURVEY, layers, survey_chart, survey_charts
from interp_core.charts.parts import (
    alt_text,
    layer_axis,
    points,
    rank_axis,
    shown,
    title,
)

if TYPE_CHECKING:
    from interp_core.papers.logit_lens.result import LogitLens

__all__ = [
    "attribution",
    "charts",
    "grid",
    "layers",
    "makers",
    "survey_chart",
    "survey_charts",
    "trajectories",
    "window",
]

_WIDTH, _ROW = 640, 20
_DASHES = [[1, 0], [6, 3], [2, 2]]


def trajectories(
    result: LogitLens, position: int, quantity: Literal["probability", "rank"] = "probability"
) -> alt.Chart:
    """Return how each followed token fares over the layers at one position of the prompt."""
    frame = _followed(result, position)
    names = list(dict.fromkeys(frame["target"]))
    colours = [theme.CATEGORIES[n % len(theme.CATEGORIES)] for n in range(len(names))]
    dashes = [_DASHES[n % len(_DASHES)] for n in range(len(names))]
    legend = alt.Legend(title=None, orient="top", columns=2, symbolType="stroke", symbolSize=500)
    axis = alt.Axis(grid=True, format="%")
    likely = alt.Y("probability:Q", title="probability", scale=alt.Scale(domain=[0, 1]), axis=axis)
    heading = title(
        f"{quantity.capitalize()} of the followed tokens over layers",
        f"At position {position}, after {_quoted(result.tokens[position])}."
        + _settled(result, position),
    )
    return (
        alt.Chart(frame, title=heading, width=_WIDTH, height=280, description=alt_text(heading))
        .mark_line(point=points(), strokeWidth=2.2)
        .encode(
            x=layer_axis(result.layers),
            y=rank_axis("rank:Q") if quantity == "rank" else likely,
            color=alt.Color("target:N", legend=legend).scale(domain=names, range=colours),
            strokeDash=alt.StrokeDash("target:N", legend=legend).scale(domain=names, range=dashes),
            tooltip=[
                alt.Tooltip("target:N", title="token"),
                alt.Tooltip("layer:Q"),
                alt.Tooltip("probability:Q", format=".3~g"),
                alt.Tooltip("rank:Q", format=",d"),
            ],
        )
    )


def _settled(result: LogitLens, position: int) -> str:
    """Return from which layer on the output's top token stays on top, as a sentence."""
    layer = result.crystallised[result.positions == position][0]
    if np.isnan(layer):
        return ""
    where = "the embedding" if layer < 0 else f"layer {layer:.0f}"
    return f" The output's top token stays on top from {where} on."


def _quoted(token: str) -> str:
    return f"“{shown(token)}”"


def _followed(result: LogitLens, position: int) -> pd.DataFrame:
    """Return one row per followed token and layer; a token followed twice is one line."""
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


def attribution(result: LogitLens, position: int, target: str = "final top") -> alt.LayerChart:
    """Return what each part of the model adds to a token's logit at one position."""
    frame = result.frames["attribution"]
    frame = frame[(frame["position"] == position) & (frame["target"] == target)]
    frame = frame[(frame["component"] != "norm bias") | (frame["logit"] != 0)]
    token = _quoted(frame["token"].iloc[0])
    rows = frame["layer"].astype(str).mask(frame["component"] == "embedding", "embed")
    rows = rows.mask(frame["component"] == "norm bias", "norm bias")
    paired = frame["component"].isin(["attention", "MLP"])
    frame = frame.assign(row=rows, token=frame["token"].map(shown), paired=paired)
    present = [name for name in theme.COMPONENTS if name in set(frame["component"])]
    colours = alt.Scale(domain=present, range=[theme.COMPONENTS[name] for name in present])
    heading = title(
        f"Direct logit attribution to {token} over layers",
        f"At position {position}, after {_quoted(result.tokens[position])}. "
        f"The bars add up to its logit, {frame['logit'].sum():.2f}; bars to the left lower it.",
    )
    axis = alt.Axis(grid=True, format="~r", tickCount=8)
    base = alt.Chart(frame).encode(
        x=alt.X("logit:Q", title="contribution (logits)", axis=axis),
        y=alt.Y("row:N", title="layer", scale=alt.Scale(domain=list(rows.unique()[::-1]))),
        color=alt.Color("component:N", scale=colours, legend=alt.Legend(title=None, orient="top")),
        tooltip=[
            alt.Tooltip("component:N"),
            alt.Tooltip("row:N", title="layer"),
            alt.Tooltip("token:N"),
            alt.Tooltip("logit:Q", title="contribution (logits)", format="+.3f"),
        ],
    )
    lane = alt.YOffset("component:N", scale=alt.Scale(domain=["MLP", "attention"]))
    height = alt.Step(_ROW, **{"for": "position"})
    return alt.layer(
        base.transform_filter("datum.paired").mark_bar().encode(yOffset=lane),
        base.transform_filter("!datum.paired").mark_bar(),
    ).properties(width=_WIDTH, height=height, title=heading, description=alt_text(heading))


def makers(result: LogitLens) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    """Return what draws each figure of a result; those of one position at the last one read."""
    last = int(result.positions[-1])
    figures: dict[str, Callable[[], alt.TopLevelMixin]] = {
        "grid": partial(grid, result),
        "trajectories": partial(trajectories, result, last),
        "attribution": partial(attribution, result, last),
        "layers": partial(layers, result),
    }
    if (survey := result.survey) is not None:
        figures |= {f"survey_{name}": partial(survey_chart, survey, name) for name in SURVEY}
    return figures


def charts(result: LogitLens) -> dict[str, alt.TopLevelMixin]:
    """Return every figure of a result, by name."""
    return {name: draw() for name, draw in makers(result).items()}
