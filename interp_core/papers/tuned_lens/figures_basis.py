"""Figures of causal bases: what a lens reads most from, and what the model does with it."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.tuned_lens.basis import RANDOM, Basis, correlation
from interp_core.papers.tuned_lens.evaluation import LOGIT, TUNED
from interp_core.papers.tuned_lens.figures import AXIS, COLOURS, WIDTH
from interp_core.papers.tuned_lens.figures_text import named_text
from interp_core.plot import across, beside, figure, fit, layered, legend, small, tip, values_axis
from interp_core.plot.bands import lines

_RANDOM, _SHARED = "#D55E00", "#CC79A7"
_PANEL = 260
_LEAST = 1e-7
"""Nats under which an influence is drawn at the edge: rounding makes it."""


def influence(result: Basis, layer: int | None = None) -> alt.ConcatChart | alt.HConcatChart:
    """Return what each vector does to a lens and to the model, a panel for each lens, log scales."""
    row = result.middle if layer is None else int(np.abs(result.layers - layer).argmin())
    table = result.frames["basis"]
    table = table[table["layer"] == result.layers[row]]
    table = table.assign(
        x=table["on_lens"].clip(lower=_LEAST), y=table["on_model"].clip(lower=_LEAST)
    )
    ends = [
        10 ** np.floor(np.log10(table[["x", "y"]].min().min())),
        10 ** np.ceil(np.log10(table[["x", "y"]].max().max())),
    ]
    columns, width = across(2, _PANEL, AXIS)
    width = min(width, 320)
    panels = []
    for lens in (TUNED, LOGIT):
        own = table[(table["lens"] == lens) & table["basis"].isin([lens, RANDOM])]
        panels.append(_panel(own, ends, width, lens))
    rho = [_with_ends(result, lens, row) for lens in (TUNED, LOGIT)]
    return figure(
        beside(panels, columns),
        f"Influence of each direction at layer {result.layers[row]}: on the lens, and on the model",
        f"Rank correlation over a lens's own vectors: {rho[0]} through the tuned lens, {rho[1]} through the "
        "logit lens. On the diagonal a direction matters as much to both.",
        f"Measured on {len(result.positions)} documents of {named_text(result.params.text)} that no vector "
        "was extracted from.",
    )


def _with_ends(result: Basis, lens: str, row: int) -> str:
    """Return the fidelity of a lens at one layer, with its interval."""
    value, low, high = correlation(result.fidelity(lens))[row]
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _panel(frame: pd.DataFrame, ends: list[float], width: int, lens: str) -> alt.LayerChart:
    drawn = {
        TUNED: ("the tuned lens's basis", COLOURS["tuned"], "circle"),
        LOGIT: ("the logit lens's basis", COLOURS["logit"], "square"),
        RANDOM: ("random directions", _RANDOM, "triangle-up"),
    }
    names, colours, shapes = (list(each) for each in zip(*drawn.values(), strict=True))
    frame = frame.assign(
        name=frame["basis"].map({basis: name for basis, (name, *_) in drawn.items()})
    )
    key = legend(names, 3, "top", symbolSize=90)
    scale = alt.Scale(type="log", domain=ends, nice=False)
    axis = alt.Axis(grid=True, format="~g", tickCount=5, labelOverlap=True, labelFlush=False)
    x = alt.X("x:Q", title="influence on the lens (nats)", scale=scale, axis=axis)
    y = alt.Y("y:Q", title="influence on the model (nats)", scale=scale, axis=axis)
    diagonal = alt.Chart(pd.DataFrame({"x": ends, "y": ends})).mark_line(
        strokeDash=[5, 4], strokeWidth=1.2, color="#999999"
    )
    dots = alt.Chart(frame).mark_point(size=60, filled=True, opacity=0.9)
    chart = layered(
        diagonal.encode(x=x, y=y),
        dots.encode(
            x=x,
            y=y,
            color=alt.Color("name:N", legend=key).scale(domain=names, range=colours),
            shape=alt.Shape("name:N", legend=key).scale(domain=names, range=shapes),
            tooltip=[
                alt.Tooltip("name:N", title="direction"),
                tip("vector", "vector", "d"),
                tip("on_lens", "influence on the lens (nats)"),
                tip("on_model", "influence on the model (nats)"),
                tip("alignment", "alignment", ".2f"),
            ],
        ),
    )
    return chart.properties(
        width=width, height=min(width, 260), title=small(f"{lens.capitalize()} lens", width)
    )


def alignment(result: Basis) -> alt.LayerChart:
    """Return how far the model's response lies along what a lens says, by layer."""
    table = result.frames["bases"]
    curves = {
        "tuned lens, its causal basis": (TUNED, TUNED, COLOURS["tuned"]),
        "logit lens, its causal basis": (LOGIT, LOGIT, COLOURS["logit"]),
        "logit lens, the tuned lens's basis": (LOGIT, TUNED, _SHARED),
        "tuned lens, random directions": (TUNED, RANDOM, _RANDOM),
    }
    parts = [
        table[(table["lens"] == lens) & (table["basis"] == basis)].assign(name=name)
        for name, (lens, basis, _) in curves.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame.rename(
        columns={"alignment": "value", "alignment_low": "low", "alignment_high": "high"}
    ).dropna(subset=["value"])
    colours = {name: colour for name, (*_, colour) in curves.items()}
    return figure(
        lines(frame, result.layers, colours, values_axis("cosine", frame)),
        "Stimulus-response alignment, by layer",
        "Ablating a direction changes a lens's readout and the model's output: 1 where all log-odds change in "
        "the same proportions, 0 where one change says nothing of the other.",
        f"Means over vectors and positions; bands: 95% intervals, n = {len(result.positions)} documents.",
        width=fit(WIDTH, AXIS),
        height=280,
    )


def sentence(result: Basis) -> str:
    """Return fidelity and alignment at the middle layer, in a sentence."""
    said = result.summary
    aligned = said["alignment"]
    tuned, logit = (_with_ends(result, lens, result.middle) for lens in (TUNED, LOGIT))
    return (
        f"At layer {said['layer']} the rank correlation between a direction's influence on the lens and on the model is "
        f"{tuned} for the tuned lens, {logit} for the logit lens; mean alignment is {aligned[TUNED]:.2f} for the tuned "
        f"lens and {aligned[LOGIT]:.2f} for the logit lens, each on its own directions, and "
        f"{said['alignment_of_random']:.2f} for the tuned lens on random ones."
    )
