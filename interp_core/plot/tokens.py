"""Tokens made visible."""

from __future__ import annotations

import unicodedata

from interp_core.plot import font, theme

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
