"""Figures of lenses on held-out text, and of their training."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.tuned_lens.evaluation import Evaluation
from interp_core.papers.tuned_lens.figures import AXIS, COLOURS, WIDTH, level
from interp_core.papers.tuned_lens.training import Training
from interp_core.papers.tuned_lens.transfer import Transfer
from interp_core.plot import (
    across,
    beside,
    figure,
    fit,
    gradient,
    heat,
    layer_axis,
    layered,
    points,
    rows_axis,
    strokes,
    tip,
    values_axis,
    x_axis,
)
from interp_core.plot.bands import lines

CURVES = {
    "kl": ("Mean KL(output || lens)", "KL (nats)"),
    "cross_entropy": ("Cross-entropy of the actual next token", "nats"),
    "bits_per_byte": ("Bits per byte of the text", "bits per byte"),
    "agreement": ("Positions whose top token is the output's", "share"),
    "marginal_kl": ("KL between mean output and mean readout", "nats"),
}
"""By column of ``layers``: what is plotted, and its unit."""
_PANEL = 300


def curve(result: Evaluation, name: str) -> alt.LayerChart:
    """Return a statistic by layer, a curve with its band for each lens."""
    what, unit = CURVES[name]
    frame = _frame(result, name)
    shown = np.unique(frame["layer"])
    axis = _share_axis() if name == "agreement" else values_axis(unit, frame)
    chart = lines(frame, shown, _colours(result), axis)
    said = _below(result) if name in ("cross_entropy", "bits_per_byte") else ""
    if name == "marginal_kl":
        said = "Near 0 a lens errs as often in one direction as in the other: it is unbiased."
    return figure(
        chart,
        f"{what}, by layer: {_text(result)}",
        f"{said} Bands: 95% intervals, n = {len(result.positions)} documents ({result.provenance.model.id}).".strip(),
        _left_out(result, name),
        width=fit(WIDTH, AXIS),
        height=300,
    )


def _share_axis() -> alt.Y:
    scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(grid=True, format="%", tickCount=6)
    return alt.Y("value:Q", title="share of positions", scale=scale, axis=axis)


def _colours(result: Evaluation) -> dict[str, str]:
    return {_named(lens): COLOURS[lens] for lens in result.lenses}


def _named(lens: str) -> str:
    return {"bias-only": "biases alone", "beside": "second lens"}.get(lens, f"{lens} lens")


def _frame(result: Evaluation, name: str) -> pd.DataFrame:
    frame = result.frames["layers"]
    ends = ("low", "high") if name == "kl" else (f"{name}_low", f"{name}_high")
    renamed = frame[["lens", "layer", name, *ends]].set_axis(
        ["lens", "layer", "value", "low", "high"], axis=1
    )
    renamed = renamed[renamed["layer"] >= _first(result, name)]
    return renamed.assign(name=renamed["lens"].map(_named))


def _first(result: Evaluation, name: str) -> int:
    """Return the first layer that is drawn: the embedding and block 0 may flatten the curves behind them."""
    top = result.frames["layers"].groupby("layer")[name].max()
    far = [
        layer for layer in (-1, 0) if layer in top and top[layer] > 2 * top[top.index > layer].max()
    ]
    return max(far) + 1 if far else int(top.index.min())


def _left_out(result: Evaluation, name: str) -> str:
    frame = result.frames["layers"]
    far = frame[frame["layer"] < _first(result, name)]
    told = [
        f"{'the embedding' if layer < 0 else f'layer {layer}'} ("
        + ", ".join(
            f"{_named(lens)} {value:.1f}" for lens, value in rows.set_index("lens")[name].items()
        )
        + ")"
        for layer, rows in far.groupby("layer")
    ]
    return f"Off the scale: {' and '.join(told)}." if told else ""


def _below(result: Evaluation) -> str:
    nats = result.output.sum() / result.positions.sum()
    bits = result.summary["output_bits_per_byte"]
    return f"The output itself: {nats:.2f} nats, {bits:.2f} bits per byte."


def _text(result: Evaluation) -> str:
    return named_text(result.params.text)


def named_text(name: str) -> str:
    """Return what a text is called in sentences."""
    return {"manual": "Python's manual"}.get(name, name)


def translators(result: Evaluation) -> alt.HConcatChart:
    """Return how far each translator is from changing nothing, by block."""
    there = np.isfinite(result.translators[:, 0])
    embedding = result.translators[there & (result.layers < 0)]
    there &= (result.layers >= 0) | (result.layers.max() < 0)
    layers = result.layers[there]
    names = ("norm of A", "norm of b", "cosine of A + I with the identity")
    frame = pd.DataFrame(result.translators[there], columns=list(names)).assign(layer=layers)
    columns, width = across(3, 190, beside=60)
    panels = []
    for name, title in zip(names, level(names, width), strict=True):
        low = min(0.9, float(frame[name].min(skipna=True))) if name.startswith("cosine") else 0
        scale = alt.Scale(domainMin=low) if low <= 0 else alt.Scale(domain=[low, 1], nice=False)
        y = alt.Y(f"{name}:Q", title=None, scale=scale, axis=alt.Axis(grid=True, tickCount=5))
        panel = alt.Chart(frame, title=title).mark_line(point=points(), strokeWidth=2)
        tips = [tip("layer", "layer", "d"), tip(name, name)]
        panels.append(
            panel.encode(layer_axis(layers), y, tooltip=tips).properties(width=width, height=170)
        )
    return figure(
        beside(panels, columns),
        "What the tuned lens changes, by layer",
        "Frobenius and Euclidean norms; 0, 0 and 1 for the logit lens. Each panel has its own scale.",
        *(f"Not drawn, the embedding: {a:.1f}, {b:.1f} and {c:.2f}." for a, b, c in embedding[:1]),
    )


def transfer(result: Transfer) -> alt.Chart:
    """Return translators by layers: KL beyond that of the layer's own translator."""
    frame = result.frames["transfer"]
    frame = frame[(frame["translator"] >= 0) & (frame["layer"] >= 0)]
    blocks = result.layers[result.layers >= 0]
    frame = frame.assign(row=frame["translator"].astype(str))
    top = float(frame["penalty"].quantile(0.9))
    colour = alt.Color(
        "penalty:Q",
        scale=alt.Scale(domain=[0, max(top, 1e-6)], clamp=True, scheme="viridis", reverse=True),
        legend=gradient("KL (nats)"),
    )
    chart = heat(
        frame,
        blocks,
        rows_axis([str(n) for n in blocks[::-1]], "translator of layer"),
        len(blocks),
        colour,
        [
            tip("translator", "translator of layer", "d"),
            tip("layer", "read at layer", "d"),
            tip("penalty", "KL beyond its own (nats)"),
            tip("kl", "KL to the output (nats)"),
        ],
        width=fit(600, 120),
    )
    return figure(
        chart,
        "Transfer penalty: KL of a translator at another layer, beyond the layer's own",
        f"0 along the diagonal. Colours end at {top:.1f} nats, where nine tenths of the pairs lie below.",
        f"n = {len(result.positions)} documents of {named_text(result.params.text)}.",
    )


def transferred(result: Transfer) -> str:
    """Return what it costs to use a translator at another layer, in a sentence."""
    said = result.summary
    if "penalty_at_10" not in said:
        return f"A neighbour's translator costs {said.get('penalty_at_1', 0):.2f} nats."
    return (
        f"A neighbouring layer's translator costs {said['penalty_at_1']:.2f} nats, one ten layers "
        f"away {said['penalty_at_10']:.2f}, on average over blocks."
    )


def losses(result: Training) -> alt.LayerChart:
    """Return the training loss by step, a curve for each of a few layers."""
    table = result.frames["training"]
    picked = result.layers[np.unique(np.linspace(0, len(result.layers) - 1, 5).round().astype(int))]
    names = {int(n): "embedding" if n < 0 else f"layer {n}" for n in picked}
    frame = table[table["layer"].isin(names)].assign(name=lambda f: f["layer"].map(names))
    colours = dict(
        zip(names.values(), ("#8e6bd8", "#5b7fd0", "#21918c", "#5ec962", "#b8a800"), strict=False)
    )
    colour = alt.Color("name:N", legend=strokes(colours, 5)).scale(
        domain=list(colours), range=list(colours.values())
    )
    chart = (
        alt.Chart(frame)
        .mark_line(strokeWidth=1.6, strokeJoin="round")
        .encode(
            x=x_axis("step", "training step", (0, max(result.params.steps, 1)), format="d"),
            y=alt.Y(
                "loss:Q",
                title="loss (nats)",
                scale=alt.Scale(zero=True),
                axis=alt.Axis(grid=True, tickCount=6),
            ),
            color=colour,
            tooltip=[
                alt.Tooltip("name:N", title="layer"),
                tip("step", "step", ",d"),
                tip("loss", "loss (nats)"),
            ],
        )
    )
    return figure(
        layered(chart),
        "Loss by training step",
        f"Means over the {result.positions:,} positions of a step"
        + (
            ", estimated (too low at first) on a sample of the vocabulary."
            if result.params.vocabulary
            else "."
        ),
        width=fit(WIDTH, AXIS),
        height=260,
    )


def held_out(result: Training) -> alt.LayerChart:
    """Return the KL of held-out text by layer, before training and now."""
    table = result.frames["held_out"]
    last = int(table["step"].max())
    names = {0: "logit lens (before)", last: f"after {last:,} steps"}
    frame = table[table["step"].isin(names)].assign(
        name=lambda f: f["step"].map(names), value=table["kl"]
    )
    if (
        frame.loc[frame["layer"] < 0, "value"].max()
        > 2 * frame.loc[frame["layer"] >= 0, "value"].max()
    ):
        frame = frame[frame["layer"] >= 0]
    colours = dict(zip(names.values(), (COLOURS["logit"], COLOURS["tuned"]), strict=False))
    axis = values_axis("KL (nats)", frame)
    return figure(
        lines(frame, np.unique(frame["layer"]), colours, axis),
        "KL(output || lens) of held-out text, by layer",
        "On documents of the same kind that are not trained on, over the whole vocabulary.",
        width=fit(WIDTH, AXIS),
        height=260,
    )


def evaluated(result: Evaluation) -> str:
    """Return what the lenses read of the text, in a sentence."""
    middle = result.row(0.5)
    kl = result.mean("kl")[:, middle, 0]
    return (
        f"Half-way through the model the tuned lens is {kl[1]:.2f} nats from the output, the logit lens "
        f"{kl[0]:.2f} ({len(result.positions)} documents of {_text(result)})."
    )


def trained(result: Training) -> str:
    """Return how much was trained, and what it brought, in a sentence."""
    said = result.summary
    if said["held_out_kl"] is None:
        return "Training has begun."
    return (
        f"After {said['steps']:,} steps of {result.positions:,} positions, {said['tokens']:,} in all ({said['of_the_papers_tokens']:.1%} of "
        f"the paper's), held-out KL has come from {said['held_out_kl_before']:.2f} to "
        f"{said['held_out_kl']:.2f} nats, mean over layers."
        + (f" The lens is saved as `{result.lens}`." if result.lens else "")
    )
