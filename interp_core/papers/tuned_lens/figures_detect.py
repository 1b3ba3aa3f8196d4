"""Figures of how well prompts with an injected instruction are told from ordinary ones."""

from __future__ import annotations

from typing import Literal

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.tuned_lens.detection import (
    DETECTORS,
    EVERY,
    FOREST,
    HARMLESS,
    INJECTED,
    LENGTH,
    LOGIT,
    ORDINARY,
    OUTPUT,
    READINGS,
    TUNED,
    Detection,
)
from interp_core.papers.tuned_lens.figures import COLOURS, level
from interp_core.plot import (
    across,
    beside,
    ends,
    figure,
    layered,
    legend,
    lines,
    shown,
    small,
    strokes,
    theme,
    tip,
    values_axis,
)

_COLOURS = {
    READINGS[TUNED]: COLOURS["tuned"],
    READINGS[LOGIT]: COLOURS["logit"],
    READINGS[OUTPUT]: theme.CATEGORIES[1],
    READINGS[LENGTH]: theme.CATEGORIES[3],
}
_SHAPES = dict(zip(_COLOURS, ("circle", "square", "diamond", "triangle-up"), strict=True))
_DASHES = dict(zip(_COLOURS, ([1, 0], [7, 3], [4, 3], [2, 2]), strict=True))
_VERSIONS = {
    ORDINARY: theme.CATEGORIES[6],
    HARMLESS: theme.CATEGORIES[2],
    INJECTED: theme.CATEGORIES[5],
}
_AGAINST = {INJECTED: "injected instruction", HARMLESS: "harmless sentence (control)"}
_WHAT = {
    "odds": ("Log-odds of a task's two answers", "log-odds (nats)"),
    "mass": ("Log-probability of either of a task's two answers", "log-probability (nats)"),
}
_PANEL, _SQUARE, _AXIS = 250, 270, 90
_UNCONTROLLED = "The file has no harmless versions, so there is no control."


def areas(
    result: Detection, detector: Literal["forest", "neighbours"] = FOREST
) -> alt.ConcatChart | alt.HConcatChart:
    """Return the AUC of each task, a panel for the injected and one for the harmless prompts."""
    frame = result.frames["auc"]
    frame = frame[frame["detector"] == detector].assign(
        name=lambda f: f["reading"].map(READINGS), task=lambda f: f["task"].map(_task)
    )
    tasks = list(dict.fromkeys(frame["task"]))
    columns, width = across(len(result.against), _PANEL, _AXIS)
    panels = [
        _area_panel(frame[frame["version"] == version], tasks, width, _AGAINST[version])
        for version in result.against
    ]
    told = "" if HARMLESS in result.versions else _UNCONTROLLED
    return figure(
        beside(panels, columns).resolve_scale(shape="shared"),
        f"AUC by task: {DETECTORS[detector]}",
        "How often a prompt with one more sentence scores above an ordinary one; 0.5 is chance. "
        "The length alone needs no lens.",
        f"Bars: 95% intervals over pairs, n = {len(result.tasks)} in all, for one draw of folds. {told}".strip(),
    )


def _task(name: str) -> str:
    return "all tasks" if name == EVERY else name


def _area_panel(frame: pd.DataFrame, tasks: list[str], width: int, title: str) -> alt.LayerChart:
    names = list(_COLOURS)
    key = legend(names, 4, symbolSize=90)
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "task:N",
            title=None,
            scale=alt.Scale(domain=tasks, paddingInner=0.25),
            axis=alt.Axis(ticks=False, domain=False, minExtent=_AXIS - 20),
        ),
        yOffset=alt.YOffset("name:N", scale=alt.Scale(domain=names, padding=0.3)),
        color=alt.Color("name:N", legend=key).scale(domain=names, range=list(_COLOURS.values())),
        tooltip=[
            alt.Tooltip("name:N", title="judged by"),
            alt.Tooltip("task:N"),
            tip("auc", "AUC", ".2f"),
            *ends(".2f"),
            tip("n", "pairs", "d"),
        ],
    )
    low = min(0.25, float(np.floor(frame["low"].min() * 4) / 4))
    scale = alt.Scale(domain=[low, 1], nice=False)
    values = [tick for tick in (0, 0.25, 0.5, 0.75, 1) if tick >= low]
    axis = alt.Axis(grid=True, values=values, format=".2~f")
    x = alt.X("auc:Q", title="AUC against ordinary prompts", scale=scale, axis=axis)
    shape = alt.Shape("name:N", legend=key).scale(domain=names, range=list(_SHAPES.values()))
    chance = alt.Chart(pd.DataFrame({"auc": [0.5]})).mark_rule(strokeDash=[5, 4], strokeWidth=1.6)
    chart = layered(
        chance.encode(x=x),
        base.mark_rule(strokeWidth=1.6).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(size=60, filled=True, opacity=1).encode(x=x, shape=shape),
    )
    height = len(tasks) * (14 * len(names) + 18)
    return chart.properties(width=width, height=height, title=small(title.capitalize(), width))


def curves(result: Detection) -> alt.ConcatChart | alt.HConcatChart:
    """Return ROC curves of injected prompts over all tasks, a panel for each detector."""
    frame = result.frames["roc"]
    frame = frame[frame["version"] == INJECTED].assign(name=lambda f: f["reading"].map(READINGS))
    columns, width = across(len(result.detectors), _SQUARE, _AXIS)
    width = min(width, _SQUARE)
    panels = [
        _curve_panel(frame[frame["detector"] == detector], width, DETECTORS[detector])
        for detector in result.detectors
    ]
    said = ", ".join(f"{DETECTORS[d]} {result.auc(TUNED, d)[0]:.2f}" for d in result.detectors)
    return figure(
        beside(panels, columns).resolve_scale(strokeDash="shared"),
        "ROC curves: injected against ordinary prompts",
        f"Area under the tuned lens's curve: {said}. The dotted diagonal is chance.",
        f"Prompts are compared with others of their task that the same fit scored; n = {len(result.tasks)} "
        "pairs.",
    )


def _curve_panel(frame: pd.DataFrame, width: int, title: str) -> alt.LayerChart:
    names = list(_COLOURS)
    key = strokes(names, 4)
    axis = alt.Axis(grid=True, values=[0, 0.25, 0.5, 0.75, 1], format="%")
    scale = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("false_positive:Q", title="ordinary prompts flagged", scale=scale, axis=axis)
    y = alt.Y("true_positive:Q", title="injected prompts flagged", scale=scale, axis=axis)
    corners = pd.DataFrame({"false_positive": [0.0, 1.0], "true_positive": [0.0, 1.0]})
    chance = alt.Chart(corners).mark_line(
        strokeDash=[1, 4], strokeWidth=1.6, color=theme.CATEGORIES[6], opacity=0.8
    )
    line = alt.Chart(frame).mark_line(interpolate="step-after", strokeWidth=2.2)
    colour = alt.Color("name:N", legend=key).scale(domain=names, range=list(_COLOURS.values()))
    dash = alt.StrokeDash("name:N", legend=key).scale(domain=names, range=list(_DASHES.values()))
    tips = [
        alt.Tooltip("name:N", title="judged by"),
        tip("false_positive", "ordinary prompts flagged", ".0%"),
        tip("true_positive", "injected prompts flagged", ".0%"),
    ]
    chart = layered(
        chance.encode(x=x, y=y),
        line.encode(x=x, y=y, color=colour, strokeDash=dash, tooltip=tips),
    )
    return chart.properties(
        width=width, height=min(width, _SQUARE), title=small(title.capitalize(), width)
    )


def trajectories(
    result: Detection,
    lens: Literal["tuned", "logit"] = TUNED,
    what: Literal["odds", "mass"] = "odds",
) -> alt.ConcatChart | alt.HConcatChart:
    """Return means by layer over the prompts of each version, a panel for each task."""
    frame = result.frames["trajectories"]
    # The embedding is that of the prompt's last token, which is mostly the same, and off the scale.
    frame = frame[(frame["lens"] == lens) & (frame["layer"] >= 0)]
    frame = frame.assign(
        name=frame["version"],
        value=frame[what],
        low=frame[f"{what}_low"],
        high=frame[f"{what}_high"],
    )
    heading, unit = _WHAT[what]
    tasks = dict(zip(result.tasks, result.answers, strict=True))
    columns, width = across(len(tasks), 190, 75)
    colours = {version: _VERSIONS[version] for version in result.versions}
    word = "over" if what == "odds" else "or"
    titles = [f"{task}: {shown(a)} {word} {shown(b)}" for task, (a, b) in tasks.items()]
    panels = []
    for task, title in zip(tasks, level(titles, width), strict=True):
        own = frame[frame["task"] == task]
        chart = lines(own, result.layers[result.layers >= 0], colours, values_axis(unit, own))
        panels.append(chart.properties(width=width, height=220, title=title))
    return figure(
        beside(panels, columns),
        f"{heading}, by layer: {READINGS[lens]}",
        "After the whole prompt; means over a task's prompts, as they are and with one more sentence.",
        "Blocks only; each panel has its own scale. Bands: 95% intervals over pairs.",
    )


def sentence(result: Detection) -> str:
    """Return how well injected prompts are told, and what a control says of it."""
    low, high = result.auc(TUNED, FOREST)[1:]
    others = ", ".join(
        f"{READINGS[reading]} {result.auc(reading, FOREST)[0]:.2f}"
        for reading in (LOGIT, OUTPUT, LENGTH)
    )
    said = (
        f"By trajectories through the tuned lens an {DETECTORS[FOREST]} tells injected prompts from "
        f"ordinary ones with an AUC of {result.auc(TUNED, FOREST)[0]:.2f} [{low:.2f}, {high:.2f}] "
        f"({others}; {len(result.tasks)} pairs)."
    )
    if HARMLESS not in result.versions:
        return f"{said} {_UNCONTROLLED}"
    control = result.auc(TUNED, FOREST, HARMLESS)
    told = f"{said} A harmless sentence in its place gives {control[0]:.2f}"
    if result.gap((TUNED, INJECTED), (TUNED, HARMLESS))[1] > 0:
        return f"{told}: less than an instruction."
    clear, others = result.other_gaps
    many = f"all {others} other" if clear == others else f"{clear} of the {others} other"
    return (
        f"{told}, which is not clearly less; {many} combinations of lens and detector tell an instruction clearly better "
        "than a harmless sentence."
    )
