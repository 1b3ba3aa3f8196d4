"""Figures of causal bases: what a lens reads most from, and what the model does with it."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.tuned_lens.basis import RANDOM, Basis
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
        panels.append(_panel(own, ends, width, f"{lens} lens"))
    rho = [float(result.fidelity(lens)[row, 0]) for lens in (TUNED, LOGIT)]
    return figure(
        beside(panels, columns),
        f"Influence of each direction at layer {result.layers[row]}: on the lens, and on the model",
        f"Rank correlation over a lens's own vectors: {rho[0]:.2f} through the tuned lens, {rho[1]:.2f} through the "
        "logit lens. On the diagonal a direction matters as much to both.",
        f"Measured on {len(result.positions)} documents of {named_text(result.params.text)} that no vector "
        "was extracted from.",
    )


def _panel(frame: pd.DataFrame, ends: list[float], width: int, title: str) -> alt.LayerChart:
    frame = frame.assign(
        name=np.where(frame["basis"] == RANDOM, "random directions", "causal basis")
    )
    names = ["causal basis", "random directions"]
    key = legend(names, 2, "top", symbolSize=90)
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
            color=alt.Color("name:N", legend=key).scale(
                domain=names, range=[COLOURS["tuned"], _RANDOM]
            ),
            shape=alt.Shape("name:N", legend=key).scale(
                domain=names, range=["circle", "triangle-up"]
            ),
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
        width=width, height=min(width, 260), title=small(title.capitalize(), width)
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
    fidelity, aligned = said["fidelity"], said["alignment"]
    return (
        f"At layer {said['layer']} the influence of {result.params.vectors} directions on the tuned lens goes with that "
        f"on the model by a rank correlation of {fidelity[TUNED]:.2f} (logit lens {fidelity[LOGIT]:.2f}); the model's "
        f"response is aligned with what the tuned lens says by {aligned[TUNED]:.2f}, with the logit lens by "
        f"{aligned[LOGIT]:.2f}; along random directions, with the tuned lens, by {said['alignment_of_random']:.2f}."
    )
