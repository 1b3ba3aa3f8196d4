"""Figures of composition and of path patching."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.circuits import Circuits
from interp_core.papers.induction_heads.params import head_name
from interp_core.plot import (
    PICK,
    across,
    beside,
    ends,
    figure,
    gradient,
    head_cells,
    legend,
    scatter,
    shown_layers,
    small,
    theme,
    tip,
    top_of,
    x_axis,
    y_axis,
)

_PAIRS = 20
_NAMED = 5
_KINDS = {"q": "Queries", "k": "Keys", "v": "Values"}
_NAMES = 120
"""Room of the names of pairs, in pixels."""


def _settings(result: Circuits) -> str:
    params = result.params
    return (
        f"n = {len(result.clean)} sequences of {params.tokens} random tokens, "
        f"{params.repeats} times; its prefix matching is {result.clean.mean():.2f}."
    )


def _paths(result: Circuits) -> pd.DataFrame:
    frame = result.frames["paths"].dropna(subset="drop")
    pairs = list(zip(frame["layer"], frame["head"], strict=True))
    return frame.assign(
        name=[head_name(*pair) for pair in pairs], sends=[pair == result.sender for pair in pairs]
    )


def _path_tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("name:N", title="head"),
        tip("drop", "drop of prefix matching", "+.3f"),
        *ends("+.3f"),
        tip("previous_token", "attention to the previous token", ".3f"),
        tip("k_composition", "K-composition, above random", "+.3f"),
    ]


def paths(result: Circuits) -> alt.LayerChart:
    """Return layers by heads: what the receiver loses when its keys are read without that head."""
    frame, receiver = _paths(result), head_name(*result.receiver)
    layers, heads = result.receiver[0] + 1, result.patched.shape[2]
    within, bound = shown_layers(layers, heads), top_of(frame["drop"].abs())
    clear = frame["drop"].abs() >= max(0.02, bound / 10)
    frame = frame[frame["layer"].isin(within)].assign(
        number=frame["drop"].map("{:.2f}".format).where(clear, ""),
        outlined=frame["sends"],
    )
    sender = head_name(*result.sender)
    lines = (
        f"Outlined: {sender}, without which it drops most. Only what {receiver}'s keys read is "
        "changed, nothing else.",
        f"Ring: {receiver} itself; later heads cannot feed it. {_settings(result)}",
        _last(within, layers),
    )
    legend = gradient(["drop of prefix", "matching (attention)"])
    colour = alt.Color("drop:Q", scale=theme.signed(bound), legend=legend)
    cells = head_cells(frame, colour, _path_tips(), within, heads)
    own = pd.DataFrame(
        [{"layer": result.receiver[0], "head": result.receiver[1], "name": receiver}]
    )
    ring = (
        alt.Chart(own)
        .mark_point(size=90, strokeWidth=2.4, color=PICK, opacity=1, filled=False)
        .encode(x="head:O", y="layer:O", tooltip=alt.Tooltip("name:N", title="receiver"))
    )
    # Nothing else stands in its row.
    right = result.receiver[1] >= heads / 2
    name = ring.mark_text(align="right" if right else "left", dx=-12 if right else 12)
    chart = alt.layer(cells, ring, name.encode(text="name:N"))
    heading = (
        f"Drop of {receiver}'s prefix matching when its keys are read without one earlier head"
    )
    return figure(chart, heading, *lines, width=cells.width, height=cells.height)


def _last(within: range, layers: int) -> str:
    some = len(within) < layers
    return f"Showing the last {len(within)} of {layers} layers." if some else ""


def path_scatter(result: Circuits) -> alt.LayerChart:
    """Return each earlier head's attention to the previous token against what its path carries."""
    frame, receiver = _paths(result), head_name(*result.receiver)
    total = len(frame)
    frame = frame.sort_values("drop", ascending=False, kind="stable").head(theme.MAX_MARKS)
    named = frame.head(_NAMED)
    named = named[named["drop"] > 0.05 * frame["drop"].max()]
    kinds = ["other earlier heads", "previous-token heads (attention above 0.5)"]
    looks = frame["previous_token"] > 0.5
    frame = frame.assign(kind=pd.Categorical(np.where(looks, kinds[1], kinds[0]), kinds))
    lines = (
        f"A head far to the right and high up is what {receiver}'s keys need: one that looks at "
        "the previous token.",
        f"The largest drops are named. {_settings(result)}",
        f"Showing {len(frame):,} of {total:,} heads." if len(frame) < total else "",
    )
    low, high = min(0.0, 1.04 * frame["drop"].min()), 1.04 * max(frame["drop"].max(), 1e-6)
    name = "attention to the previous token"
    x = x_axis("previous_token", name, (0, 1), grid=True, tickCount=5)
    y = y_axis("drop", "drop of prefix matching (attention)", (low, high), tickCount=6)
    chart = scatter(frame, x, y, _path_tips(), named)
    heading = f"Attention to the previous token, against the drop of {receiver}'s prefix matching"
    return figure(chart, heading, *lines)


def composition(result: Circuits) -> alt.HConcatChart:
    """Return the pairs of heads that compose most, through queries, keys and values."""
    table = result.frames["composition"]
    table = table.groupby("kind").head(_PAIRS)
    pairs = list(zip(table["later_layer"], table["later_head"], strict=True))
    kinds = ["into an induction head", "into another head"]
    induction = {result.receiver, *result.receivers}
    frame = table.assign(
        pair=[
            f"{head_name(a, b)} → {head_name(*later)}"
            for a, b, later in zip(table["layer"], table["head"], pairs, strict=True)
        ],
        into=[kinds[pair not in induction] for pair in pairs],
    )
    top = top_of(frame["composition"])
    present = [kind for kind in _KINDS if kind in set(frame["kind"])]
    columns, width = across(len(present), 150, _NAMES)
    panels = [
        _bars(frame[frame["kind"] == kind], kinds, top).properties(
            width=width, title=small(_KINDS[kind])
        )
        for kind in present
    ]
    sender, receiver, rank = head_name(*result.sender), head_name(*result.receiver), result.rank()
    before = int(np.isfinite(result.drop.mean(0)).sum())
    return figure(
        beside(panels, columns, spacing=26),
        f"The {_PAIRS} pairs of heads that compose most, by what the later head reads",
        "Bars: size of the heads' product over the product of their sizes, less random matrices'.",
        f"{sender} → {receiver} through keys: {result.composition[(1, *result.sender, *result.receiver)]:+.3f}, "
        f"rank {rank} of the {before} heads before {receiver}."
        if rank
        else "Queries and keys are normalised in this model, so only values have a product.",
    )


def _bars(frame: pd.DataFrame, kinds: list[str], top: float) -> alt.Chart:
    """Return the pairs of one kind, the strongest on top."""
    colours = [PICK, theme.CATEGORIES[4]]
    axis = alt.Axis(ticks=False, domain=False, labelOverlap=False)
    return (
        alt.Chart(frame)
        .mark_bar(height={"band": 0.7})
        .encode(
            x=alt.X(
                "composition:Q",
                title="composition, above random",
                scale=alt.Scale(domain=[0, top]),
                axis=alt.Axis(grid=True, tickCount=4, labelFlush=False),
            ),
            y=alt.Y(
                "pair:N", title=None, scale=alt.Scale(domain=frame["pair"].tolist()), axis=axis
            ),
            color=alt.Color("into:N", legend=legend(kinds, 2, symbolType="square")).scale(
                domain=kinds, range=colours
            ),
            tooltip=[alt.Tooltip("pair:N", title="pair"), tip("composition", "score", "+.3f")],
        )
        .properties(height=alt.Step(18))
    )


def has_paths(result: Circuits) -> bool:
    """Whether there are earlier heads."""
    return bool(len(_paths(result)))


def has_composition(result: Circuits) -> bool:
    """Whether any pair of heads has a product."""
    return bool(len(result.frames["composition"]))


def sentence(result: Circuits) -> str:
    """Return which earlier head the receiver's keys depend on, and by how much."""
    said = result.summary
    return (
        f"{said['receiver']}'s keys depend most on {said['sender']}: read without what it writes, the "
        f"prefix-matching score falls by {said['drop']:.2f} of {said['prefix_matching']:.2f}. "
        f"{said['sender']} attends to the previous token with {said['sender_previous_token']:.2f}."
    )
