"""What the questions of this paper share of their parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from interp_core.fields import When
from interp_core.papers.causal_tracing import facts
from interp_core.params import (
    Blocks,
    Layer,
    Layers,
    MaybeText,
    OnModel,
    Text,
    param,
    parameters,
)

Kind = Literal[
    "resid_post", "mlp_out", "attn_out", "mlp_subject", "attn_last", "sever_mlp", "sever_attn", "z"
]
"""What is restored: the stream after a block; a branch's output over a window of blocks; the stream
with a branch held at its corrupted values afterwards; or one head's output."""

MAPS: tuple[Kind, ...] = ("resid_post", "mlp_out", "attn_out")
"""Kinds that give a map of positions by layers."""
SEVERED: tuple[Kind, ...] = ("sever_mlp", "sever_attn")
"""The stream with a branch held afterwards."""
ALONE: dict[Kind, tuple[Kind, str]] = {
    "mlp_subject": ("mlp_out", "last_subject"),
    "attn_last": ("attn_out", "last"),
}
"""Kinds of the paper's two sites alone: what is restored, and the class of the one token where it is."""
AT: dict[Kind, str] = {
    **{kind: token_class for kind, (_, token_class) in ALONE.items()},
    **dict.fromkeys(SEVERED, "last_subject"),
}
"""Kinds that are traced at one token alone, with its class."""

Metric = Literal["probability", "joint_probability", "log_probability", "logit_difference", "kl"]

MAX_TOKENS = 200
"""Longest prompt that is traced: work grows with the cube of the length."""

BY_NOISE = When("corruption", ("gaussian", "uniform"))
BY_TEXT = When("corruption", ("swap", "prompt"))

CORRUPTIONS = {
    "gaussian": "Gaussian noise on the subject",
    "uniform": "uniform noise on the subject",
    "swap": "another subject",
    "prompt": "another prompt",
}
KINDS = {
    "resid_post": "residual stream (resid_post)",
    "mlp_out": "MLP outputs",
    "attn_out": "attention outputs",
    "mlp_subject": "MLP outputs at the last subject token",
    "attn_last": "attention outputs at the last token",
    "sever_mlp": "residual stream, MLPs severed",
    "sever_attn": "residual stream, attention severed",
    "z": "single heads",
}
METRICS = {
    "probability": "probability",
    "joint_probability": "joint probability",
    "log_probability": "log-probability",
    "logit_difference": "logit difference",
    "kl": "KL(clean ‖ run)",
}

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
class Seeded:
    """What stands in front of prompts, and the seed of what is drawn."""

    start: str = param(
        "auto",
        "BOS token",
        "in front of the prompt, which takes the attention sink off the subject: auto (the "
        "end-of-text token, else BOS), none, or a special token's text",
        fold=True,
        max_length=100,
    )
    seed: int = param(1, "Seed", "of what is drawn at random", fold=True, ge=0, lt=2**32)


@parameters
class Prompt(Seeded, OnModel):
    """A prompt whose continuation is a fact."""

    prompt: Text = param(
        "A plane that lands in South Africa is on the continent of",
        "Prompt",
        "text whose continuation is a fact",
        placeholder="Type a prompt.",
    )
    subject: MaybeText = param(
        "",
        "Subject",
        "part of the prompt that is about something; its tokens are corrupted, or edited",
        placeholder="detected automatically",
    )
    answer: MaybeText = param(
        "", "Target token", "continuation that is scored", placeholder="the model's top prediction"
    )


@parameters
class Noise:
    """Noise on the embeddings of the subject."""

    noise: float = param(
        3.0,
        "Noise",
        "size of the noise",
        when=BY_NOISE,
        slider=(0.1, 6.0, 0.1),
        gt=0,
        le=1000,
        allow_inf_nan=False,
    )
    noise_unit: Literal["std", "absolute"] = param(
        "std",
        "Unit of the noise",
        "standard deviations of subjects' embeddings, or absolute",
        when=BY_NOISE,
        names={"std": "standard deviations"},
        fold=True,
    )
    noise_after: int = param(
        -1,
        "Noise after layer",
        "layer whose output the noise is added to; -1: the embeddings, as in the paper",
        when=BY_NOISE,
        fold=True,
        ge=-1,
        le=200,
    )
    samples: int = param(
        3, "Noise samples", "samples of the noise", when=BY_NOISE, slider=(1, 20), ge=1, le=100
    )


@parameters
class Restored:
    """What is restored, and where."""

    window: Blocks = param(
        10, "Window", "layers over which a branch's output is restored", slider=(1, 200)
    )
    kinds: Annotated[tuple[Kind, ...], BeforeValidator(_kinds), AfterValidator(_at_least_one)] = (
        param((*MAPS, *SEVERED), "Restore", "what is restored", names=KINDS)
    )
    layers: Layers = param((0, None, 1), "Layers", "layers to restore at", slider=(0, 1), fold=True)


@parameters
class ManyFacts(Seeded, OnModel):
    """A set of facts."""

    facts: Annotated[str, Field(pattern="^(shipped|[0-9a-f]{16})$")] = param(
        "shipped",
        "Facts",
        "those that come with Lensbook (shipped), or a file's digest",
        file=facts.read,
    )
    limit: int = param(
        50, "Facts at most", "of those that the model knows", slider=(5, 200, 5), ge=1, le=100_000
    )


@parameters
class Edited:
    """Which matrix is edited, and by which covariance of keys."""

    layer: Layer | None = param(None, "Layer", "whose MLP is edited", placeholder="an early one")
    covariance: Literal["text", "identity"] = param(
        "text",
        "Key covariance C",
        "estimated from text, or the identity",
        names={"text": "estimated from text", "identity": "the identity"},
    )


def window_of(layer: int, window: int, n_layers: int) -> range:
    """Return the blocks restored around ``layer``, cut at the ends (released code, trace_window)."""
    start = layer - window // 2
    return range(max(0, start), min(n_layers, start + window))
