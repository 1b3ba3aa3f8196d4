"""Figures of effects averaged over facts."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from interp_core.findings import with_interval
from interp_core.papers.causal_tracing.average import Average, AverageParams
from interp_core.papers.causal_tracing.figures_parts import (
    AXIS,
    CLASSES,
    CURVES,
    SCHEMES,
    WIDTH,
    colour_of,
    curves,
    effect_name,
    gained,
    map_kinds,
    maps_beside,
    panel_title,
)
from interp_core.papers.causal_tracing.params import ALONE, AT, SEVERED, Kind
from interp_core.plot import (
    across,
    beside,
    ends,
    figure,
    fit,
    heat,
    lines,
    rows_axis,
    theme,
    tip,
    top_of,
    values_axis,
)

_PANEL, _CLASS = 190, 170
"""Width of one panel of curves, and room of the names of classes, in pixels."""


def _averaged(average: Average) -> pd.DataFrame:
    return _drawn(average.frames["average"], average.params)


def _drawn(frame: pd.DataFrame, params: AverageParams) -> pd.DataFrame:
    frame = gained(frame, params)
    return frame.assign(value=frame["aie"], row=frame["token_class"].map(CLASSES))


def _over(average: Average) -> str:
    count, what = len(average.prompts), "prompt" if average.params.answers == "own" else "fact"
    return f"n = {count:,} {what}{'s' * (count != 1)} ({average.provenance.model.id})"


def average_lines(average: Average) -> alt.HConcatChart:
    """Return the average indirect effect by layer and class of token, one panel a kind."""
    frame, params = _averaged(average), average.params
    frame = frame[frame["kind"].isin(SCHEMES)].assign(name=frame["row"])
    colours = dict(zip(CLASSES.values(), theme.CATEGORIES, strict=False))
    axis, panels = values_axis(effect_name(params, average=True), frame), []
    columns, width = across(len(map_kinds(params)), _PANEL, AXIS)
    for kind in map_kinds(params):
        shown_ = frame[frame["kind"] == kind]
        panel = lines(shown_, average.layers, colours, axis, tip("n", "facts", "d"))
        panels.append(panel.properties(width=width, height=260, title=panel_title(kind, params)))
    return figure(
        beside(panels, columns),
        "Average indirect effect by layer and class of token",
        f"Bands: 95% intervals, {_over(average)}. One scale for all panels.",
    )


def average_maps(average: Average) -> alt.HConcatChart:
    """Return classes of tokens by layers, one map a kind, with colours that compare."""
    frame, params, panels = _averaged(average), average.params, []
    top, name = (
        top_of(frame.loc[frame["kind"].isin(SCHEMES), "aie"]),
        effect_name(params, average=True),
    )
    tooltip = [
        alt.Tooltip("row:N", title="token"),
        tip("layer", "layer", "d"),
        tip("aie", name),
        *ends(),
        tip("n", "facts", "d"),
    ]
    side, width = maps_beside(len(map_kinds(params)), _CLASS)
    for kind in map_kinds(params):
        y = rows_axis(list(CLASSES.values()), None if panels and side else "class of token")
        colour = colour_of("aie", kind, top, name)
        shown_ = frame[frame["kind"] == kind]
        panel = heat(shown_, average.layers, y, len(CLASSES), colour, tooltip, width)
        panels.append(panel.properties(title=panel_title(kind, params)))
    return figure(
        beside(panels, len(panels) if side else 1, color="independent"),
        "Average indirect effect of each class of token and layer",
        f"Means over {_over(average)}. The stronger the colour, the more is brought back; below 0 it has another hue.",
        left=_CLASS,
    )


def average_severed(average: Average) -> alt.LayerChart:
    """Return the average effect at the last subject token, whole and with parts severed."""
    frame = _averaged(average)
    place = frame["kind"].map(lambda kind: AT.get(kind, "last_subject"))
    frame = frame[frame["kind"].isin(CURVES) & (frame["token_class"] == place)]
    frame = frame.assign(name=frame["kind"].map({k: name for k, (name, _) in CURVES.items()}))
    axis = values_axis(effect_name(average.params, average=True), frame)
    last = set(frame["token_class"]) == {"last"}
    where = CLASSES["last" if last else "last_subject"]
    severed = bool(set(average.params.kinds) & set(SEVERED))
    parts = {"mlp_subject": "MLPs", "attn_last": "attention"}
    alone = " and ".join(part for kind, part in parts.items() if kind in average.params.kinds)
    wide = average.params.window
    return figure(
        lines(frame, average.layers, curves(frame), axis, tip("n", "facts", "d")),
        f"Average indirect effect at the {where}, by layer",
        "A severed part stays, at that token, as corrupted." * severed,
        f"Restored over {wide} layers at a time: {alone}." * (wide > 1 and bool(alone)),
        f"Bands: 95% intervals, {_over(average)}.",
        width=fit(WIDTH, AXIS),
        height=280,
    )


def windows(
    average: Average, of: Mapping[int, Average] | None = None, *, kind: Kind = "mlp_subject"
) -> alt.LayerChart:
    """Return a branch's effect at its site by layer, a line for each window.

    Args:
        average: Over facts.
        of: Results over the same facts, by window; those that come with it unless given.
        kind: The branch at its site, of :data:`ALONE`.
    """
    found = average.windows(kind) if of is None else of
    branch = "MLPs" if kind == "mlp_subject" else "attention"
    after = average.params.noise_after
    frame = _drawn(by_window(found, kind).reset_index(drop=True), average.params)
    frame = frame.assign(name=frame["window"].map(_blocks)).drop(columns="window")
    frame = frame[frame["layer"] > after]  # before it nothing is corrupted that could be restored
    colours = {_blocks(window): theme.CATEGORIES[_hue(window)] for window in found}
    axis = values_axis(effect_name(average.params, average=True), frame)
    return figure(
        lines(frame, average.layers, colours, axis, tip("n", "facts", "d")),
        f"Average indirect effect of {branch} at the {CLASSES[ALONE[kind][1]]}, by layer and window"
        + (f" (noise after layer {after})" if after >= 0 else ""),
        f"A window restores {branch} in so many layers around each layer at once. Bands: 95% intervals, "
        f"{_over(average)}.",
        width=fit(WIDTH, AXIS),
        height=280,
    )


def by_window(of: Mapping[int, Average], kind: Kind = "mlp_subject") -> pd.DataFrame:
    """Return the effects of a branch at its site, a row a window and layer, of results by window."""
    whole, token_class = ALONE[kind]
    frame = pd.concat(each.frames["average"].assign(window=w) for w, each in of.items())
    return frame[frame["kind"].isin((whole, kind)) & (frame["token_class"] == token_class)]


def _hue(window: int) -> int:
    """Return the place of a window's colour, which is the same in every figure."""
    return next((i for i, wide in enumerate((1, 3, 5)) if window <= wide), 3)


def _blocks(window: int) -> str:
    return f"{window} layer" + "s" * (window != 1)


def has_windows(average: Average, kind: Kind = "mlp_subject") -> bool:
    """Whether a branch at its site was restored over other windows, too, of the same facts."""
    return len(average.windows(kind)) > 1


def has_maps(average: Average) -> bool:
    """Whether something was restored that has a map."""
    return bool(map_kinds(average.params))


def has_severed(average: Average) -> bool:
    """Whether something was restored, or severed, at one token alone."""
    return bool(set(AT) & set(average.params.kinds))


def sentence(average: Average) -> str:
    """Return how many facts were traced, and what corruption costs the answer on average."""
    said = average.summary
    value, low, high = (said[f"average_total_effect{end}"] for end in ("", "_low", "_high"))
    of = f"{said['facts']} facts that the model knows ({said['wrong']} others it does not)"
    if average.params.answers == "own":
        of = f"{said['facts']} prompts, each with the token that the model itself says next"
    taken = with_interval(value, low, high, "probability")
    return (
        f"{of}: corrupting the subject takes {taken} off the answer, over {said['samples']} noise "
        "samples each."
    )
