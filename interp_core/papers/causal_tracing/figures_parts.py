"""What the figures of a trace and those of its averages share."""

from __future__ import annotations

from typing import Literal

import altair as alt
import pandas as pd

from interp_core.papers.causal_tracing.average import AverageParams
from interp_core.papers.causal_tracing.trace import Params
from interp_core.plot import MAP, below, fit, holds, small, theme

Traced = Params | AverageParams

SCHEMES: dict[str, Literal["state", "MLP", "attention"]] = {
    "resid_post": "state",
    "mlp_out": "MLP",
    "attn_out": "attention",
}
"""The paper's colours by what is restored: purple, green and red."""
CURVES = {
    "resid_post": ("residual stream restored", theme.COMPONENTS["embedding"]),
    "mlp_subject": ("MLPs restored", theme.CATEGORIES[3]),
    "attn_last": ("attention restored at the last token", theme.CATEGORIES[1]),
    "sever_mlp": ("MLPs severed", theme.COMPONENTS["MLP"]),
    "sever_attn": ("attention severed", theme.COMPONENTS["attention"]),
}
"""What has a curve: restored at the last subject token, unless it is at another one alone."""
CLASSES = {
    "first_subject": "first subject token",
    "middle_subject": "middle subject tokens",
    "last_subject": "last subject token",
    "first_subsequent": "first token after it",
    "further": "further tokens",
    "last": "last token",
}
UNITS = {
    "probability": "probability",
    "joint_probability": "joint probability",
    "log_probability": "log probability (nats)",
    "logit_difference": "logit difference (logits)",
    "kl": "KL to the clean run (nats)",
}
WIDTH, NAMES = 640, 240
"""Width of a figure of curves, and room for the names of a map's rows, in pixels."""
AXIS, BARE = 70, 230
"""Room of a vertical axis with its title, and of a map without its names, in pixels."""


def curves(frame: pd.DataFrame) -> dict[str, str]:
    """Return the names and colours of the curves of :data:`CURVES` that a frame holds, in their order."""
    return dict(CURVES[kind] for kind in CURVES if (frame["kind"] == kind).any())


def effect_name(params: Traced, average: bool = False) -> str:
    """Return what an axis calls an effect, with its unit."""
    short = "AIE" if average else "indirect effect"
    return f"{short}: {'drop in ' * (params.metric == 'kl')}{UNITS[params.metric]}"


def gained(frame: pd.DataFrame, params: Traced) -> pd.DataFrame:
    """Return a frame in which more is better: a restored state lowers the KL."""
    if params.metric != "kl":
        return frame
    turned = {"effect": "effect", "aie": "aie", "low": "high", "high": "low"}
    return frame.assign(**{to: -frame[of] for to, of in turned.items() if of in frame})


def panel_title(kind: str, params: Traced) -> alt.TitleParams:
    """Return the title of one panel, short enough for a narrow one."""
    names = {"resid_post": "Residual stream", "mlp_out": "MLPs", "attn_out": "Attention"}
    over = "" if kind == "resid_post" else f", windows of {params.window} layers"
    return small(names[kind] + (over if params.window > 1 else ""))


def maps_beside(count: int, names: int) -> tuple[bool, int]:
    """Return whether so many maps have room side by side, and the width of each.

    ``names`` is the room of the rows' names: beside the first of them, or beside each.
    """
    if holds(names + count * (MAP + 18)):
        return True, MAP
    return False, fit(2 * MAP, fit(names, BARE) + AXIS)


def map_kinds(params: Traced) -> list[str]:
    """Return the kinds that have a map, in the paper's order."""
    return [kind for kind in SCHEMES if kind in params.kinds]


def colour_of(field: str, kind: str, top: float, name: str) -> alt.Color:
    """Return the colours of a kind, up to ``top``."""
    scale = theme.gained(SCHEMES[kind], top)
    return alt.Color(f"{field}:Q", scale=scale, legend=below(name))
