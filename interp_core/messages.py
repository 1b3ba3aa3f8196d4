"""What is said of things that went wrong: one line, printable, of bounded length."""

from __future__ import annotations

import re
from typing import Any

_LONGEST, _LONGEST_VALUE = 1000, 60
_FROM_MLX = re.compile(r"\[[\w:]+\] ")
"""How MLX begins its messages, after the operation that failed."""


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Return ``text`` as one printable line of at most ``longest`` characters.

    Whoever wrote the text, nothing of it can move a terminal's cursor or turn its letters around.
    """
    line = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in " ".join(text.split())
    )
    return line if len(line) <= longest else line[: longest - 3] + "..."


def quoted(value: Any) -> str:
    """Return a value that was not accepted as a message names it: in ASCII, cut where it is long."""
    return one_line(ascii(value) if isinstance(value, str) else repr(value), _LONGEST_VALUE)


def is_internal(error: BaseException) -> bool:
    """Whether a computation failed by itself, rather than for what it was asked."""
    known = isinstance(error, ValueError | OSError)
    return not known or _FROM_MLX.match(str(error)) is not None


def sentence(error: BaseException) -> str:
    """Return what a reader is told of ``error``."""
    text = str(error)
    if isinstance(error, MemoryError) or re.search("allocat|out of memory", text, re.IGNORECASE):
        return one_line(f"There is not enough memory for this. {text}".strip())
    if is_internal(error):
        return one_line(f"The computation failed: {text or type(error).__name__}")
    return one_line(text) or type(error).__name__
