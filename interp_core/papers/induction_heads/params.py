"""What a reader may choose of the search for induction heads."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from interp_core.models.catalogue import DEFAULT
from interp_core.params import MaybeText, Range, parameters
from interp_core.tokens import Bos

Measure = Literal["heads", "circuits", "context"]
Ablation = Literal["zero", "mean", "pattern"]
"""What becomes of an ablated head's output: zero; its mean over positions and sequences; or zero
with every later pattern held as it was (the paper's pattern-preserving ablation)."""
Toy = Literal["1", "2", "3", "1-smeared"]
"""Attention-only models that are trained: their number of layers, and whether keys are smeared."""

Head = tuple[int, int]
"""Layer and head."""

TOYS: tuple[Toy, ...] = ("1", "2", "3", "1-smeared")

MAX_TOKENS = 1024
"""Longest sequence, and longest text."""

WINDOW = 64
"""Most positions of which a pattern is drawn at a time."""

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


def _heads(items: tuple[str, ...]) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word for item in items for word in item.split(",") if word))
    for word in words:
        if parse_head(word) is None and not parse_top(word):
            raise ValueError("accepted: heads as L18H6, or top-8 for the best by prefix matching")
    if len(words) > 1 and any(parse_top(word) for word in words):
        raise ValueError("accepted: either heads by name or one top-n")
    return words


def _toys(items: tuple[Toy, ...]) -> tuple[Toy, ...]:
    if not items:
        raise ValueError("accepted: at least one of 1, 2, 3, 1-smeared")
    return tuple(toy for toy in TOYS if toy in items)


@parameters
class Params:
    """Parameters of the induction heads page; the defaults are the paper's repeated tokens.

    One set of them addresses several analyses: the scores of every head; with ``measure``, the
    circuits behind them or in-context learning; with ``ablate``, what is lost without some heads;
    with ``text``, patterns on it; with ``train``, small models trained from scratch.
    """

    model: Annotated[
        str, Field(min_length=1, max_length=500, description="short name, hub id, folder or GGUF")
    ] = DEFAULT
    tokens: Annotated[
        int, Field(ge=2, le=512, description="random tokens in a sequence, all different")
    ] = 25
    repeats: Annotated[
        int, Field(ge=2, le=16, description="how often they stand in a sequence, in the same order")
    ] = 4
    seeds: Annotated[int, Field(ge=1, le=100, description="sequences")] = 10
    bos: Annotated[
        Bos,
        Field(
            description="the tokenizer's BOS token in front: auto (where it has one), true or false"
        ),
    ] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32, description="of the random tokens")] = 1
    threshold: Annotated[
        float, Field(gt=0, lt=1, description="prefix matching that makes an induction head")
    ] = 0.5
    measure: Annotated[
        Measure,
        Field(
            description="heads (scores of every head), circuits (composition and path patching) "
            "or context (in-context learning over texts)"
        ),
    ] = "heads"
    layer: Annotated[
        int | None,
        Field(ge=0, le=1000, description="layer of the head that is looked at; the best if none"),
    ] = None
    head: Annotated[int | None, Field(ge=0, le=1000, description="its number in the layer")] = None
    ablate: Annotated[
        tuple[str, ...],
        AfterValidator(_heads),
        Field(max_length=64, description="heads to remove: L18H6 L17H4, or top-8"),
    ] = ()
    ablation: Annotated[
        Ablation,
        Field(
            description="how: zero, mean (over positions), or pattern (zero, with later patterns "
            "held as they were)"
        ),
    ] = "zero"
    controls: Annotated[
        int,
        Field(
            ge=1, le=50, description="draws of as many other heads of the same layers, to compare"
        ),
    ] = 8
    text: Annotated[MaybeText, Field(description="text to show patterns on")] = ""
    positions: Annotated[
        Range, Field(description=f"positions of it to draw, at most {WINDOW}, start:stop:stride")
    ] = (0, None, 1)
    texts: Annotated[
        int, Field(ge=2, le=10_000, description="with measure=context: texts to average over")
    ] = 200
    context: Annotated[
        int, Field(ge=32, le=4096, description="with measure=context: tokens of each text")
    ] = 512
    train: Annotated[bool, Field(description="train small attention-only models instead")] = False
    layers: Annotated[
        tuple[Toy, ...],
        AfterValidator(_toys),
        Field(description="with train: models by their layers, of 1, 2, 3 and 1-smeared"),
    ] = TOYS
    steps: Annotated[int, Field(ge=50, le=20_000, description="with train: training steps")] = 1500
    resume: Annotated[
        bool, Field(description="with train: go on from a checkpoint that is kept")
    ] = True


TEXT = (
    "Mrs Abernethy-Kow sold lamps. When the harbour lights went out, the sailors sent for "
    "Mrs Abernethy-Kow, and Mrs Abernethy-Kow sold lamps to every one of them."
)
"""The text that the page opens with; names come back in it."""

PRESETS: dict[str, Params] = {
    "The paper's sequences": Params(),
    "Two long copies": Params(tokens=50, repeats=2, seeds=8),
    "Without the best eight": Params(ablate=("top-8",)),
    "A text": Params(text=TEXT),
}
"""Ready-made settings; their results on the default model ship with the package."""
