"""What a reader may choose of the logit lens of one prompt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from interp_core.params import (
    Layers,
    OnModel,
    Positions,
    Text,
    TokenText,
    View,
    param,
    parameters,
)
from interp_core.tokens import Bos

MAX_TOKENS = 1024
"""Longest prompt: beyond it a page of layers by positions no longer responds."""

FINAL = "final top"
"""The target that is the model's own top token."""

BOS_NAMES = {"auto": "as the tokenizer does", True: "always", False: "never"}


@parameters
class Params(OnModel):
    """A prompt, what is read of it, and how; the defaults are a factual prompt."""

    prompt: Text = param(
        "The Eiffel Tower is located in the city of",
        "Prompt",
        "text to read",
        placeholder="Type a prompt.",
    )
    layers: Layers = param(
        (0, None, 1),
        "Layers",
        "blocks to read; from 0 on, the embedding too",
        slider=(0, 1),
    )
    positions: Positions = param((0, None, 1), "Positions", "positions to read")
    stream: Literal["resid_post", "resid_mid", "attn_out", "mlp_out"] = param(
        "resid_post",
        "Component",
        "what is read at each layer",
        names={
            "resid_post": "residual stream (resid_post)",
            "resid_mid": "after attention (resid_mid)",
            "attn_out": "attention output (attn_out)",
            "mlp_out": "MLP output (mlp_out)",
        },
    )
    watch: Annotated[tuple[TokenText, ...], Field(max_length=8)] = param(
        (),
        "Track tokens",
        "one token each, leading space included, as it stands in the text",
        visible=True,
        placeholder="type a token",
    )
    top_k: int = param(
        10,
        "Top tokens",
        "most likely tokens to keep per cell",
        ge=1,
        le=100,
        slider=(1, 100),
        fold=True,
    )
    bos: Bos = param(
        "auto", "BOS token", "the tokenizer's BOS token in front", names=BOS_NAMES, fold=True
    )
    chat: bool = param(
        False, "Chat format", "put the prompt into the model's chat format", fold=True
    )
    skip_first: int = param(
        1,
        "Positions left out of averages",
        "leading positions; position 0 is the attention sink of most models",
        ge=0,
        le=64,
        slider=(0, 64),
        fold=True,
        identity=False,
    )


@parameters
class LensView(View):
    """The cell that is read, and the colours and tokens of the figures."""

    colour: Literal["probability", "entropy", "kl", "rank", "cross_entropy"] = param(
        "probability",
        "Colour",
        "what colours the cells",
        names={
            "kl": "KL(final ‖ layer)",
            "rank": "rank of the final top token",
            "cross_entropy": "surprisal of the actual next token",
        },
    )
    layer: int | None = param(
        None,
        "Layer",
        "of the cell that is read; a click on a cell sets it",
        ge=-1,
        le=1000,
        placeholder="the last",
    )
    position: int | None = param(
        None,
        "Position",
        "of the cell that is read; a click on a cell sets it",
        ge=0,
        le=MAX_TOKENS,
        placeholder="the last",
    )
    scale: Literal["probability", "rank"] = param("probability", "Scale", "what the curves show")
    target: str = param(
        FINAL,
        "Target token",
        "whose logit is attributed",
        max_length=200,
        names={FINAL: "the final top token"},
        visible=True,
        options=lambda result: [FINAL, *(result.vocabulary[int(i)] for i in result.watched)],
    )
