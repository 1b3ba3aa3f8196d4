"""What a lens file says of itself, read from its header alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO

from interp_core import model_files

_TENSOR = re.compile(r"translators\.(-1|0|[1-9][0-9]{0,3})\.(weight|bias)")


@dataclass(frozen=True)
class Card:
    """What a lens file says of itself."""

    model: str
    """The model's name."""
    model_sha256: str
    """Of weights, config and tokenizer; empty where the file does not say."""
    d_model: int
    n_layers: int
    """Of the model."""
    corpus: str = ""
    """The text it was trained on."""
    tokens: int = 0
    """Positions that it was trained on, counted again where they were read again."""
    steps: int = 0
    loss: str = "kl"
    made: str = ""
    """The command that trained it, or where it is from."""
    metrics: dict[str, float] | None = None
    """Of held-out text, at the end of its training."""


def about(card: Card, layers: int, *, biases_alone: bool) -> str:
    """Return what a lens was trained on, in words."""
    if not card.steps:
        return card.made
    kind = "biases alone" if biases_alone else f"{layers} layers"
    return f"{kind}, {card.steps:,} steps on {card.tokens:,} tokens of {card.corpus}"


def described(opened: IO[bytes], size: int) -> tuple[Card, str]:
    """Return the card of a lens file of ``size`` bytes and words for the lens, by its header alone.

    Raises:
        ValueError: When it is no such file; the message says what is wrong.
    """
    card, shapes = model_files.described(opened, size, Card)
    d = card.d_model
    for name, shape in shapes.items():
        match = _TENSOR.fullmatch(name)
        if not match or int(match[1]) >= card.n_layers - 1:
            raise ValueError(f"{name[:60]!r} is no translator of a model of {card.n_layers} layers")
        if shape != ((d, d) if match[2] == "weight" else (d,)):
            raise ValueError(f"{name} has the shape {list(shape)}, in a model of width {d}")
    biases = sum(name.endswith(".bias") for name in shapes)
    return card, about(card, biases, biases_alone=biases == len(shapes))
