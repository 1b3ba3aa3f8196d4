"""Figures of answers, steered and not: coloured tokens, and how they hold together."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.steering.generations import Generations
from interp_core.plot import figure, fit, formed, gradient, layered, shown, theme, tip
from interp_core.plot import font as measured

_WIDTH, _LINE, _HEAD, _SPACE = 760, 22, 30, 12
"""Width of an answer, height of a line and of what stands above an answer, room after it, in pixels."""


def answers(result: Generations) -> alt.LayerChart:
    """Return the answers as running text, each token coloured by its projection on the vector."""
    width = fit(_WIDTH)
    rows, heads, y = [], [], 0.0
    bound = _bound(result)
    for row, name in enumerate(result.names):
        told = f"{name}: perplexity {result.perplexity[row]:.1f}, distinct-2 {result.distinct[row]:.0%}"
        heads.append(
            {"y": y + _HEAD / 2, "name": told + (" (broken)" if result.broken[row] else "")}
        )
        y += _HEAD
        placed, y = _placed(result, row, width, y)
        rows += placed
        y += _SPACE
    frame = pd.DataFrame(
        rows, columns=["x", "x2", "y", "y2", "text", "token", "projection", "surprise"]
    )
    scale = alt.Scale(domain=[0, width], nice=False)
    down = alt.Scale(domain=[y, 0], nice=False)
    base = alt.Chart(frame).encode(
        tooltip=[
            alt.Tooltip("token:N"),
            tip("projection", "projection on the vector", ".2f"),
            tip("surprise", "-log p, unsteered (nats)", ".2f"),
        ]
    )
    boxes = base.mark_rect(cornerRadius=2, opacity=0.75).encode(
        x=alt.X("x:Q", scale=scale, axis=None),
        x2="x2:Q",
        y=alt.Y("y:Q", scale=down, axis=None),
        y2="y2:Q",
        color=alt.Color(
            "projection:Q",
            scale=theme.signed(bound),
            legend=gradient(["projection on", "the vector"], width + 120, format=".2~f"),
        ),
    )
    words = (
        alt.Chart(frame.assign(middle=(frame["y"] + frame["y2"]) / 2))
        .mark_text(align="left", baseline="middle", fontSize=theme.LABEL, dx=1)
        .encode(x=alt.X("x:Q", scale=scale), y=alt.Y("middle:Q", scale=down), text="text:N")
    )
    names = (
        alt.Chart(pd.DataFrame(heads))
        .mark_text(align="left", baseline="middle", fontSize=theme.LABEL, fontWeight=600)
        .encode(x=alt.value(0), y=alt.Y("y:Q", scale=down), text="name:N")
    )
    return figure(
        layered(boxes, words, names, width=width, height=max(y, 40)),
        f"Answers, steered at {result.where}",
        "Colours: projection of the unsteered model's residual stream on the vector's direction, less the "
        "mean over the answers.",
        "Perplexity is that of the answer under the unsteered model; hover over a token for its own.",
    )


def _bound(result: Generations) -> float:
    values = _centred(result)
    finite = np.abs(values[np.isfinite(values)])
    return float(np.quantile(finite, 0.98)) if len(finite) else 1.0


def _centred(result: Generations) -> np.ndarray:
    """Return projections of the answers' tokens, [row, step], less their mean."""
    own = result.projection[:, len(result.prompt) :]
    return own - np.nanmean(own) if np.isfinite(own).any() else own


def _placed(result: Generations, row: int, width: float, y: float) -> tuple[list[tuple], float]:
    """Return an answer's tokens in lines, and where it ends."""
    tokens, values = result.tokens[row], _centred(result)[row]
    rows, x = [], 0.0
    for step, text in enumerate(formed(tokens)):
        visible = text if text.strip() and "\n" not in text else shown(text)
        size = measured.width(visible, theme.LABEL) + 2
        if x and x + size > width:
            x, y = 0.0, y + _LINE
        value = values[step] if np.isfinite(values[step]) else None
        surprise = result.surprise[row, step]
        rows.append((x, x + size, y, y + _LINE - 2, visible, shown(text), value, surprise))
        x += size
    return rows, y + _LINE


def measures(result: Generations) -> pd.DataFrame:
    """Return the answers with what is measured of them, a row each."""
    frame = result.frames["generations"]
    return pd.DataFrame(
        {
            "steering": result.names,
            "perplexity (unsteered model)": frame["perplexity"].round(1),
            "distinct-2": frame["distinct_2"].round(2),
            "tokens repeated": frame["repeated"].round(2),
            "holds together": np.where(frame["broken"], "no", "yes"),
        }
    )


def sentence(result: Generations) -> str:
    """Return what steering did to the answer, and whether it still holds together."""
    if len(result.texts) < 2:
        return f"The unsteered model's answer has a perplexity of {result.perplexity[0]:.1f}."
    said = (
        f"Steered at {result.where} by {result.strengths[1]:+g}, the answer's perplexity under the "
        f"unsteered model is {result.perplexity[1]:.1f}; unsteered it is {result.perplexity[0]:.1f}."
    )
    broken = [name for name, broken in zip(result.names, result.broken, strict=True) if broken]
    if broken:
        said += f" At this strength the model breaks ({'; '.join(broken)}): try less."
    if result.params.operator == "remove":
        said += " Removing a direction is the same for v and -v."
    return said
