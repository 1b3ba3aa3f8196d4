"""Pieces of figures: tokens made visible, the axis of layers, titles."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import chain

import altair as alt
import numpy as np

from interp_core.charts import theme
from interp_core.plot import font

_TITLE = 720
"""Width to which the lines under a title are broken, in pixels."""
_JOINERS = "\u200c\u200d"
_BREAKS = {"\n": "↵", "\t": "⇥", "\r": "␍", "\x7f": "␡"}


def shown(token: str) -> str:
    """Return a token with everything that has no glyph made visible; ``·`` stands for a space."""
    return "".join(map(_shown, token)) or "∅"


def spaced(text: str) -> str:
    """Return a text with its spaces as they are, and all else that has no glyph made visible."""
    return " ".join(shown(word) if word else "" for word in text.split(" "))


def label(token: str, room: float) -> str:
    """Return a token as an axis names it, cut where it needs more than ``room`` pixels."""
    return font.cut(shown(token), room, theme.LABEL)


def _shown(char: str) -> str:
    if char in _BREAKS:
        return _BREAKS[char]
    if char < " ":
        return chr(0x2400 + ord(char))
    kind = unicodedata.category(char)
    if kind == "Zs":
        return "·"
    # Format characters could turn the text around them; joiners only shape emoji and letters.
    hidden = kind in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in _JOINERS
    return f"⟨U+{ord(char):04X}⟩" if hidden else char


def layer_name(layer: int, output: int | None) -> str:
    """Return what an axis calls a layer; ``output`` is the one that is the model's own output."""
    if layer < 0:
        return "embed"
    return f"{layer} (output)" if layer == output else str(layer)


def layer_axis(layers: Sequence[int] | np.ndarray, *, named: bool = True) -> alt.X:
    """Return the horizontal axis of curves over layers, from the embedding to the output.

    Without ``named`` it has ticks only, for panels above one that has the names.
    """
    first, last = int(min(layers)), int(max(layers))
    step = max(1, int(np.ceil((last - first) / 8 / 5)) * 5) if last - first > 10 else 1
    inner = [tick for tick in range(0, last, step) if tick - first > 1 and last - tick > step / 2]
    axis = alt.Axis(
        values=sorted({first, *inner, last}),
        labelExpr="datum.value < 0 ? 'embed' : datum.label",
        labels=named,
        labelFlush=False,
        format="d",
    )
    scale = alt.Scale(domain=[first, max(last, first + 1)], nice=False, zero=False)
    return alt.X("layer:Q", title="layer" if named else None, axis=axis, scale=scale)


def rank_axis(field: str) -> alt.Y:
    """Return the vertical axis of ranks counted from 1: logarithmic, the likeliest on top."""
    decades = [10**power for power in range(7)]
    return alt.Y(
        field,
        title="rank (log scale; 1 = likeliest)",
        scale=alt.Scale(type="log", reverse=True, domainMin=1),
        axis=alt.Axis(values=decades, format=",d", grid=True),
    )


def title(text: str, *lines: str) -> alt.TitleParams:
    """Return a title that states what is plotted over sentences that say what to see."""
    wrapped = [font.wrapped(line, _TITLE, theme.LABEL) for line in lines if line]
    return alt.TitleParams(text, subtitle=[*chain.from_iterable(wrapped)])


def alt_text(heading: alt.TitleParams) -> str:
    """Return the title and its lines as a description, for those who cannot see the figure."""
    return " ".join([f"{heading.text}.", *heading.subtitle])


def points() -> alt.OverlayMarkDef:
    """Return the dots on a line, where hovering tells its values."""
    return alt.OverlayMarkDef(size=28, filled=True, strokeWidth=0)
