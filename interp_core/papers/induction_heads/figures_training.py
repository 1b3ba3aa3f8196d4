"""Figures of attention-only models over training: the phase change, heads, patterns, components."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.params import head_name
from interp_core.papers.induction_heads.toys import TOYS, Toy
from interp_core.papers.induction_heads.training import Training
from interp_core.plot import across, below, beside, figure, fit, layered, small, strokes, theme, tip

_COLOURS = dict(zip(TOYS.values(), theme.CATEGORIES, strict=False))
_SIGNS = {
    "second_copy_loss": ("Loss on a segment's second copy", "nats"),
    "best_prefix_matching": ("Best head's prefix matching", "attention"),
    "in_context": ("In-context learning: loss of late minus early tokens", "nats"),
    "derivative": (
        "Slope of the held-out loss by the logarithm of the step",
        "nats per e-fold",
    ),
    "k_composition": (
        "K-composition of previous-token and induction head, above chance",
        "share of norm",
    ),
}
_WIDTH, _AXIS, _PANEL, _CELL, _SMALL = 640, 70, 96, 34, 6
_STEP = 30
"""Room of a step's number beside the plot, in pixels."""
_ROOM = (0.1, 0.08)
"""Width and height that a step's number takes, as shares of the figure."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def nearest(training: Training, step: int | None) -> int:
    """Return which checkpoint that a model has come to is nearest to ``step``; the last if None."""
    there = np.flatnonzero(np.isfinite(training.loss).any(0))
    if not len(there):
        return 0
    return int(there[-1 if step is None else np.abs(training.steps[there] - step).argmin()])


def _named(training: Training, frame: str) -> pd.DataFrame:
    table = training.frames[frame]
    return table.assign(name=table["model"].map(TOYS).astype(object))


def _colour(training: Training) -> alt.Color:
    names = [TOYS[model] for model in training.models]
    return alt.Color("name:N", legend=strokes(names, 4)).scale(
        domain=names, range=[_COLOURS[name] for name in names]
    )


def _common(training: Training) -> list[alt.Tooltip]:
    return [alt.Tooltip("name:N", title="model"), tip("step", "training step", ",d")]


def phase(training: Training, step: int | None = None) -> alt.VConcatChart:
    """Return the signs of the phase change over training, one panel each, on one axis of steps.

    A rule stands at ``step`` where one is given.
    """
    frame = _named(training, "training")
    signs = [
        sign for sign in _SIGNS if sign != "k_composition" or {"2", "3"} & set(training.models)
    ]
    panels = [_sign(training, frame, sign, step, last=sign == signs[-1]) for sign in signs]
    return figure(
        alt.vconcat(*panels, spacing=12).resolve_scale(color="shared"),
        "Signs of a phase change, by training step",
        "In the paper the first three change together, as induction heads form; without these they "
        "hardly move.",
        f"Dotted: chance loss, ln 64. One run of each model, seed {training.params.seed}.",
    )


def _sign(
    training: Training, frame: pd.DataFrame, sign: str, step: int | None, last: bool
) -> alt.LayerChart:
    """Return one quantity over training."""
    name, unit = _SIGNS[sign]
    end = int(training.steps[-1])
    x = alt.X(
        "step:Q",
        title="training step" if last else None,
        scale=alt.Scale(domain=[0, end], nice=False),
        axis=alt.Axis(labels=last, format=",d", tickCount=8, grid=False),
    )
    y = alt.Y(
        f"{sign}:Q",
        title=unit,
        scale=alt.Scale(zero=sign != "second_copy_loss"),
        axis=alt.Axis(grid=True, tickCount=4, minExtent=40, titlePadding=6),
    )
    base = alt.Chart(frame.dropna(subset=[sign])).encode(
        x=x, y=y, color=_colour(training), tooltip=[*_common(training), tip(sign, name.lower())]
    )
    layers: list[alt.Chart] = [
        base.mark_line(strokeWidth=2),
        base.mark_point(size=12, filled=True, opacity=1),
    ]
    if sign == "second_copy_loss":
        chance = alt.Chart(pd.DataFrame({sign: [float(np.log(training.provenance.model.d_vocab))]}))
        layers.insert(0, chance.mark_rule(strokeDash=[2, 3]).encode(y=alt.Y(f"{sign}:Q")))
    if step is not None:
        at = pd.DataFrame({"step": [int(training.steps[nearest(training, step)])]})
        layers.append(alt.Chart(at).mark_rule(strokeWidth=1.5).encode(x="step:Q"))
    return layered(
        *layers, width=(width := fit(_WIDTH, _AXIS)), height=_PANEL, title=small(name, width)
    )


def patterns_at(training: Training, toy: Toy = "2", step: int | None = None) -> alt.ConcatChart:
    """Return the attention pattern of every head of a model, on one short text, at a step."""
    toy = toy if toy in training.models else training.models[0]
    at, row = nearest(training, step), training.models.index(toy)
    patterns = training.patterns[row, at]
    depth = int(np.isfinite(training.prefix_matching[row, at, :, 0]).sum())
    n = patterns.shape[-1]
    query, key = np.tril_indices(n)
    letters = [_LETTERS[i % (n // 2)] for i in range(n)]
    frame = pd.DataFrame(
        {
            "query": query,
            "key": key,
            "at": [f"{letters[i]}, position {i}" for i in query],
            "to": [f"{letters[i]}, position {i}" for i in key],
        }
    )
    panels = [
        _pattern(frame, patterns[layer, head, query, key], letters, layer, head)
        for layer in reversed(range(depth))
        for head in range(patterns.shape[1])
    ]
    lines = (
        f"{n // 2} random tokens, A to {letters[-1]}, that stand there twice.",
        "An induction head looks, in the second copy, from each token to the one after its first "
        "occurrence:",
        "a stripe below the diagonal. A previous-token head makes a stripe right below it.",
    )
    # Flush: the squares line up, whichever of them have axes.
    chart = alt.concat(
        *panels, columns=patterns.shape[1], bounds="flush", spacing={"row": 34, "column": 14}
    )
    heading = f"Attention patterns after {training.steps[at]:,} steps: {TOYS[toy]}"
    return figure(chart.resolve_scale(color="shared"), heading, *lines)


def _pattern(
    frame: pd.DataFrame, values: np.ndarray, letters: list[str], layer: int, head: int
) -> alt.Chart:
    """Return one head's pattern; only those at the edges have axes."""
    n = len(letters)
    axis = alt.Axis(
        labelExpr=f"{letters}[datum.value]",
        values=list(range(0, n, 3)),
        labelAngle=0,
        ticks=False,
        domain=False,
    )
    size = n * int(np.clip(fit(4 * n * _SMALL, _AXIS + 42) / 4 / n, 2, _SMALL))
    scale = alt.Scale(domain=[0, 1], scheme="viridis", nice=False)
    return (
        alt.Chart(frame.assign(attention=np.round(values / 255, 3)))
        .mark_rect()
        .encode(
            x=alt.X("key:O", title="key" if layer == 0 else None, axis=axis if not layer else None),
            y=alt.Y("query:O", title=None if head else "query", axis=None if head else axis),
            color=alt.Color("attention:Q", scale=scale, legend=below("attention", format="%")),
            tooltip=[
                alt.Tooltip("at:N", title="from"),
                alt.Tooltip("to:N", title="to"),
                tip("attention", "attention", ".0%"),
            ],
        )
        .properties(width=size, height=size, title=small(head_name(layer, head)))
    )


def heads_at(training: Training, step: int | None = None) -> alt.HConcatChart:
    """Return the prefix matching of every head of every model at a step."""
    at = int(training.steps[nearest(training, step)])
    frame = _named(training, "training_heads")
    frame = frame[frame["step"] == at]
    quantity = theme.QUANTITIES["probability"]
    frame = frame.assign(ink=quantity.ink(frame["prefix_matching"].to_numpy()))
    layers = max(int(model[0]) for model in training.models)
    panels = [
        _heads(
            frame[frame["model"] == model], layers, first=model == training.models[0]
        ).properties(title=small(TOYS[model]))
        for model in training.models
    ]
    columns, _ = across(len(panels), 4 * _CELL, 44, gap=22)
    return figure(
        beside(panels, columns, spacing=22),
        f"Prefix matching of every head after {at:,} steps",
        "Attention from a token of the second copy to the one after its first occurrence, mean over "
        "random segments of 32 tokens.",
    )


def _heads(frame: pd.DataFrame, layers: int, first: bool) -> alt.LayerChart:
    """Return one model's heads by layer, the first layer at the bottom, in room for ``layers``."""
    bare = alt.Axis(labelAngle=0, ticks=False, domain=False)
    order = alt.Scale(domain=list(reversed(range(layers))))
    base = alt.Chart(frame).encode(
        x=alt.X("head:O", title="head", axis=bare),
        y=alt.Y("layer:O", title="layer", scale=order, axis=bare if first else None),
        tooltip=[
            *[alt.Tooltip("name:N", title="model"), tip("layer", "layer", "d")],
            *[tip("head", "head", "d"), tip("prefix_matching", "prefix matching", ".2f")],
            tip("previous_token", "attention to the token before", ".2f"),
        ],
    )
    scale = theme.QUANTITIES["probability"].scale
    cells = base.mark_rect().encode(
        color=alt.Color("prefix_matching:Q", scale=scale, legend=below("prefix matching"))
    )
    numbers = base.mark_text(fontSize=11, color=alt.ExprRef("datum.ink")).encode(
        text=alt.Text("prefix_matching:Q", format=".2f")
    )
    return layered(cells, numbers, width=4 * _CELL, height=layers * _CELL)


def components(training: Training, step: int | None = None) -> alt.LayerChart:
    """Return the models' paths over training, in the plane in which their losses differ most.

    Rings show where the models are at ``step``.
    """
    frame, share = _named(training, "components"), training.components[1]
    at = None if step is None else training.steps[nearest(training, step)]
    frame = frame.assign(named=_apart(frame, training.formed), now=frame["step"] == at)
    lines = (
        f"Of the losses on the same {training.token_loss.shape[-1]} held-out tokens, all models "
        "together; numbers, where there is room, are the first training step, those at which heads form, and the last.",
        "A path turns where training begins to improve other tokens than before."
        + ("" if at is None else f" Rings: step {at:,}."),
    )
    names = [
        f"component {i + 1} (nats)" + (f", {each:.0%} of variance" if np.isfinite(each) else "")
        for i, each in enumerate(share)
    ]
    axis = alt.Axis(grid=True, tickCount=6)
    free = alt.Scale(zero=False)
    base = alt.Chart(frame).encode(
        x=alt.X("pc1:Q", title=names[0], scale=free, axis=axis),
        y=alt.Y("pc2:Q", title=names[1], scale=free, axis=axis),
        tooltip=[*_common(training), tip("pc1", "component 1"), tip("pc2", "component 2")],
    )
    coloured = base.encode(color=_colour(training))
    chart = alt.layer(
        coloured.mark_line(strokeWidth=1.8, strokeJoin="round").encode(order="step:Q"),
        coloured.mark_point(size=16, filled=True, opacity=1),
        coloured.transform_filter("datum.named").mark_point(size=70, filled=True, opacity=1),
        *([] if at is None else [_rings(coloured)]),
        base.transform_filter("datum.named")
        .mark_text(dx=8, dy=-8, align="left")
        .encode(text=alt.Text("step:Q", format=",d")),
    )
    heading = "Per-token losses over training: two principal components"
    return figure(chart, heading, *lines, width=fit(_WIDTH, _AXIS + _STEP), height=400)


def _rings(coloured: alt.Chart) -> alt.Chart:
    return coloured.transform_filter("datum.now").mark_point(size=220, strokeWidth=2.5, opacity=1)


def _apart(frame: pd.DataFrame, formed: Mapping[Toy, int | None]) -> np.ndarray:
    """Return which rows of components are labelled: ends, where heads form, the start; as far as there is room."""
    places = frame[["pc1", "pc2"]].to_numpy()
    named = np.zeros(len(frame), bool)
    if not len(frame):
        return named
    places = (places - places.min(0)) / np.maximum(np.ptp(places, axis=0), 1e-9)
    ends = np.flatnonzero(~frame["model"].duplicated(keep="last").to_numpy())
    forms = np.flatnonzero(frame["step"] == frame["model"].map(formed))
    for row in (*ends[::-1], *forms, 0):
        if (np.abs(places[named] - places[row]) > _ROOM).any(1).all():
            named[row] = True
    return named


def sentence(training: Training) -> str:
    """Return where each model ended."""
    ends = training.summary["models"]
    words = [f"{TOYS[name]}: {row['second_copy_loss']:.2f}" for name, row in ends.items()]
    return (
        f"Loss on what the first copy predicts, at the last checkpoint (nats): {'; '.join(words)}."
    )
