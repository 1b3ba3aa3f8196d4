"""Figures of a causal trace and of its average over facts."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.causal_tracing.figures_parts import (
    AXIS,
    BARE,
    CURVES,
    NAMES,
    SCHEMES,
    UNITS,
    WIDTH,
    colour_of,
    curves,
    effect_name,
    gained,
    map_kinds,
    maps_beside,
    panel_title,
)
from interp_core.papers.causal_tracing.params import AT
from interp_core.papers.causal_tracing.trace import Trace
from interp_core.plot import (
    MAP,
    beside,
    figure,
    fit,
    formed,
    heat,
    label,
    lines,
    rows_axis,
    shown,
    theme,
    tip,
    top_of,
    values_axis,
)

_NOISE = {"gaussian": "Gaussian noise", "uniform": "uniform noise"}


def _traced(result: Trace) -> pd.DataFrame:
    return gained(result.frames["trace"], result.params)


def _window(result: Trace) -> list[int]:
    """Return the positions there is room for: the subject's, and as many of the last."""
    positions = [int(p) for p in result.positions]
    fits = max(1, theme.MAX_MARKS // (len(result.layers) * max(1, len(map_kinds(result.params)))))
    if len(positions) <= fits:
        return positions
    inside = [p for p in positions if result.subject[0] <= p < result.subject[1]][-fits:]
    others = [p for p in positions if p not in inside]
    return sorted([*inside, *others[len(others) - (fits - len(inside)) :]])


def _map(result: Trace, kind: str, named: bool = True, width: int = MAP) -> alt.Chart:
    traced, params, where = _traced(result), result.params, _window(result)
    tokens, subject = formed(result.tokens), range(*result.subject)
    texts = {p: tokens[p] + "*" * (p in subject) for p in where}
    names = {p: f"{label(text, fit(NAMES, BARE))}\n{p}" for p, text in texts.items()}
    top = top_of(traced.loc[traced["kind"].isin(SCHEMES), "effect"], result.total_effect)
    frame = traced[(traced["kind"] == kind) & traced["position"].isin(where)]
    frame = frame.assign(row=frame["position"].map(names), token=frame["token"].map(shown))
    tooltip = [
        alt.Tooltip("token:N"),
        tip("position", "position", "d"),
        tip("layer", "layer", "d"),
        tip("effect", effect_name(params)),
        tip("probability", "probability of the answer"),
        tip("spread", "standard deviation over noise samples"),
    ]
    y = rows_axis(list(names.values()), "token, * of the subject" if named else None)
    colour = colour_of("effect", kind, top, effect_name(params))
    return heat(frame, result.layers, y, len(where), colour, tooltip, width)


def _settings(result: Trace, *lines: str) -> list[str]:
    """Return the subtitle of a trace: what was lost, and how."""
    params, answer = result.params, f"“{shown(result.answer)}”"
    size = f"{params.noise:g}" + " standard deviations" * (params.noise_unit == "std")
    how = {
        "swap": f"the subject replaced by “{shown(params.swap)}”",
        "prompt": "the embeddings of another prompt",
    }
    draws = len(result.corrupt_score)
    noise = (
        f"{_NOISE.get(params.corruption)} of {size} on the subject, mean of {draws} noise sample"
    )
    noise += "s" * (draws > 1)
    first = (
        f"Probability of {answer}: {result.clean_probability:.1%} in the clean run, "
        f"{result.corrupt_probability.mean():.1%} corrupted."
    )
    metric, corrupt = UNITS[params.metric], float(result.corrupt_score.mean())
    measured = f" {metric[0].upper()}{metric[1:]}: {result.clean_score:.2f} and {corrupt:.2f}."
    first += measured * (params.metric not in ("probability", "joint_probability"))
    return [first, f"Corruption: {how.get(params.corruption, noise)}.", *lines]


def _clipped(result: Trace) -> str:
    shown_, total = len(_window(result)), len(result.positions)
    some = f" Showing {shown_} of {total} positions, the subject's and the last ones."
    return (
        "The stronger the colour, the more is brought back; effects below 0 have a hue of their own."
        + some * (shown_ < total)
    )


def _back(result: Trace) -> str:
    return "the clean output" if result.params.metric == "kl" else f"“{shown(result.answer)}”"


def trace_maps(result: Trace) -> alt.HConcatChart:
    """Return the maps of a result side by side."""
    panels: list[alt.Chart] = []
    kinds = map_kinds(result.params)
    side, width = maps_beside(len(kinds), NAMES)
    for kind in kinds:
        panel = _map(result, kind, named=not (panels and side), width=width)
        panels.append(panel.properties(title=panel_title(kind, result.params)))
    return figure(
        beside(panels, len(panels) if side else 1, color="independent"),
        f"Where restoring brings back {_back(result)}",
        *_settings(result, _clipped(result)),
    )


def _severed(result: Trace) -> pd.DataFrame:
    frame = _traced(result)
    subject, last = result.subject[1] - 1, len(result.tokens) - 1
    place = frame["kind"].map(lambda kind: last if AT.get(kind) == "last" else subject)
    at = (frame["position"] == place) & frame["kind"].isin(CURVES)
    named = frame["kind"].map({kind: name for kind, (name, _) in CURVES.items()})
    return frame.assign(name=named, value=frame["effect"])[at]


def severed(result: Trace) -> alt.LayerChart:
    """Return the effect of the state of the last subject token, whole and with parts severed."""
    frame, last = _severed(result), result.subject[1] - 1
    more = (tip("probability", "probability of the answer"), tip("spread", "SD over noise samples"))
    axis = values_axis(effect_name(result.params), frame)
    return figure(
        lines(frame, result.layers, curves(frame), axis, *more),
        f"Bringing back {_back(result)} at the last subject token, by layer",
        f"At “{shown(result.tokens[last])}” the residual stream is restored after each layer, or the MLPs around "
        "it; a severed part stays, at that token, as corrupted. Where severing lowers the curve, the effect "
        "passes through that part.",
        width=fit(WIDTH, AXIS),
        height=280,
    )


def heads(result: Trace) -> alt.Chart:
    """Return layers by heads: what restoring one head's output at every position brings back."""
    frame = gained(result.frames["heads"], result.params).dropna(subset="effect")
    count = int(result.frames["heads"]["head"].max()) + 1
    layers = result.layers[-max(1, theme.MAX_MARKS // count) :]
    frame = frame[frame["layer"].isin(layers)].assign(row=frame["head"].astype(str))
    some = f" Showing the last {len(layers)} of {len(result.layers)} layers."
    scale = theme.signed(top_of(frame["effect"].abs()))
    legend = alt.Legend(title=effect_name(result.params), orient="bottom", gradientLength=260)
    colour = alt.Color("effect:Q", scale=scale, legend=legend)
    tooltip = [
        tip("layer", "layer", "d"),
        tip("head", "head", "d"),
        tip("effect", effect_name(result.params), "+.3~g"),
        tip("probability", "probability of the answer"),
    ]
    y = rows_axis([str(head) for head in range(count)], "head")
    chart = heat(frame, layers, y, count, colour, tooltip)
    return figure(
        chart,
        f"Single heads that bring back {_back(result)}",
        *_settings(result, "Each head's output is restored at every position, in one layer."),
        some * (len(layers) < len(result.layers)),
        width=fit(max(chart.width, 20 * len(layers)), AXIS),
    )


def has_maps(result: Trace) -> bool:
    """Whether something was restored that has a map."""
    return bool(map_kinds(result.params))


def has_severed(result: Trace) -> bool:
    """Whether a branch was severed."""
    return bool((_severed(result)["kind"] != "resid_post").any())


def has_heads(result: Trace) -> bool:
    """Whether single heads were restored."""
    return bool(np.isfinite(result.head_score).any())


def sentence(result: Trace) -> str:
    """Return what the model answers, whole and corrupted, and whether that is what is traced."""
    said, answer = result.summary, f"“{shown(result.answer)}”"
    text = (
        f"The model continues with {answer} at {said['clean_probability']:.1%}; with "
        f"“{shown(said['subject'])}” corrupted, at {said['corrupt_probability']:.1%}."
    )
    if result.answer_rank:
        text += (
            f" {answer} has rank {result.answer_rank + 1}: the model's own top prediction is "
            f"“{shown(result.own_answer)}” ({result.own_probability:.0%})."
        )
    if "best_layer" in said:
        text += (
            f" Restoring {said['best_kind']} at layer {said['best_layer']}, "
            f"“{shown(said['best_token'])}”, brings back most: an indirect effect of "
            f"{said['best_effect']:.2f} (total effect {said['total_effect']:.2f})."
        )
    return text
