"""Figures of trainings from several seeds: every run's curves, and when each changes."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.dynamics import FALL
from interp_core.papers.induction_heads.seeds import Seeds
from interp_core.papers.induction_heads.toys import D_VOCAB, TOYS
from interp_core.plot import figure, fit, layered, small, strokes, theme, tip

_COLOURS = dict(zip(TOYS.values(), theme.CATEGORIES, strict=False))
_SIGNS = {
    "second_copy_loss": ("Loss on a segment's second copy", "nats"),
    "best_prefix_matching": ("Best head's prefix matching", "attention"),
    "in_context": ("In-context learning: loss of late minus early tokens", "nats"),
}
_WIDTH, _AXIS, _PANEL = 640, 70, 130


def runs(result: Seeds) -> alt.VConcatChart:
    """Return every run's curves, a thin line each, one panel for each sign of a phase change."""
    frame = result.frames["runs"]
    frame = frame.assign(name=frame["model"].map(TOYS).astype(object))
    panels = [_sign(result, frame, sign, last=sign == [*_SIGNS][-1]) for sign in _SIGNS]
    return figure(
        alt.vconcat(*panels, spacing=12).resolve_scale(color="shared"),
        "Training from several seeds, a line for each run",
        "In the paper all three change together, as induction heads form, and hardly move without such heads.",
        f"Dotted: chance loss, ln {D_VOCAB}. {len(result.seeds)} runs of each model, seeds "
        f"{result.seeds[0]} to {result.seeds[-1]}.",
    )


def _sign(result: Seeds, frame: pd.DataFrame, sign: str, last: bool) -> alt.LayerChart:
    """Return one quantity of every run over training."""
    name, unit = _SIGNS[sign]
    names = [TOYS[model] for model in result.models]
    colour = alt.Color("name:N", legend=strokes(names, 4)).scale(
        domain=names, range=[_COLOURS[each] for each in names]
    )
    x = alt.X(
        "step:Q",
        title="training step" if last else None,
        scale=alt.Scale(domain=[0, int(result.steps[-1])], nice=False),
        axis=alt.Axis(labels=last, format=",d", tickCount=8, grid=False),
    )
    y = alt.Y(
        f"{sign}:Q",
        title=unit,
        axis=alt.Axis(grid=True, tickCount=4, minExtent=40, titlePadding=6),
    )
    lines = (
        alt.Chart(frame)
        .mark_line(strokeWidth=1.1, opacity=0.8)
        .encode(
            x=x,
            y=y,
            color=colour,
            detail="seed:N",
            tooltip=[
                alt.Tooltip("name:N", title="model"),
                tip("seed", "seed", "d"),
                tip("step", "training step", ",d"),
                tip(sign, name.lower()),
            ],
        )
    )
    layers: list[alt.Chart] = [lines]
    if sign == "second_copy_loss":
        chance = alt.Chart(pd.DataFrame({sign: [float(np.log(D_VOCAB))]}))
        layers.insert(0, chance.mark_rule(strokeDash=[2, 3]).encode(y=alt.Y(f"{sign}:Q")))
    return layered(
        *layers, width=(width := fit(_WIDTH, _AXIS)), height=_PANEL, title=small(name, width)
    )


def changes(result: Seeds) -> pd.DataFrame:
    """Return where each run's loss falls most, how abruptly, and when its heads form."""
    frame = result.frames["changes"]
    whole, falls = frame["whole"], frame["whole"] > FALL
    return pd.DataFrame(
        {
            "model": frame["model"].map(TOYS),
            "seed": frame["seed"],
            "fall begins (step)": frame["start"].where(falls),
            "whole fall (nats)": frame["whole"].round(2),
            "within a tenth of training": (frame["fall"] / whole)[falls].map("{:.1%}".format),
            "before that": (frame["before"] / whole)[falls].map("{:.1%}".format),
            "abrupt": frame["abrupt"].map({True: "yes", False: "no"}),
            "heads form (step)": frame["heads_form"],
            "in-context score (nats)": frame["in_context"].round(2),
        }
    )


def sentence(result: Seeds) -> str:
    """Return in how many runs each model changes abruptly, and when."""
    said, count = result.summary["models"], len(result.seeds)
    words = []
    for name, row in said.items():
        when = f"steepest from step {row['earliest']} to {row['latest']}, " if row["abrupt"] else ""
        words.append(
            f"{TOYS[name]}: {row['abrupt']} of {count} ({when}heads in {row['form_heads']}, in-context score "
            f"{row['in_context']:.2f} nats)"
        )
    return (
        "Runs in which what repeats is learned abruptly, after a plateau: " + "; ".join(words) + "."
    )
