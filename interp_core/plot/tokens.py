"""Tokens made visible."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from interp_core.plot import font, theme

_BYTES = re.compile(r"\\x([89a-f][0-9a-f])")
"""A byte that is no character by itself, as tokens are written."""
_JOINERS = "\u200c\u200d"
_BREAKS = {"\n": "↵", "\t": "⇥", "\r": "␍", "\x7f": "␡"}


def shown(token: str) -> str:
    """Return a token with everything that has no glyph made visible; ``·`` stands for a space."""
    return "".join(map(_shown, token)) or "∅"


def spaced(text: str) -> str:
    """Return a text with its spaces as they are, and all else that has no glyph made visible."""
    return " ".join(shown(word) if word else "" for word in text.split(" "))


def formed(tokens: Sequence[str]) -> list[str]:
    """Return tokens that follow each other, bytes of one character with that and which part they are.

    Two tokens of two bytes are ``é(1/2)`` and ``é(2/2)``; bytes that form none stay as they are.
    """
    parts = [_BYTES.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text) for text in tokens]
    raw = [part.encode("utf-8", "surrogateescape") for part in parts]
    owner = np.repeat(np.arange(len(raw)), [len(part) for part in raw])
    texts, at = [""] * len(raw), 0
    for char in b"".join(raw).decode("utf-8", "surrogateescape"):
        lone = 0xDC80 <= ord(char) <= 0xDCFF
        size = 1 if lone else len(char.encode())
        of = dict.fromkeys(owner[at : at + size].tolist())
        at += size
        for part, i in enumerate(of, 1):
            whole = f"\\x{ord(char) - 0xDC00:02x}" if lone else char
            texts[i] += whole if len(of) == 1 else f"{char}({part}/{len(of)})"
    return texts


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
