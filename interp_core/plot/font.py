"""The font of every figure: its files, the room that a text takes in it, and how pages get it.

Source Sans comes with the project, so that a figure looks alike on every machine. Streamlit brings
the same design under the name of "Source Sans", which the app's figures use.
"""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width

from interp_core.paths import SHIPPED

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

FAMILY = "Source Sans Pro"
STACK = f"{FAMILY}, Source Sans, sans-serif"
"""Families by preference, as Vega, CSS and SVG read them."""
FOLDER = SHIPPED / "fonts"
"""The font's files, under the SIL Open Font License that lies beside them."""
LOADED = "Promise.allSettled([...document.fonts].map((face) => face.load()))"
"""JavaScript that waits until a page can draw and measure with its fonts."""

_FILES = {400: "SourceSansPro-Regular.ttf", 600: "SourceSansPro-Semibold.ttf"}
_EM = 1000
_CUT = "…"
_WIDER = 1.06
"""How much wider a browser may draw a line, as one that hints its fonts, or has another cut of this one, does."""


def width(text: str, size: float, weight: int = 400) -> float:
    """Return the width of a text in pixels.

    What the font lacks is drawn in another one, and taken to be as wide as that is likely to be:
    an em for wide East Asian characters and emoji, nothing for what stands on another
    character or joins two, and about two thirds of an em for the rest.

    Args:
        text: One line.
        size: Of the font, in pixels.
        weight: 400 (regular) or 600 (semibold).
    """
    return sum(_advance(char, weight) for char in text) * size / _EM


@cache
def _advance(char: str, weight: int) -> float:
    if category(char) in ("Mn", "Me", "Cf"):
        return 0
    return _EM if east_asian_width(char) in "WF" else _font(weight).getlength(char)


@cache
def _font(weight: int) -> FreeTypeFont:
    from PIL import ImageFont  # none of the app's first page needs it

    basic = ImageFont.Layout.BASIC
    return ImageFont.truetype(FOLDER / _FILES[weight], _EM, layout_engine=basic)


def cut(text: str, room: float, size: float, weight: int = 400) -> str:
    """Return a text, or as much of its beginning as fits into ``room`` pixels with an ellipsis."""
    if width(text, size, weight) <= room:
        return text
    kept = text
    while kept and width(kept + _CUT, size, weight) > room:
        kept = kept[:-1]
    return kept + _CUT


def wrapped(text: str, room: float, size: float, weight: int = 400) -> list[str]:
    """Return a text in lines of at most ``room`` pixels; a longer word has a line of its own."""
    first, *words = text.split(" ")
    lines = [first]
    for word in words:
        longer = f"{lines[-1]} {word}"
        if _WIDER * width(longer, size, weight) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@cache
def faces() -> str:
    """Return the CSS that gives a page the font; it holds the files and loads nothing."""
    return "".join(_face(weight, FOLDER / f"{name}.woff2") for weight, name in _FILES.items())


def _face(weight: int, file: Path) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    return (
        f'@font-face{{font-family:"{FAMILY}";font-weight:{weight};'
        f'src:url(data:font/woff2;base64,{data})format("woff2")}}'
    )
