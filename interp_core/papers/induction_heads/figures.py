"""Figures of a search for induction heads: scores, losses by copy, ablations, in-context learning."""

from __future__ import annotations

import dataclasses

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.figures_parts import AXIS, sequences
from interp_core.papers.induction_heads.heads import NAMES, Heads, Score
from interp_core.papers.induction_heads.params import head_name
from interp_core.plot import (
    figure,
    fit,
    gradient,
    head_cells,
    loss_curves,
    scatter,
    shown_layers,
    side_labels,
    strokes,
    theme,
    tip,
    x_axis,
    y_axis,
)

_GLOSS: dict[Score, str] = {
    "prefix_matching": "Attention to what followed the current token before: 1 for a perfect induction head.",
    "previous_token": "1: the head looks nowhere else.",
    "duplicate_token": "1: the head looks nowhere else.",
    "first_token": "High where a head rests.",
    "current_token": "1: the head looks nowhere else.",
    "entropy": "Low: the head looks at few tokens; high: at many.",
    "copying": "Read off the weights. 1: the head raises the logits of the very tokens it reads; -1: it "
    "lowers them.",
    "logit_copying": "Of all that the head raises among the sequence's tokens, the share of the one it "
    "looks at, from -1 (none) to 1 (half or more).",
}
"""What the values of each score mean."""
_SIGNED = ("copying", "logit_copying")
_WIDTH, _NAME, _NAMED = 700, 85, 8


def _head_table(heads: Heads) -> pd.DataFrame:
    """Return one row a head: its scores, its name, and its rank in words."""
    frame = heads.frames["heads"]
    pairs = list(zip(frame["layer"], frame["head"], strict=True))
    total, above = len(heads.ranked), set(heads.induction_heads)
    return frame.assign(
        name=[head_name(*pair) for pair in pairs],
        place=["-" if np.isnan(k) else f"{k:.0f} of {total}" for k in frame["rank"].astype(float)],
        induction=[pair in above for pair in pairs],
        reach=["all" if pd.isna(w) else f"{w:.0f} positions" for w in frame["window"]],
    ).drop(columns=["rank", "window"])


def _tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("name:N", title="head"),
        alt.Tooltip("place:N", title="rank by prefix matching"),
        tip("prefix_matching", "prefix matching", ".3f"),
        tip("spread", "its SD over sequences", ".3f"),
        tip("previous_token", "attention to previous token", ".3f"),
        tip("duplicate_token", "to copies of the token", ".3f"),
        tip("first_token", "to the first position", ".3f"),
        tip("current_token", "to itself", ".3f"),
        tip("entropy", "entropy (nats)", ".2f"),
        tip("copying", "copying by eigenvalues", "+.2f"),
        tip("logit_copying", "copying by logits", "+.2f"),
        alt.Tooltip("reach:N", title="attention sees"),
    ]


def _score_colour(
    heads: Heads, score: Score, values: np.ndarray
) -> tuple[alt.Color, dict[str, np.ndarray]]:
    """Return the colours of a score, and a column of the ink that reads on each value's."""
    if score in _SIGNED:
        legend = gradient(["copying score", "(-1 to 1)"], values=[-1, -0.5, 0, 0.5, 1])
        colour = alt.Color(f"{score}:Q", scale=theme.signed(1), legend=legend)
        return colour, {}
    quantity = theme.QUANTITIES["probability"]
    if score == "entropy":
        end = float(np.ceil(np.log(heads.tokens.shape[1])))
        quantity = dataclasses.replace(theme.QUANTITIES["entropy"], domain=(0, end))
        legend = gradient(["entropy", "(nats)"], tickCount=5)
    else:
        matching = ["prefix matching", "(share of attention)"]
        name = matching if score == "prefix_matching" else "attention"
        legend = gradient(name, values=[0, 0.2, 0.4, 0.6, 0.8, 1], format=".1f")
    colour = alt.Color(f"{score}:Q", scale=quantity.scale, legend=legend)
    return colour, {"ink": quantity.ink(values)}


def head_grid(
    heads: Heads, score: Score = "prefix_matching", select: bool = True
) -> alt.LayerChart:
    """Return layers by heads, coloured by a score, the induction heads outlined.

    A click selects a head: the parameter ``head`` holds its ``layer`` and ``head``.
    """
    frame = _head_table(heads)
    depth, count = heads.prefix_matching.shape
    layers = shown_layers(depth, count)
    frame = frame[frame["layer"].isin(layers)]
    values = frame[score].to_numpy(float)
    colour, ink = _score_colour(heads, score, values)
    high = frame["induction"] if score in _SIGNED else values >= heads.params.threshold
    numbers = frame[score].map("{:.2f}".format).where(high & (score != "entropy"), "")
    frame = frame.assign(**ink, number=numbers, outlined=frame["induction"])
    above, missing = len(heads.induction_heads), int(np.isnan(values).sum())
    text, gloss = NAMES[score], _GLOSS[score]
    return figure(
        head_cells(frame, colour, _tips(), layers, count, select=select),
        f"{text} of every head",
        gloss,
        f"Outlined: prefix matching above {heads.params.threshold:g}, {above} of "
        f"{depth * count:,} heads. "
        + (
            ""
            if score == "copying"
            else f"Means over {sequences(heads.params, len(heads.losses))}."
        ),
        f"Grey: {missing:,} heads that do not see back to the repetition before."
        if missing
        else "",
        f"Showing the last {len(layers)} of {depth} layers." if len(layers) < depth else "",
    )


def copy_losses(heads: Heads) -> alt.LayerChart:
    """Return the loss by place in the copy, a line a copy."""
    frame = heads.frames["losses"]
    last = heads.params.repeats
    frame = frame.assign(name=frame["copy"].map("repetition {}".format))
    names = [f"repetition {copy}" for copy in range(1, last + 1)]
    means = heads.copy_losses.mean(0)
    scale = alt.Scale(
        domain=names, scheme=alt.SchemeParams("plasma", extent=[0.25, 0.8]), type="ordinal"
    )
    legend = strokes(names, 8, symbolOpacity=1)
    name, steps = "position within the repetition (0 = its first token)", {"tickMinStep": 1}
    x = x_axis("place", name, (0, heads.params.tokens - 1), format="d", labelFlush=False, **steps)
    curves = loss_curves(frame, x, alt.Color("name:N", sort=names, scale=scale, legend=legend))
    ends = frame[frame["copy"].isin([1, last])].groupby("copy").tail(1)
    y, base = curves.layer[1].encoding.y, alt.Chart(ends).encode(x=x)
    width = fit(_WIDTH, AXIS + _NAME)
    _, labels = side_labels(base, ends, "name", (width, 320), y)
    return figure(
        alt.layer(curves, labels),
        "Loss of each token, by its position within the repetition",
        f"Random tokens cannot be predicted at first ({means[0]:.1f} nats in repetition 1); what "
        f"repeats can ({means[-1]:.1f} in repetition {last}).",
        f"Bands: 95% intervals, {sequences(heads.params, len(heads.losses))}.",
        width=width,
        height=320,
    )


def score_scatter(heads: Heads) -> alt.LayerChart:
    """Return prefix matching against the copying score, a dot a head."""
    frame = _head_table(heads).dropna(subset=["prefix_matching", "copying"])
    missing = heads.copying.size - len(frame)
    frame = frame.sort_values("prefix_matching", ascending=False, kind="stable")
    cut = frame.head(theme.MAX_MARKS)
    kinds = ["other heads", "induction heads"]
    induction = cut[cut["induction"]]
    copy = int((induction["copying"] > 0).sum())
    named = induction.head(_NAMED)
    some = f", the {len(named)} best are named" if len(named) < len(induction) else ""
    lines = (
        "Prefix matching: attention to what followed before. Copying, by eigenvalues of the "
        "weights: 1 raises the token read.",
        f"{copy} of {len(induction)} induction heads copy (score above 0){some}. {sequences(heads.params, len(heads.losses))}.",
        f"Left out: {missing:,} heads that do not see back to the repetition before."
        if missing
        else "",
        f"Showing {len(cut):,} of {len(frame):,} heads." if len(cut) < len(frame) else "",
    )
    kind = pd.Categorical(np.where(cut["induction"], kinds[1], kinds[0]), kinds)
    x = x_axis("copying", "copying score by eigenvalues", (-1, 1), grid=True, tickCount=5)
    y = y_axis("prefix_matching", "prefix matching (share of attention)", (0, 1), tickCount=5)
    chart = scatter(cut.assign(kind=kind), x, y, _tips(), named)
    return figure(chart, "Prefix matching against copying, of every head", *lines)


def top_ten(heads: Heads, score: Score = "prefix_matching") -> pd.DataFrame:
    """Return the ten highest heads by a score, and their other scores."""
    frame = heads.frames["heads"].sort_values(score, ascending=False, kind="stable").head(10)
    columns = ["prefix_matching", "spread", "previous_token", "copying", "logit_copying", "entropy"]
    shown = frame[list(dict.fromkeys([score, *columns]))]
    names = NAMES | {"spread": "SD over sequences"}
    shown = shown.set_axis([names[column].lower() for column in shown], axis=1)
    pairs = zip(frame["layer"], frame["head"], strict=True)
    shown.insert(0, "head", [head_name(*pair) for pair in pairs])
    return shown


def sentence(heads: Heads) -> str:
    """Return which heads are induction heads, and what repeats do to the loss."""
    found, said = heads.induction_heads, heads.summary
    names = ", ".join(head_name(*pair) for pair in found[:8]) or "none"
    return (
        f"**{len(found)}** of {heads.copying.size:,} heads have a prefix-matching score above "
        f"{heads.params.threshold:g}: {names}.{_global(heads)} The loss falls from {said['first_copy_loss']:.1f} nats "
        f"on the first repetition to {said['last_copy_loss']:.1f} on the last."
    )


def _global(heads: Heads) -> str:
    """Return how many of the induction heads see all positions, where only some layers do."""
    there, found = heads.in_global_layers, len(heads.induction_heads)
    if there is None or not found:
        return ""
    layers = sum(window is None for window in heads.windows)
    cut = any(window is not None and window < heads.tokens.shape[1] for window in heads.windows)
    reach = "" if cut else "; the other layers see these sequences whole, too"
    return (
        f" In the {layers} of {len(heads.windows)} layers whose attention is global: {there} of these {found}"
        f"{reach}."
    )
