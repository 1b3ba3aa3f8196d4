"""Figures of training: of dictionaries, and of the one-layer model."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.sparse_autoencoder.one_layer import Transformer
from interp_core.papers.sparse_autoencoder.training import Training
from interp_core.plot import figure, fit, layered, points, small, strokes, theme, tip, y_axis

_WIDTH, _AXIS = 640, 80


def curves(result: Training) -> alt.VConcatChart:
    """Return error, sparsity and dead latents over training, a curve for each sparsity."""
    frame = result.frames["training"]
    names = {float(s): _named(result, s) for s in result.sparsity}
    frame = frame.assign(name=frame["sparsity"].map(names))
    colours = alt.Color("name:N", legend=strokes(names.values(), 4)).scale(
        domain=list(names.values()), range=theme.CATEGORIES[: len(names)]
    )
    what = {
        "mse": ("Squared error of held-out activations", "MSE", ".3~f"),
        "l0": ("Active features a token", "L0", ".3~s"),
        "dead": ("Dead features", "share", ".0%"),
    }
    panels = []
    for column, (title, unit, form) in what.items():
        last = column == "dead"
        x = alt.X(
            "tokens:Q",
            title="tokens trained on" if last else None,
            axis=alt.Axis(labels=last, format="~s", tickCount=6),
        )
        y = alt.Y(
            f"{column}:Q",
            title=unit,
            axis=alt.Axis(grid=True, tickCount=4, format=form, minExtent=44),
        )
        panels.append(
            alt.Chart(frame, width=fit(_WIDTH, _AXIS), height=110)
            .mark_line(point=points(), strokeWidth=2)
            .encode(
                x=x,
                y=y,
                color=colours,
                tooltip=["name:N", tip("tokens", "tokens", ",d"), tip(column, unit, form)],
            )
            .properties(title=small(title))
        )
    return figure(
        alt.vconcat(*panels, spacing=14),
        f"Training of {result.latents:,} features on {result.params.site} of layer {result.layer}",
        f"{result.activations:,} activations were captured. A feature is dead that was not active in the last twentieth "
        "of training.",
    )


def _named(result: Training, sparsity: float) -> str:
    return f"{'L1' if result.params.architecture == 'standard' else 'k'} {sparsity:g}"


def pareto(result: Training) -> alt.LayerChart:
    """Return the loss recovered against active latents, a point for each sparsity."""
    frame = result.frames["pareto"].sort_values("l0")
    long = pd.concat(
        frame.assign(value=frame[column], name=name)
        for column, name in (
            ("ce_loss_score", "against zeros"),
            ("ce_loss_score_mean_ablation", "against the mean"),
        )
    )
    colours = dict(zip(("against zeros", "against the mean"), theme.CATEGORIES[1:3], strict=True))
    low = np.floor(20 * (float(long["value"].min()) - 0.02)) / 20
    room = [max(float(frame["l0"].min()), 0.1) / 1.7, float(frame["l0"].max()) * 1.2]
    ticks = [v for k in range(5) for v in (10**k, 2 * 10**k, 5 * 10**k) if room[0] < v < room[1]]
    x = alt.X(
        "l0:Q",
        title="L0: active features a token (log scale)",
        scale=alt.Scale(type="log", domain=room, nice=False),
        axis=alt.Axis(values=ticks, format="d"),
    )
    y = y_axis("value", "share of the loss recovered", (low, 1), format="%", tickCount=6)
    sign = "λ" if result.params.architecture == "standard" else "k"
    named = frame.assign(value=frame["ce_loss_score"], name=[f"{s:g}" for s in frame["sparsity"]])
    curves = (
        alt.Chart(long)
        .mark_line(point=alt.OverlayMarkDef(size=60, filled=True), strokeWidth=2)
        .encode(
            x=x,
            y=y,
            color=alt.Color("name:N", legend=strokes(colours, 2)).scale(
                domain=list(colours), range=list(colours.values())
            ),
            tooltip=[
                tip("sparsity", "sparsity", ".3~g"),
                tip("l0", "L0", ".3~g"),
                tip("value", "recovered", ".1%"),
                tip("dead", "dead features", ".1%"),
            ],
        )
    )
    names = alt.Chart(named).mark_text(dx=-4, dy=-9, align="right")
    return figure(
        layered(curves, names.encode(x=x, y=y, text="name:N")),
        "Sparsity against the loss recovered",
        f"Held-out text; 100% is the model as it is. Above a pair of points: its {sign}.",
        width=fit(_WIDTH, _AXIS),
        height=280,
    )


def losses(result: Transformer) -> alt.Chart:
    """Return the held-out loss of the one-layer model over training."""
    frame = result.frames["training"]
    top = float(frame["loss"].max()) * 1.04
    dots = points()
    dots["color"] = theme.CATEGORIES[1]
    chart = (
        alt.Chart(frame)
        .mark_line(point=dots, strokeWidth=2, color=theme.CATEGORIES[1])
        .encode(
            x=alt.X("step:Q", title="training step", axis=alt.Axis(format=",d", tickCount=6)),
            y=y_axis("loss", "cross-entropy (nats a byte)", (0, top), tickCount=6),
            tooltip=[tip("step", "step", ",d"), tip("loss", "nats a byte", ".3f")],
        )
    )
    return figure(
        chart,
        "Held-out loss of the one-layer transformer",
        width=fit(_WIDTH, _AXIS),
        height=240,
    )


def trained(result: Training) -> str:
    """Return what was trained, and what it keeps."""
    done = result.frames["pareto"]
    if done.empty:
        return "Training."
    told = "; ".join(
        f"{_named(result, row.sparsity)}: L0 {row.l0:.1f}, {row.ce_loss_score:.1%} of the loss recovered, {row.dead:.1%} dead"
        for row in done.itertuples()
    )
    kept = f" The first is saved as {result.names[0]}." if result.names else ""
    return f"Trained on {result.summary['tokens']:,} tokens. {told}.{kept}"


def modelled(result: Transformer) -> str:
    """Return how well the one-layer model predicts text."""
    reached = result.frames["training"]
    return (
        f"After {int(reached['step'].iloc[-1]):,} steps the loss of held-out text is "
        f"{reached['loss'].iloc[-1]:.2f} nats a byte."
    )
