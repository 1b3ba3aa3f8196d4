"""Figures of a causal trace and of its average over facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from interp_core.charts import theme
from interp_core.charts.parts import alt_text, layer_axis, points, shown, title

if TYPE_CHECKING:
    from interp_core.papers.causal_tracing.average_result import Average
    from interp_core.papers.causal_tracing.params import Params
    from interp_core.papers.causal_tracing.result import Trace

_SCHEMES = {"resid_post": "purples", "mlp_out": "greens", "attn_out": "reds"}
"""The paper's colours by what is restored; in each, darker is more."""
_SEVERED = {
    "resid_post": ("state restored", theme.COMPONENTS["embedding"]),
    "sever_mlp": ("MLPs severed", theme.COMPONENTS["MLP"]),
    "sever_attn": ("attention severed", theme.COMPONENTS["attention"]),
}
_CLASSES = {
    "first_subject": "first subject token",
    "middle_subject": "middle subject tokens",
    "last_subject": "last subject token",
    "first_subsequent": "first token after it",
    "further": "further tokens",
    "last": "last token",
}
_UNITS = {
    "probability": "probability",
    "joint_probability": "joint probability",
    "log_probability": "log probability (nats)",
    "logit_difference": "logit difference (logits)",
    "kl": "KL to the clean run (nats)",
}
_NOISE = {"gaussian": "Gaussian noise", "uniform": "uniform noise"}
_MAP, _CELL, _ROW, _HEIGHT = 280, (6, 24), (11, 20), 440
"""Width and height that a map fills, in pixels, with cells and rows within their bounds."""
_WIDTH, _PANEL = 640, 285


def _effect(params: Params, average: bool = False) -> str:
    """Return what an axis calls an effect, with its unit."""
    short = "AIE" if average else "indirect effect"
    return f"{short}: {'drop in ' * (params.metric == 'kl')}{_UNITS[params.metric]}"


def _gained(frame: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return a frame in which more is better: a restored state lowers the KL."""
    if params.metric != "kl":
        return frame
    turned = {"effect": "effect", "aie": "aie", "low": "high", "high": "low"}
    return frame.assign(**{to: -frame[of] for to, of in turned.items() if of in frame})


def _restored(kind: str, params: Params) -> str:
    """Return what is restored at a cell of a map, in words."""
    if kind == "resid_post":
        return "the state after block l"
    name = "MLP outputs" if kind == "mlp_out" else "attention outputs"
    return f"{name} " + (
        f"over {params.window} blocks around l" if params.window > 1 else "of block l"
    )


def _traced(result: Trace) -> pd.DataFrame:
    return _gained(result.frames["trace"], result.params)


def _kinds(params: Params) -> list[str]:
    """Return the kinds that have a map, in the paper's order."""
    return [kind for kind in _SCHEMES if kind in params.kinds]


def _top(values: pd.Series, otherwise: float = 1.0) -> float:
    """Return the upper end of the colours that maps share."""
    top = float(np.nanmax([*values, 0.0]))
    return top if top > 0 else max(abs(otherwise), 1e-6)


def _window(result: Trace) -> list[int]:
    """Return the positions there is room for: the subject's, and as many of the last."""
    positions = [int(p) for p in result.positions]
    fits = max(1, theme.MAX_MARKS // (len(result.layers) * max(1, len(_kinds(result.params)))))
    if len(positions) <= fits:
        return positions
    inside = [p for p in positions if result.subject[0] <= p < result.subject[1]][-fits:]
    others = [p for p in positions if p not in inside]
    return sorted([*inside, *others[len(others) - (fits - len(inside)) :]])


def _heat(
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
        .mark_rect(stroke="#0072B2")
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


def _rows(domain: list[str], name: str | None) -> alt.Y:
    """Return the axis of rows labelled by the first line of each name; without ``name``, bare."""
    label = "split(datum.label, '\\n')[0]"
    axis = alt.Axis(labelExpr=label, labelLimit=170, labelOverlap=False, ticks=False, domain=False)
    return alt.Y("row:N", title=name, scale=alt.Scale(domain=domain), axis=axis if name else None)


def _colour(field: str, kind: str, top: float, name: str) -> alt.Color:
    legend = alt.Legend(
        orient="bottom", direction="horizontal", gradientLength=200, title=name, titleLimit=280
    )
    ramp = alt.SchemeParams(_SCHEMES[kind], extent=[0.04, 1])
    scale = alt.Scale(domain=[0, top], clamp=True, nice=False, scheme=ramp)
    return alt.Color(f"{field}:Q", scale=scale, legend=legend)


def _tip(field: str, name: str, form: str = ".3~g") -> alt.Tooltip:
    return alt.Tooltip(f"{field}:Q", title=name, format=form)


def _map(result: Trace, kind: str, cell: alt.Parameter, named: bool = True) -> alt.Chart:
    traced, params, where = _traced(result), result.params, _window(result)
    names = {p: f"{shown(result.marked(p))}\n{p}" for p in where}
    top = _top(traced.loc[traced["kind"].isin(_SCHEMES), "effect"], result.total_effect)
    frame = traced[(traced["kind"] == kind) & traced["position"].isin(where)]
    frame = frame.assign(row=frame["position"].map(names), token=frame["token"].map(shown))
    tooltip = [
        alt.Tooltip("token:N"),
        _tip("position", "position", "d"),
        _tip("layer", "block l", "d"),
        _tip("effect", _effect(params)),
        _tip("probability", "probability of the answer"),
        _tip("spread", "standard deviation over draws"),
    ]
    y = _rows(list(names.values()), "token, * of the subject" if named else None)
    colour = _colour("effect", kind, top, _effect(params))
    picked = alt.when(cell, empty=False).then(alt.value(3)).otherwise(alt.value(0))
    chart = _heat(frame, result.layers, y, len(where), colour, tooltip)
    return chart.encode(strokeWidth=picked).add_params(cell)


def _cell() -> alt.Parameter:
    return alt.selection_point(name="cell", fields=["layer", "position"])


def _settings(result: Trace, *lines: str) -> list[str]:
    """Return the subtitle of a trace: what was lost, and how."""
    params, answer = result.params, f"“{shown(result.answer)}”"
    size = f"{params.noise:g}" + " standard deviations" * (params.noise_unit == "std")
    how = {
        "swap": f"the subject replaced by “{shown(params.swap)}”",
        "prompt": "the embeddings of another prompt",
    }
    draws = len(result.corrupt_score)
    noise = f"{_NOISE.get(params.corruption)} of {size} on the subject, mean of {draws} draw"
    noise += "s" * (draws > 1)
    first = (
        f"Probability of {answer}: {result.clean_probability:.1%} in the clean run, "
        f"{result.corrupt_probability.mean():.1%} corrupted."
    )
    metric, corrupt = _UNITS[params.metric], float(result.corrupt_score.mean())
    measured = f" {metric[0].upper()}{metric[1:]}: {result.clean_score:.2f} and {corrupt:.2f}."
    first += measured * (params.metric not in ("probability", "joint_probability"))
    return [first, f"Corruption: {how.get(params.corruption, noise)}.", *lines]


def _clipped(result: Trace) -> str:
    shown_, total = len(_window(result)), len(result.positions)
    some = f" Showing {shown_} of {total} positions, the subject's and the last ones."
    return "Darker: more is brought back; effects below 0 are drawn as 0." + some * (shown_ < total)


def _back(result: Trace) -> str:
    return "the clean output" if result.params.metric == "kl" else f"“{shown(result.answer)}”"


def trace_map(result: Trace, kind: str) -> alt.Chart:
    """Return tokens by layers: what restoring ``kind`` there brings back.

    A click selects a cell: the parameter ``cell`` holds its ``layer`` and ``position``. The
    colours have the range of all the maps of the result, so that they compare.
    """
    heading = title(
        f"Restoring {_restored(kind, result.params)}", *_settings(result, _clipped(result))
    )
    chart = _map(result, kind, _cell())
    return chart.properties(title=heading, description=alt_text(heading))


def trace_maps(result: Trace) -> alt.HConcatChart:
    """Return the maps of a result side by side; a click in any selects ``cell``."""
    cell, panels = _cell(), []
    for kind in _kinds(result.params):
        panel = _map(result, kind, cell, named=not panels)
        panels.append(panel.properties(title=_small(f"Restoring {_restored(kind, result.params)}")))
    return _beside(
        panels,
        title(f"Where restoring brings back {_back(result)}", *_settings(result, _clipped(result))),
    )


def _small(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, fontSize=13, fontWeight="normal", offset=8)


def _beside(panels: list[alt.Chart], heading: alt.TitleParams) -> alt.HConcatChart:
    chart = alt.hconcat(*panels, spacing=18).resolve_scale(color="independent")
    return chart.properties(title=heading, description=alt_text(heading))


def _lines(
    frame: pd.DataFrame,
    layers: np.ndarray,
    colours: dict[str, str],
    axis: alt.Y,
    *more: alt.Tooltip,
) -> alt.LayerChart:
    """Return curves of ``value`` by ``name`` over layers, with bands where there are intervals."""
    name = str(axis.title)
    legend = alt.Legend(title=None, orient="bottom", columns=3, symbolType="stroke", symbolSize=300)
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    banded = "low" in frame
    ends = [_tip("low", "95% interval from"), _tip("high", "to")] if banded else []
    base = alt.Chart(frame).encode(
        x=layer_axis(layers),
        color=alt.Color("name:N", scale=scale, legend=legend),
        tooltip=[
            alt.Tooltip("name:N", title="curve"),
            _tip("layer", "layer", "d"),
            _tip("value", name),
            *ends,
            *more,
        ],
    )
    line = base.mark_line(point=points(), strokeWidth=2.2).encode(y=axis)
    band = base.mark_area(opacity=0.16, line=False).encode(y=alt.Y("low:Q"), y2="high:Q")
    return alt.layer(band, line) if banded else alt.layer(line)


def _values(name: str, frame: pd.DataFrame) -> alt.Y:
    """Return the axis of effects, with 0 and every interval on it."""
    ends = [frame[column] for column in ("value", "low", "high") if column in frame]
    low = min(0.0, *(end.min() for end in ends), 0.0)
    high = max(0.0, *(end.max() for end in ends), low + 1e-6)
    scale = alt.Scale(domain=[low, high], nice=True)
    return alt.Y("value:Q", title=name, scale=scale, axis=alt.Axis(grid=True, tickCount=6))


def _severed(result: Trace) -> pd.DataFrame:
    frame = _traced(result)
    at = (frame["position"] == result.subject[1] - 1) & frame["kind"].isin(_SEVERED)
    named = frame["kind"].map({kind: name for kind, (name, _) in _SEVERED.items()})
    return frame.assign(name=named, value=frame["effect"])[at]


def severed(result: Trace) -> alt.LayerChart:
    """Return the effect of the state of the last subject token, whole and with parts severed."""
    frame, last = _severed(result), result.subject[1] - 1
    heading = title(
        f"Bringing back {_back(result)} with MLPs or attention severed, by layer",
        f"The state of the last subject token, “{shown(result.tokens[last])}”, is restored after "
        "block l; the severed",
        "part stays, at that token, as corrupted. Where severing lowers the curve, the effect "
        "passes through that part.",
    )
    more = (_tip("probability", "probability of the answer"), _tip("spread", "SD over draws"))
    axis = _values(_effect(result.params), frame)
    chart = _lines(frame, result.layers, dict(_SEVERED.values()), axis, *more)
    return chart.properties(width=_WIDTH, height=280, title=heading, description=alt_text(heading))


def heads(result: Trace) -> alt.Chart:
    """Return layers by heads: what restoring one head's output at every position brings back."""
    frame = _gained(result.frames["heads"], result.params).dropna(subset="effect")
    count = int(result.frames["heads"]["head"].max()) + 1
    layers = result.layers[-max(1, theme.MAX_MARKS // count) :]
    frame = frame[frame["layer"].isin(layers)].assign(row=frame["head"].astype(str))
    some = f" Showing the last {len(layers)} of {len(result.layers)} blocks."
    heading = title(
        f"Single heads that bring back {_back(result)}",
        *_settings(result, "Each head's output is restored at every position, in one block."),
        some * (len(layers) < len(result.layers)),
    )
    scale = theme.signed(_top(frame["effect"].abs()))
    legend = alt.Legend(
        title=_effect(result.params), orient="bottom", gradientLength=260, titleLimit=400
    )
    colour = alt.Color("effect:Q", scale=scale, legend=legend)
    tooltip = [
        _tip("layer", "block l", "d"),
        _tip("head", "head", "d"),
        _tip("effect", _effect(result.params), "+.3~g"),
        _tip("probability", "probability of the answer"),
    ]
    y = _rows([str(head) for head in range(count)], "head")
    chart = _heat(frame, layers, y, count, colour, tooltip)
    return chart.properties(
        width=max(chart.width, 20 * len(layers)), title=heading, description=alt_text(heading)
    )


def _averaged(average: Average) -> pd.DataFrame:
    frame = _gained(average.frames["average"], average.params)
    return frame.assign(value=frame["aie"], row=frame["token_class"].map(_CLASSES))


def _over(average: Average) -> str:
    count = len(average.prompts)
    return f"n = {count:,} fact" + "s" * (count != 1)


def average_lines(average: Average) -> alt.HConcatChart:
    """Return the average indirect effect by layer and class of token, one panel a kind."""
    frame, params = _averaged(average), average.params
    frame = frame[frame["kind"].isin(_SCHEMES)].assign(name=frame["row"])
    colours = dict(zip(_CLASSES.values(), theme.CATEGORIES, strict=False))
    axis, panels = _values(_effect(params, average=True), frame), []
    for kind in _kinds(params):
        shown_ = frame[frame["kind"] == kind]
        panel = _lines(shown_, average.layers, colours, axis, _tip("n", "facts", "d"))
        panels.append(
            panel.properties(
                width=_PANEL, height=260, title=_small(f"Restoring {_restored(kind, params)}")
            )
        )
    heading = title(
        "Average indirect effect by layer and class of token",
        f"Bands: 95% intervals over facts, {_over(average)}. One scale for all panels.",
    )
    return _beside(panels, heading).resolve_scale(color="shared")


def average_maps(average: Average) -> alt.HConcatChart:
    """Return classes of tokens by layers, one map a kind, with colours that compare."""
    frame, params, panels = _averaged(average), average.params, []
    top, name = _top(frame.loc[frame["kind"].isin(_SCHEMES), "aie"]), _effect(params, average=True)
    tooltip = [
        alt.Tooltip("row:N", title="token"),
        _tip("layer", "block l", "d"),
        _tip("aie", name),
        _tip("low", "95% interval from"),
        _tip("high", "to"),
        _tip("n", "facts", "d"),
    ]
    for kind in _kinds(params):
        y = _rows(list(_CLASSES.values()), None if panels else "class of token")
        colour = _colour("aie", kind, top, name)
        shown_ = frame[frame["kind"] == kind]
        panel = _heat(shown_, average.layers, y, len(_CLASSES), colour, tooltip)
        panels.append(panel.properties(title=_small(f"Restoring {_restored(kind, params)}")))
    heading = title(
        "Average indirect effect of each class of token and layer",
        f"Means over {_over(average)}. Darker: more is brought back; below 0 is drawn as 0.",
    )
    return _beside(panels, heading)


def average_severed(average: Average) -> alt.LayerChart:
    """Return the average effect at the last subject token, whole and with parts severed."""
    frame = _averaged(average)
    frame = frame[frame["kind"].isin(_SEVERED) & (frame["token_class"] == "last_subject")]
    frame = frame.assign(name=frame["kind"].map({k: name for k, (name, _) in _SEVERED.items()}))
    heading = title(
        "Average indirect effect at the last subject token, parts severed, by layer",
        "The severed part stays, at that token, as corrupted. Bands: 95% intervals over facts, "
        f"{_over(average)}.",
    )
    axis = _values(_effect(average.params, average=True), frame)
    chart = _lines(frame, average.layers, dict(_SEVERED.values()), axis, _tip("n", "facts", "d"))
    return chart.properties(width=_WIDTH, height=280, title=heading, description=alt_text(heading))


def _average_makers(average: Average) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    figures: dict[str, Callable[[], alt.TopLevelMixin]] = {}
    if _kinds(average.params):
        figures = {"lines": partial(average_lines, average), "maps": partial(average_maps, average)}
    if {"sever_mlp", "sever_attn"} & set(average.params.kinds):
        figures["severed"] = partial(average_severed, average)
    return {f"average_{name}": draw for name, draw in figures.items()}


def makers(result: Trace) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    """Return what draws each figure of a result."""
    figures: dict[str, Callable[[], alt.TopLevelMixin]] = {}
    if _kinds(result.params):
        figures["maps"] = partial(trace_maps, result)
    if (_severed(result)["kind"] != "resid_post").any():
        figures["severed"] = partial(severed, result)
    if np.isfinite(result.head_score).any():
        figures["heads"] = partial(heads, result)
    return figures if result.average is None else figures | _average_makers(result.average)


def charts(result: Trace) -> dict[str, alt.TopLevelMixin]:
    """Return every figure of a result, by name."""
    return {name: draw() for name, draw in makers(result).items()}


def average_charts(average: Average) -> dict[str, alt.TopLevelMixin]:
    """Return every figure of an average, by name."""
    return {name: draw() for name, draw in _average_makers(average).items()}
