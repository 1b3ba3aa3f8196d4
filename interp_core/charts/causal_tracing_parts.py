"""What the figures of a trace and those of its averages share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from interp_core.charts import theme
from interp_core.charts.parts import alt_text, layer_axis, points

if TYPE_CHECKING:
    from interp_core.papers.causal_tracing.params import Params

SCHEMES = {
    "resid_post": ["#f3f1f8", "#9e9ac8", "#3f007d"],
    "mlp_out": ["#eef6ee", "#74c476", "#00441b"],
    "attn_out": ["#fbeeea", "#fb6a4a", "#67000d"],
}
"""The paper's colours by what is restored; in each, darker is more."""
SEVERED = {
    "resid_post": ("state restored", theme.COMPONENTS["embedding"]),
    "sever_mlp": ("MLPs severed", theme.COMPONENTS["MLP"]),
    "sever_attn": ("attention severed", theme.COMPONENTS["attention"]),
}
CLASSES = {
    "first_subject": "first subject token",
    "middle_subject": "middle subject tokens",
    "last_subject": "last subject token",
    "first_subsequent": "first token after it",
    "further": "further tokens",
    "last": "last token",
}
UNITS = {
    "probability": "probability",
    "joint_probability": "joint probability",
    "log_probability": "log probability (nats)",
    "logit_difference": "logit difference (logits)",
    "kl": "KL to the clean run (nats)",
}
_MAP, _CELL, _ROW, _HEIGHT = 215, (6, 24), (11, 20), 440
"""Width and height that a map fills, in pixels, with cells and rows within their bounds."""
WIDTH, NAMES = 640, 240
"""Width of a figure of curves, and room for the names of a map's rows, in pixels."""


def effect_name(params: Params, average: bool = False) -> str:
    """Return what an axis calls an effect, with its unit."""
    short = "AIE" if average else "indirect effect"
    return f"{short}: {'drop in ' * (params.metric == 'kl')}{UNITS[params.metric]}"


def gained(frame: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return a frame in which more is better: a restored state lowers the KL."""
    if params.metric != "kl":
        return frame
    turned = {"effect": "effect", "aie": "aie", "low": "high", "high": "low"}
    return frame.assign(**{to: -frame[of] for to, of in turned.items() if of in frame})


def restored(kind: str, params: Params) -> str:
    """Return what is restored at a cell of a map, in words."""
    if kind == "resid_post":
        return "the state after block l"
    name = "MLP outputs" if kind == "mlp_out" else "attention outputs"
    return f"{name} " + (
        f"over {params.window} blocks around l" if params.window > 1 else "of block l"
    )


def panel_title(kind: str, params: Params) -> alt.TitleParams:
    """Return the title of one panel, short enough for a narrow one."""
    names = {"resid_post": "State after block l", "mlp_out": "MLPs", "attn_out": "Attention"}
    over = "" if kind == "resid_post" else f", {params.window} blocks around l"
    return small(names[kind] + (over if params.window > 1 else ""))


def map_kinds(params: Params) -> list[str]:
    """Return the kinds that have a map, in the paper's order."""
    return [kind for kind in SCHEMES if kind in params.kinds]


def top_of(values: pd.Series, otherwise: float = 1.0) -> float:
    """Return the upper end of the colours that maps share."""
    top = float(np.nanmax([*values, 0.0]))
    return top if top > 0 else max(abs(otherwise), 1e-6)


def heat(
    frame: pd.DataFrame,
    layers: Sequence[int] | np.ndarray,
    y: alt.Y,
    rows: int,
    colour: alt.Color,
    tooltip: list[alt.Tooltip],
) -> alt.Chart:
    """Return rows by layers; what is not there yet is grey."""
    layers = [int(layer) for layer in layers]
    every = int(np.ceil(len(layers) / 8 / 5)) * 5 if len(layers) > 10 else 1
    axis = alt.Axis(values=layers[::every], labelAngle=0, ticks=False, domain=False)
    return (
        alt.Chart(frame, view=alt.ViewBackground(fill="#80808024"))
        .mark_rect()
        .encode(
            x=alt.X("layer:O", title="block l", scale=alt.Scale(domain=layers), axis=axis),
            y=y,
            color=colour,
            tooltip=tooltip,
        )
        .properties(
            width=len(layers) * int(np.clip(_MAP // len(layers), *_CELL)),
            height=rows * int(np.clip(_HEIGHT // max(rows, 1), *_ROW)),
        )
    )


def rows_axis(domain: list[str], name: str | None) -> alt.Y:
    """Return the axis of rows labelled by the first line of each name; without ``name``, bare."""
    label = "split(datum.label, '\\n')[0]"
    axis = alt.Axis(labelExpr=label, labelOverlap=False, ticks=False, domain=False)
    return alt.Y("row:N", title=name, scale=alt.Scale(domain=domain), axis=axis if name else None)


def colour_of(field: str, kind: str, top: float, name: str) -> alt.Color:
    """Return the colours of a kind, from 0 to ``top``."""
    legend = alt.Legend(orient="bottom", direction="horizontal", gradientLength=200, title=name)
    scale = alt.Scale(
        domain=[0, top / 2, top], clamp=True, nice=False, range=SCHEMES[kind], interpolate="lab"
    )
    return alt.Color(f"{field}:Q", scale=scale, legend=legend)


def tip(field: str, name: str, form: str = ".3~g") -> alt.Tooltip:
    """Return a number in a tooltip."""
    return alt.Tooltip(f"{field}:Q", title=name, format=form)


def small(text: str) -> alt.TitleParams:
    """Return the title of one panel of several."""
    return alt.TitleParams(text, fontSize=13, fontWeight="normal", offset=8)


def beside(panels: list[alt.Chart], heading: alt.TitleParams) -> alt.HConcatChart:
    """Return panels side by side under one title."""
    chart = alt.hconcat(*panels, spacing=18).resolve_scale(color="independent")
    return chart.properties(title=heading, description=alt_text(heading))


def lines(
    frame: pd.DataFrame,
    layers: np.ndarray,
    colours: dict[str, str],
    axis: alt.Y,
    *more: alt.Tooltip,
) -> alt.LayerChart:
    """Return curves of ``value`` by ``name`` over layers, with bands where there are intervals."""
    name = str(axis.title)
    legend = alt.Legend(
        title=None, orient="bottom", columns=3, symbolType="stroke", symbolSize=300, symbolOpacity=1
    )
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    banded = "low" in frame
    ends = [tip("low", "95% interval from"), tip("high", "to")] if banded else []
    base = alt.Chart(frame).encode(
        x=layer_axis(layers),
        color=alt.Color("name:N", scale=scale, legend=legend),
        tooltip=[
            alt.Tooltip("name:N", title="curve"),
            tip("layer", "layer", "d"),
            tip("value", name),
            *ends,
            *more,
        ],
    )
    line = base.mark_line(point=points(), strokeWidth=2.2).encode(y=axis)
    band = base.mark_area(opacity=0.16, line=False).encode(y=alt.Y("low:Q"), y2="high:Q")
    return alt.layer(band, line) if banded else alt.layer(line)


def values_axis(name: str, frame: pd.DataFrame) -> alt.Y:
    """Return the axis of effects, with 0 and every interval on it."""
    ends = [frame[column] for column in ("value", "low", "high") if column in frame]
    low = min(0.0, *(end.min() for end in ends), 0.0)
    high = max(0.0, *(end.max() for end in ends), low + 1e-6)
    scale = alt.Scale(domain=[low, high], nice=True)
    return alt.Y("value:Q", title=name, scale=scale, axis=alt.Axis(grid=True, tickCount=6))
