"""Figures of what heads do: losses without them, the paths between them, how they compose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from interp_core.charts import theme
from interp_core.charts.causal_tracing_parts import small, tip, top_of
from interp_core.charts.induction_parts import head_cells, loss_curves, scatter, shown_layers
from interp_core.charts.parts import alt_text, title

if TYPE_CHECKING:
    from interp_core.papers.induction_heads.ablation_result import Ablated
    from interp_core.papers.induction_heads.heads_result import Heads
    from interp_core.papers.induction_heads.paths_result import Circuits

_PAIRS = 20
_NAMED = 5
_KINDS = {"q": "Queries", "k": "Keys", "v": "Values"}
_PICK = theme.CATEGORIES[5]
_WIDTH = 700
CONDITIONS = {
    "none": ("whole model", theme.CATEGORIES[0]),
    "ablated": ("heads ablated", theme.CATEGORIES[5]),
    "others": ("as many other heads ablated, mean of draws", theme.CATEGORIES[6]),
}
"""What each condition is called, and its colour."""


def name_of(layer: int, head: int) -> str:
    """Return a head as the field writes it, e.g. ``L18H6``."""
    return f"L{layer}H{head}"


def signed_ink(values: np.ndarray, bound: float) -> np.ndarray:
    """Return black or white for text on each value's colour of :func:`theme.signed`."""
    return np.where(np.nan_to_num(np.abs(values)) > 0.75 * bound, "#FFFFFF", "#000000")


def sequences(result: Heads | Ablated, count: int) -> str:
    """Return over what a figure's means are."""
    params = result.params
    of = f"{params.tokens} random tokens, {params.repeats} times"
    return f"n = {count} sequence{'s' * (count != 1)} of {of}"


def by_condition(frame: pd.DataFrame) -> tuple[pd.DataFrame, alt.Color]:
    """Return a frame with a ``name`` for each condition, and the colours of these."""
    there = [condition for condition in CONDITIONS if condition in set(frame["condition"])]
    names, colours = zip(*[CONDITIONS[condition] for condition in there], strict=True)
    legend = alt.Legend(
        title=None, orient="bottom", columns=3, symbolType="stroke", symbolOpacity=1
    )
    colour = alt.Color("name:N", legend=legend).scale(domain=[*names], range=[*colours])
    called = {condition: name for condition, (name, _) in CONDITIONS.items()}
    return frame.assign(name=frame["condition"].map(called).astype(object)), colour


def _named_set(result: Ablated) -> str:
    names = [name_of(*pair) for pair in result.heads]
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} heads, {names[0]} first"


def ablation_losses(result: Ablated) -> alt.LayerChart:
    """Return the loss by position, whole and without heads, the copies told apart by rules."""
    frame, colour = by_condition(result.frames["losses"])
    end, tokens = int(frame["position"].max()), result.params.tokens
    starts = [end + 1 - tokens * k for k in range(1, result.params.repeats)][::-1]
    found = result.summary
    heading = title(
        f"Loss by position, without {_named_set(result)}",
        f"On the last copy: {found['base_last_copy_loss']:.1f} nats whole, "
        f"{found['ablated_last_copy_loss']:.1f} without them; as many other heads of the same "
        f"layers cost {found['others_rise']:+.1f}.",
        f"Thin rules: where a copy begins. Bands: 95% intervals, "
        f"{sequences(result, len(result.base))}.",
    )
    x = alt.X(
        "position:Q",
        title="position (tokens)",
        scale=alt.Scale(domain=[1, end], nice=False),
        axis=alt.Axis(format="d", tickMinStep=1),
    )
    curves = loss_curves(frame, x, colour)
    names = [f"copy {copy}" for copy in range(2, len(starts) + 2)]
    rules = alt.Chart(pd.DataFrame({"position": starts, "copy": names})).encode(x=x)
    return alt.layer(
        rules.mark_rule(strokeWidth=1, opacity=0.7),
        curves,
        rules.mark_text(align="left", dx=4, baseline="top").encode(y=alt.value(2), text="copy:N"),
    ).properties(width=_WIDTH, height=320, title=heading, description=alt_text(heading))


def ablation_rises(result: Ablated) -> alt.LayerChart:
    """Return how much the last copy's loss rises without the heads, and without each other draw."""
    frame, colour = by_condition(result.frames["rises"])
    draws = [f"draw {i + 1}" for i in range(len(result.controls))]
    frame = frame.assign(row=["these heads", *draws]).sort_values("rise", ascending=False)
    ratio, (low, high) = result.ratio
    heading = title(
        f"Rise of the last copy's loss without {_named_set(result)}, and without as many others",
        f"Each draw: other heads of the same layers. These heads cost {ratio:.1f} times as much "
        f"[{low:.1f}, {high:.1f}].",
        f"Bars: 95% intervals, {sequences(result, len(result.base))}; {len(draws)} draws.",
    )
    ends = [min(0.0, frame["low"].min()), max(0.0, frame["high"].max())]
    x = alt.X(
        "rise:Q",
        title="rise of the loss (nats)",
        scale=alt.Scale(domain=ends, nice=True),
        axis=alt.Axis(grid=True, tickCount=6),
    )
    rows = alt.Axis(grid=False, ticks=False, domain=False, labelOverlap=False)
    base = alt.Chart(frame).encode(
        y=alt.Y("row:N", title=None, scale=alt.Scale(domain=frame["row"].tolist()), axis=rows),
        color=colour.legend(None),
        tooltip=[
            alt.Tooltip("row:N", title="set"),
            alt.Tooltip("heads:N"),
            tip("rise", "rise (nats)", "+.2f"),
            tip("low", "95% interval from", "+.2f"),
            tip("high", "to", "+.2f"),
        ],
    )
    return alt.layer(
        alt.Chart(pd.DataFrame({"rise": [0]})).mark_rule(strokeWidth=1).encode(x="rise:Q"),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(size=70, filled=True, opacity=1).encode(x=x),
    ).properties(
        width=_WIDTH - 60, height=alt.Step(22), title=heading, description=alt_text(heading)
    )


def ablation_makers(ablated: Ablated) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    """Return what draws each figure of an ablation."""
    return {
        "ablation_losses": partial(ablation_losses, ablated),
        "ablation_rises": partial(ablation_rises, ablated),
    }


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
        name=[name_of(*pair) for pair in pairs], sends=[pair == result.sender for pair in pairs]
    )


def _path_tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("name:N", title="head"),
        tip("drop", "drop of prefix matching", "+.3f"),
        tip("low", "95% interval from", "+.3f"),
        tip("high", "to", "+.3f"),
        tip("previous_token", "attention to the previous token", ".3f"),
        tip("k_composition", "K-composition, above random", "+.3f"),
    ]


def paths(result: Circuits) -> alt.LayerChart:
    """Return layers by heads: what the receiver loses when its keys are read without that head."""
    frame, receiver = _paths(result), name_of(*result.receiver)
    layers, heads = result.receiver[0] + 1, result.patched.shape[2]
    within, bound = shown_layers(layers, heads), top_of(frame["drop"].abs())
    clear = frame["drop"].abs() >= max(0.02, bound / 10)
    frame = frame[frame["layer"].isin(within)].assign(
        ink=signed_ink(frame["drop"].to_numpy(), bound),
        number=frame["drop"].map("{:.2f}".format).where(clear, ""),
        outlined=frame["sends"],
    )
    sender = name_of(*result.sender)
    heading = title(
        f"Drop of {receiver}'s prefix matching when its keys are read without one earlier head",
        f"Outlined: {sender}, without which it drops most. Only what {receiver}'s keys read is "
        "changed, nothing else.",
        f"Ring: {receiver} itself; later heads cannot feed it. {_settings(result)}",
        _last(within, layers),
    )
    legend = alt.Legend(
        orient="right", gradientLength=200, title=["drop of prefix", "matching (attention)"]
    )
    colour = alt.Color("drop:Q", scale=theme.signed(bound), legend=legend)
    cells = head_cells(frame, colour, _path_tips(), within, heads)
    own = pd.DataFrame(
        [{"layer": result.receiver[0], "head": result.receiver[1], "name": receiver}]
    )
    ring = (
        alt.Chart(own)
        .mark_point(size=90, strokeWidth=2.4, color=_PICK, opacity=1, filled=False)
        .encode(x="head:O", y="layer:O", tooltip=alt.Tooltip("name:N", title="receiver"))
    )
    # Nothing else stands in its row.
    right = result.receiver[1] >= heads / 2
    name = ring.mark_text(align="right" if right else "left", dx=-12 if right else 12)
    return alt.layer(cells, ring, name.encode(text="name:N")).properties(
        width=cells.width, height=cells.height, title=heading, description=alt_text(heading)
    )


def _last(within: range, layers: int) -> str:
    some = len(within) < layers
    return f"Showing the last {len(within)} of {layers} layers." if some else ""


def path_scatter(result: Circuits) -> alt.LayerChart:
    """Return each earlier head's attention to the previous token against what its path carries."""
    frame, receiver = _paths(result), name_of(*result.receiver)
    total = len(frame)
    frame = frame.sort_values("drop", ascending=False).head(theme.MAX_MARKS)
    named = frame.head(_NAMED)
    named = named[named["drop"] > 0.05 * frame["drop"].max()]
    kinds = ["other earlier heads", "previous-token heads (attention above 0.5)"]
    looks = frame["previous_token"] > 0.5
    frame = frame.assign(kind=pd.Categorical(np.where(looks, kinds[1], kinds[0]), kinds))
    heading = title(
        f"Attention to the previous token, against the drop of {receiver}'s prefix matching",
        f"A head far to the right and high up is what {receiver}'s keys need: one that looks at "
        "the previous token.",
        f"The largest drops are named. {_settings(result)}",
        f"Showing {len(frame):,} of {total:,} heads." if len(frame) < total else "",
    )
    low, high = min(0.0, 1.04 * frame["drop"].min()), 1.04 * max(frame["drop"].max(), 1e-6)
    x = alt.X(
        "previous_token:Q",
        title="attention to the previous token",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(grid=True, tickCount=5),
    )
    y = alt.Y(
        "drop:Q",
        title="drop of prefix matching (attention)",
        scale=alt.Scale(domain=[low, high], nice=False),
        axis=alt.Axis(grid=True, tickCount=6),
    )
    chart = scatter(frame, x, y, _path_tips(), named)
    return chart.properties(title=heading, description=alt_text(heading))


def composition(result: Circuits) -> alt.HConcatChart:
    """Return the pairs of heads that compose most, through queries, keys and values."""
    table = result.frames["composition"]
    table = table.groupby("kind").head(_PAIRS)
    pairs = list(zip(table["later_layer"], table["later_head"], strict=True))
    kinds = ["into an induction head", "into another head"]
    induction = {result.receiver, *result.receivers}
    frame = table.assign(
        pair=[
            f"{name_of(a, b)} → {name_of(*later)}"
            for a, b, later in zip(table["layer"], table["head"], pairs, strict=True)
        ],
        into=[kinds[pair not in induction] for pair in pairs],
    )
    top = top_of(frame["composition"])
    present = [kind for kind in _KINDS if kind in set(frame["kind"])]
    panels = [
        _bars(frame[frame["kind"] == kind], kinds, top).properties(title=small(_KINDS[kind]))
        for kind in present
    ]
    sender, receiver, rank = name_of(*result.sender), name_of(*result.receiver), result.rank()
    before = int(np.isfinite(result.drop.mean(0)).sum())
    heading = title(
        f"The {_PAIRS} pairs of heads that compose most, by what the later head reads",
        "Bars: size of the heads' product over the product of their sizes, less random matrices'.",
        f"{sender} → {receiver} through keys: {result.composition[(1, *result.sender, *result.receiver)]:+.3f}, "
        f"rank {rank} of the {before} heads before {receiver}."
        if rank
        else "Queries and keys are normalised in this model, so only values have a product.",
    )
    chart = alt.hconcat(*panels, spacing=26).resolve_scale(color="shared")
    return chart.properties(title=heading, description=alt_text(heading))


def _bars(frame: pd.DataFrame, kinds: list[str], top: float) -> alt.Chart:
    """Return the pairs of one kind, the strongest on top."""
    legend = alt.Legend(title=None, orient="bottom", symbolType="square")
    colours = [_PICK, theme.CATEGORIES[4]]
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
            color=alt.Color("into:N", legend=legend).scale(domain=kinds, range=colours),
            tooltip=[alt.Tooltip("pair:N", title="pair"), tip("composition", "score", "+.3f")],
        )
        .properties(width=150, height=alt.Step(18))
    )


def circuit_makers(result: Circuits) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    """Return what draws each figure of circuits."""
    figures: dict[str, Callable[[], alt.TopLevelMixin]] = {}
    if len(_paths(result)):
        figures = {"paths": partial(paths, result), "path_scatter": partial(path_scatter, result)}
    if len(result.frames["composition"]):
        figures["composition"] = partial(composition, result)
    return figures
