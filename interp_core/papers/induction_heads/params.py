"""What the questions of this paper share of their parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from interp_core.params import HeadNumber, Layer, OnModel, param, parameters
from interp_core.tokens import Bos

Ablation = Literal["zero", "mean", "pattern"]
"""What becomes of an ablated head's output: zero; its mean over positions and sequences; or zero
with every later pattern held as it was (the paper's pattern-preserving ablation)."""

Head = tuple[int, int]
"""Layer and head."""

SCORES = (
    "prefix_matching",
    "previous_token",
    "duplicate_token",
    "first_token",
    "current_token",
    "entropy",
)
"""Scores of a pattern: shares of attention, and its entropy in nats."""

KINDS = ("q", "k", "v")
"""What a later head reads of an earlier one's output."""

MAX_TOKENS = 1024
"""Longest sequence, and longest text."""

PREVIOUS = "previous-token"
"""Stands for the head that attends to the previous token most."""

ABLATIONS = {
    "zero": "zero",
    "mean": "mean over positions",
    "pattern": "zero, later patterns held",
}
BOS_NAMES = {"auto": "where the tokenizer has one", True: "always", False: "never"}

_HEAD = re.compile(r"L(\d{1,4})H(\d{1,4})")
_TOP = re.compile(r"top-(\d{1,3})")


def parse_head(text: str) -> Head | None:
    """Return the layer and head of ``L18H6``; None for other text."""
    found = _HEAD.fullmatch(text)
    return None if found is None else (int(found[1]), int(found[2]))


def parse_top(text: str) -> int | None:
    """Return the number of ``top-8``; None for other text."""
    found = _TOP.fullmatch(text)
    return None if found is None else int(found[1])


def head_name(layer: int, head: int) -> str:
    """Return a head as the field writes it, e.g. ``L18H6``."""
    return f"L{layer}H{head}"


def _heads(items: tuple[str, ...]) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word for item in items for word in item.split(",") if word))
    for word in words:
        if parse_head(word) is None and not parse_top(word) and word != PREVIOUS:
            raise ValueError(
                "accepted: heads as L18H6, top-8 for the best by prefix matching, or previous-token "
                "for the head that attends to it most"
            )
    if len(words) > 1 and any(parse_head(word) is None for word in words):
        raise ValueError("accepted: heads by name, or one of top-n and previous-token")
    return words


def _some(items: tuple[str, ...]) -> tuple[str, ...]:
    if not items:
        raise ValueError("accepted: at least one head")
    return items


Heads = Annotated[tuple[str, ...], AfterValidator(_heads), Field(max_length=64)]
"""Heads by name (``L18H6``), the best few (``top-8``), ``previous-token``, or none."""


@parameters
class Front:
    """What stands in front of sequences, and the seed of what is drawn."""

    bos: Bos = param(
        "auto", "BOS token", "the tokenizer's BOS token in front", names=BOS_NAMES, fold=True
    )
    seed: int = param(1, "Seed", "of what is drawn at random", fold=True, ge=0, lt=2**32)


@parameters
class Sequences(Front, OnModel):
    """Random tokens that stand several times in the same order; the paper's by default."""

    tokens: int = param(
        25, "Random tokens", "in a sequence, all different", slider=(2, 100), ge=2, le=512
    )
    repeats: int = param(
        4, "Repetitions", "of the tokens, in the same order", slider=(2, 8), ge=2, le=16
    )
    seeds: int = param(
        10, "Number of sequences", "each of other tokens", slider=(1, 40), ge=1, le=100
    )


@parameters
class Threshold:
    """What makes an induction head."""

    threshold: float = param(
        0.5,
        "Threshold",
        "prefix-matching score above which a head is an induction head",
        slider=(0.05, 0.95, 0.05),
        gt=0,
        lt=1,
    )


def controls_of(default: int, most: int, more: str = "") -> Any:
    """Declare how many other sets of heads are ablated, too; no induction heads are among them."""
    help_ = f"of as many other heads of the same layers{more}"
    return param(default, "Random control sets", help_, slider=(1, most), ge=1, le=50)


def matched(ablated: Sequence[Head], controls: Sequence[Sequence[Head]]) -> bool:
    """Whether every control has as many heads of each layer as are ablated there."""
    layers = sorted(layer for layer, _ in ablated)
    return all(sorted(layer for layer, _ in each) == layers for each in controls)


@parameters
class OneHead:
    """A head of the model."""

    layer: Layer | None = param(None, "Layer", "of the head", placeholder="the best")
    head: HeadNumber | None = param(None, "Head", "its number in the layer", placeholder="the best")


@parameters
class Removed:
    """Which heads are ablated, and how."""

    ablate: Annotated[Heads, AfterValidator(_some)] = param(
        ("top-8",),
        "Heads",
        "to ablate: by name (L18H6), the best few (top-8), or previous-token",
        placeholder="L18H6, top-8 or previous-token",
    )
    ablation: Ablation = param(
        "zero", "Ablation", "what stands in place of a head's output", names=ABLATIONS
    )
