"""What a reader may choose of the logit lens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from interp_core.models.catalogue import DEFAULT
from interp_core.params import Range, Text, TokenText, parameters
from interp_core.tokens import Bos

Stream = Literal["resid_post", "resid_mid", "attn_out", "mlp_out"]

MAX_TOKENS = 1024
"""Longest prompt: beyond it a page of layers by positions no longer responds."""


@parameters
class Params:
    """Parameters of the logit lens; the defaults are a factual prompt on the default model."""

    prompt: Annotated[Text, Field(description="text to read")] = (
        "The Eiffel Tower is located in the city of"
    )
    model: Annotated[
        str, Field(min_length=1, max_length=500, description="short name, hub id, folder or GGUF")
    ] = DEFAULT
    layers: Annotated[
        Range, Field(description="blocks to read, start:stop:stride; from 0 includes the embedding")
    ] = (0, None, 1)
    positions: Annotated[Range, Field(description="positions to read, start:stop:stride")] = (
        0,
        None,
        1,
    )
    top_k: Annotated[
        int, Field(ge=1, le=100, description="most likely tokens to keep per cell")
    ] = 10
    stream: Annotated[
        Stream,
        Field(
            description="read the stream after the block or after attention, or a branch's output"
        ),
    ] = "resid_post"
    watch: Annotated[
        tuple[TokenText, ...],
        Field(max_length=8, description="tokens to follow, leading space included"),
    ] = ()
    chat: Annotated[bool, Field(description="put the prompt into the model's chat format")] = False
    bos: Annotated[
        Bos, Field(description="a BOS token in front: auto (as the tokenizer does), true or false")
    ] = "auto"
    skip_first: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="leading positions left out of every average (0 is the attention sink)",
        ),
    ] = 1


PRESETS: dict[str, Params] = {
    "A fact": Params(watch=(" Paris", " London")),
    "A sum": Params(
        prompt="Two plus three equals five. Four plus five equals nine. Three plus three equals",
        watch=(" six", " five"),
    ),
    "A pattern": Params(prompt="red blue green red blue green red blue", watch=(" green", " red")),
    "Agreement": Params(
        prompt="The keys that the old man had lost in the garden", watch=(" were", " was")
    ),
    "Code": Params(prompt="def add(a, b):\n    return a", watch=(" +", " -")),
    "A chat turn": Params(prompt="What is the capital of France?", chat=True),
}
"""Ready-made settings; their results on the default model ship with the package."""
