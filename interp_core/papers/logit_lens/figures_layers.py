"""Curves over layers: the means over one prompt, and the survey's statistics with intervals."""

from __future__ import annotations

import altair as alt
import pandas as pd

from interp_core.findings import counted
from interp_core.papers.logit_lens.figures import AXIS
from interp_core.papers.logit_lens.lens import LogitLens
from interp_core.papers.logit_lens.prompts import Averages
from interp_core.plot import ends, figure, fit, layer_axis, points, rank_axis

_WIDTH = 640
_PANELS = {"kl": "KL (nats)", "entropy": "entropy (nats)", "agreement": "agreement (share)"}

STATISTICS = {
    "kl": (
        "Mean KL(output || layer), by layer",
        "KL (nats)",
        "At 0 the layer's readout is the output.",
    ),
    "entropy": (
        "Mean entropy of the readout, by layer",
        "entropy (nats)",
        "At 0 the readout is certain of one token.",
    ),
    "agreement": (
        "Positions where the readout names the output's token, by layer",
        "share of positions",
        "At 100% every readout names the output's token.",
    ),
    "median_rank": (
        "Median rank of the output's token, by layer",
        "rank",
        "At 1 at least half of the readouts name the output's token.",
    ),
    "input_share": (
        "Positions where the readout names the input token, by layer",
        "share of positions",
        "At 0% no readout looks like the input.",
    ),
}
"""By statistic: what is plotted, its unit, what to see."""


def layers(result: LogitLens) -> alt.VConcatChart:
    """Return the means over this prompt's positions, by layer: KL, entropy, agreement."""
    frame = result.frames["layers"]
    panels = [_panel(frame, column, unit, result) for column, unit in _PANELS.items()]
    return figure(
        alt.vconcat(*panels, spacing=12),
        "KL to the output, entropy and agreement with it, by layer",
        _averaged(frame, result.params.skip_first),
        _off_scale(frame, "kl"),
    )


def _averaged(frame: pd.DataFrame, skipped: int) -> str:
    """Return what the means are taken over, as a sentence."""
    if frame.empty:
        return f"Nothing to average: positions below {skipped} are left out, and no other was read."
    count = int(frame["positions"].iloc[0])
    over = f"{count:,} positions" if count > 1 else "1 position"
    without = f", without those below {skipped}" if skipped else ""
    return f"Means over {over} of this prompt{without}."


def _panel(frame: pd.DataFrame, column: str, unit: str, result: LogitLens) -> alt.Chart:
    """Return one small multiple; only the last one carries the labels of the layers."""
    share, last = column == "agreement", column == list(_PANELS)[-1]
    x = layer_axis(result.layers, named=last)
    axis = alt.Axis(grid=True, format="%" if share else "~r", tickCount=4, minExtent=44)
    scale = alt.Scale(domain=[0, 1]) if share else alt.Scale(domainMin=0)
    tip = alt.Tooltip(f"{column}:Q", title=unit, format=".0%" if share else ".2f")
    return (
        alt.Chart(frame if share else _on_scale(frame, column), width=fit(_WIDTH, AXIS), height=105)
        .mark_line(point=points(), strokeWidth=2.2)
        .encode(
            x=x,
            y=alt.Y(f"{column}:Q", title=unit, axis=axis, scale=scale),
            tooltip=[alt.Tooltip("layer:Q"), tip],
        )
    )


def _on_scale(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rows without the embedding where it would flatten the curve of the blocks."""
    blocks = frame[frame["layer"] >= 0]
    far = frame.loc[frame["layer"] < 0, column].max() > 2 * blocks[column].max()
    return blocks if far else frame


def _off_scale(frame: pd.DataFrame, column: str) -> str:
    """Return what to say of the embedding where :func:`_on_scale` leaves it out."""
    if len(_on_scale(frame, column)) == len(frame):
        return ""
    value = frame.loc[frame["layer"] < 0, column].iloc[0]
    return f"The embedding is off the scale, at {value:.0f} nats."


def average(result: Averages, name: str) -> alt.LayerChart:
    """Return the curve of one of the statistics in :data:`STATISTICS`."""
    frame = result.frames["averages"]
    frame = frame[frame["statistic"] == name]
    what, unit, see = STATISTICS[name]
    share, ranked = unit.startswith("share"), name == "median_rank"
    off = _off_scale(frame, "value") if unit.endswith("(nats)") else ""
    if off:
        frame = _on_scale(frame, "value")
    if ranked:
        frame = frame.assign(**{end: frame[end] + 1 for end in ("value", "low", "high")})
    count = f"{result.n_prompts:,} {result.of}, of {result.n_positions:,} positions"
    form = ".1%" if share else ",.0f" if ranked else ".2f"
    base = alt.Chart(frame).encode(
        x=layer_axis(result.layers),
        tooltip=[
            alt.Tooltip("layer:Q"),
            alt.Tooltip("value:Q", title=unit, format=form),
            *ends(form),
        ],
    )
    band = base.mark_area(opacity=0.25).encode(y="low:Q", y2="high:Q")
    line = base.mark_line(point=points(), strokeWidth=2.2)
    line = line.encode(y=_value_axis(unit, share, ranked))
    said = f"{see} Band: 95% interval, n = {count} ({result.provenance.model.id})."
    return figure(alt.layer(band, line), what, said, off, width=fit(_WIDTH, AXIS), height=240)


def _value_axis(unit: str, share: bool, ranked: bool) -> alt.Y:
    if ranked:
        return rank_axis("value:Q")
    axis = alt.Axis(grid=True, format="%" if share else "~r", tickCount=6)
    scale = alt.Scale(domain=[0, 1]) if share else alt.Scale(domainMin=0)
    return alt.Y("value:Q", title=unit, axis=axis, scale=scale)


def sentence(result: Averages) -> str:
    """Return how much was read, and how many of the claims hold."""
    what = result.of if result.of == result.params.text else f"{result.of} of {result.params.text}"
    return (
        f"Over {result.n_prompts} {what} ({result.n_positions:,} positions), "
        f"{counted(result.own_findings)}."
    )
