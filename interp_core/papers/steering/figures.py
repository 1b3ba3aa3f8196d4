"""Figures of answers, steered and not: coloured tokens, and how they hold together."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.steering.generations import Generations
from interp_core.plot import Passage, figure, fit, gradient, passages, theme, tip

_WIDTH = 760
"""Of an answer, in pixels."""


def answers(result: Generations) -> alt.LayerChart:
    """Return the answers as running text, each token coloured by its projection on the vector."""
    width, texts = fit(_WIDTH), []
    for row, name in enumerate(result.names):
        told = f"{name}: perplexity {result.perplexity[row]:.1f}, distinct-2 {result.distinct[row]:.0%}"
        told += " (broken)" if result.broken[row] else ""
        texts.append(
            Passage(
                told, result.tokens[row], _centred(result)[row], {"surprise": result.surprise[row]}
            )
        )
    what, direction = result.answer, result.direction
    key = gradient(["projection on", direction], width + 120, format=".2~f")
    colour = alt.Color("value:Q", scale=theme.signed(_bound(result)), legend=key)
    tips = [
        tip("value", f"projection on {direction}", ".2f"),
        tip("surprise", "-log p, unsteered (nats)", ".2f"),
    ]
    return figure(
        passages(texts, colour, tips, width),
        f"{what.capitalize()}s, steered at {result.where}",
        f"Colours: projection of the unsteered model's residual stream on {direction}'s direction, less the "
        f"mean over the {what}s.",
        f"Perplexity is that of the {what} under the unsteered model; hover over a token for its own.",
    )


def _bound(result: Generations) -> float:
    values = _centred(result)
    finite = np.abs(values[np.isfinite(values)])
    return float(np.quantile(finite, 0.98)) if len(finite) else 1.0


def _centred(result: Generations) -> np.ndarray:
    """Return projections of the answers' tokens, [row, step], less their mean."""
    own = result.projection[:, len(result.prompt) :]
    return own - np.nanmean(own) if np.isfinite(own).any() else own


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
