"""What a reader may choose of causal tracing and of the edit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from interp_core.models.catalogue import DEFAULT
from interp_core.params import MaybeText, Range, Text, parameters

Kind = Literal["resid_post", "mlp_out", "attn_out", "sever_mlp", "sever_attn", "z"]
"""What is restored: the stream after a block; a branch's output over a window of blocks; the stream
with a branch held at its corrupted values afterwards; or one head's output."""

MAPS: tuple[Kind, ...] = ("resid_post", "mlp_out", "attn_out")
"""Kinds that give a map of positions by layers."""
SEVERED: tuple[Kind, ...] = ("sever_mlp", "sever_attn")
"""Kinds that are traced at the last subject token alone."""

Corruption = Literal["gaussian", "uniform", "swap", "prompt"]
Metric = Literal["probability", "joint_probability", "log_probability", "logit_difference", "kl"]

MAX_TOKENS = 200
"""Longest prompt that is traced: work grows with the cube of the length."""

_PAPERS_WORDS = {"hidden": "resid_post", "mlp": "mlp_out", "attn": "attn_out", "head": "z"}
"""The released code's names for kinds, which its readers may use."""


def _kinds(value: Any) -> Any:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        return value
    words = [word for item in items for word in str(item).split(",")]
    return tuple(dict.fromkeys(_PAPERS_WORDS.get(word, word) for word in words))


def _at_least_one(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    if not kinds:
        raise ValueError("accepted: at least one kind")
    return kinds


@parameters
class Params:
    """Parameters of causal tracing; the defaults are the paper's, with fewer noise samples.

    One set of them addresses four analyses: the trace of a prompt; with ``facts``, averages over a
    set of facts; with ``edit``, the rewriting of a prompt's fact; with both, the edit's scores.
    """

    prompt: Annotated[Text, Field(description="text whose continuation is a fact")] = (
        "A plane that lands in South Africa is on the continent of"
    )
    model: Annotated[
        str, Field(min_length=1, max_length=500, description="short name, hub id, folder or GGUF")
    ] = DEFAULT
    subject: Annotated[
        MaybeText, Field(description="part of the prompt that is corrupted; guessed if empty")
    ] = ""
    answer: Annotated[
        MaybeText, Field(description="continuation that is followed; the model's own if empty")
    ] = ""
    start: Annotated[
        str,
        Field(
            max_length=100,
            description="token in front, which takes the attention sink off the subject: auto (the "
            "end-of-text token, else BOS), none, or a special token's text",
        ),
    ] = "auto"
    corruption: Annotated[
        Corruption,
        Field(
            description="noise on the subject's embeddings (gaussian, uniform), another subject of "
            "equal token length (swap), or another prompt of equal token length (prompt)"
        ),
    ] = "gaussian"
    noise: Annotated[
        float, Field(gt=0, le=1000, allow_inf_nan=False, description="size of the noise")
    ] = 3.0
    noise_unit: Annotated[
        Literal["std", "absolute"],
        Field(description="in standard deviations of subjects' embeddings, or as it is"),
    ] = "std"
    swap: Annotated[
        MaybeText,
        Field(description="the subject of corruption=swap, or prompt of corruption=prompt"),
    ] = ""
    samples: Annotated[int, Field(ge=1, le=100, description="draws of the noise")] = 3
    window: Annotated[
        int, Field(ge=1, le=200, description="blocks over which a branch's output is restored")
    ] = 10
    kinds: Annotated[
        tuple[Kind, ...],
        BeforeValidator(_kinds),
        AfterValidator(_at_least_one),
        Field(
            description="what to restore: resid_post, mlp_out, attn_out, sever_mlp, sever_attn, z"
        ),
    ] = (*MAPS, *SEVERED)
    layers: Annotated[Range, Field(description="blocks to restore at, start:stop:stride")] = (
        0,
        None,
        1,
    )
    positions: Annotated[Range, Field(description="positions to restore, start:stop:stride")] = (
        0,
        None,
        1,
    )
    metric: Annotated[
        Metric,
        Field(
            description="of the answer's first token, of all its tokens (joint_probability), or "
            "KL(clean || run) in nats"
        ),
    ] = "probability"
    foil: Annotated[
        MaybeText, Field(description="the other token of logit_difference; swap's answer if empty")
    ] = ""
    seed: Annotated[int, Field(ge=0, lt=2**32, description="of the noise")] = 1
    facts: Annotated[
        str,
        Field(
            pattern="^(|shipped|[0-9a-f]{16})$",
            description="a set of facts to average over: shipped, or a file's digest",
        ),
    ] = ""
    limit: Annotated[
        int, Field(ge=1, le=100_000, description="at most so many of the facts that are known")
    ] = 1000
    resume: Annotated[
        bool, Field(description="with facts: take those traced before from where they are kept")
    ] = True
    edit: Annotated[bool, Field(description="rewrite the fact by a rank-one update")] = False
    new_object: Annotated[MaybeText, Field(description="what the edit makes the answer")] = ""
    layer: Annotated[
        int | None,
        Field(ge=0, le=1000, description="block whose MLP is edited; an early one if none"),
    ] = None
    watch: Annotated[
        tuple[Text, ...],
        Field(max_length=12, description="with edit: other prompts to compare before and after"),
    ] = ()
    covariance: Annotated[
        Literal["text", "identity"],
        Field(description="C of the update: measured on text, or the identity"),
    ] = "text"


def window_of(layer: int, window: int, n_layers: int) -> range:
    """Return the blocks restored around ``layer``, cut at the ends (released code, trace_window)."""
    start = layer - window // 2
    return range(max(0, start), min(n_layers, start + window))


PRESETS: dict[str, Params] = {
    "A continent": Params(samples=10),
    "A landmark": Params(
        prompt="The Eiffel Tower is located in the city of", subject="The Eiffel Tower"
    ),
    "A gas": Params(
        prompt="Of the three states of matter, oxygen at room temperature is a", subject="oxygen"
    ),
    "A state": Params(
        prompt="San Diego is a large city in the American state of", subject="San Diego"
    ),
    "Another subject": Params(
        subject="South Africa",
        corruption="swap",
        swap="North Korea",
        samples=1,
        window=1,
        kinds=("resid_post", "mlp_out", "attn_out", "z"),
        metric="logit_difference",
    ),
}
"""Ready-made settings; their results on the default model ship with the package."""
