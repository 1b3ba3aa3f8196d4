"""What a reader may choose of steering vectors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from interp_core.artifacts import NAME
from interp_core.fields import When
from interp_core.papers.steering import pairs as contrast
from interp_core.papers.steering import vectors
from interp_core.papers.steering.pairs import BEHAVIOURS, BehaviourName
from interp_core.params import (
    Layer,
    Layers,
    MaybeText,
    OnModel,
    Text,
    param,
    parameters,
)

Protocol = Literal["text", "ab", "last"]
Estimator = Literal["mean", "pca", "logistic"]
Norm = Literal["raw", "unit", "equal"]
Scope = Literal["after", "all", "generated"]
_PROTOCOLS = {
    "text": "answers' texts (ours)",
    "ab": "letters A and B (the paper's)",
    "last": "last token of plain texts",
}
_ESTIMATORS = {
    "mean": "mean difference",
    "pca": "PCA of differences",
    "logistic": "logistic regression",
}
_NORMS = {"raw": "as it is", "unit": "unit length", "equal": "that of all behaviours on average"}
_OPERATORS = {
    "add": "add the vector",
    "remove": "remove the direction",
    "replace": "remove the direction, then add",
    "cap": "cap the projection",
}
SCOPES = {
    "after": "from the end of the instruction on",
    "all": "every token",
    "generated": "generated tokens only",
}
NO_FILE, NO_VECTOR = When("pairs", ("",)), When("vector", ("",))

Brought = Annotated[str, Field(pattern=f"^({NAME})?$")]
"""The name of what a reader brought, or nothing."""


def scope_of(default: Scope = "after") -> Any:
    """Declare which tokens are steered."""
    words = "Steered tokens", "where the vector is added"
    return param(default, *words, names=SCOPES, fold=True)


def tokens_of(what: str) -> Any:
    """Declare how long a text is that the model writes."""
    return param(40, "Tokens", f"of {what}, at most", slider=(10, 100, 5), ge=1, le=1000)


def temperature_of() -> Any:
    """Declare the temperature that tokens are drawn at."""
    words = "Temperature", "0 takes the likeliest token"
    return param(0.0, *words, slider=(0, 2, 0.1), ge=0, le=10, fold=True)


def start_of(scope: Scope, prompt: int) -> int:
    """Return the first position that is steered, of a prompt of so many tokens and what follows it."""
    return {"after": prompt - 1, "all": 0, "generated": prompt}[scope]


def _behaviour(when: When) -> Any:
    words = "Behaviour", "whose contrast pairs are used"
    return param("formality", *words, names=BEHAVIOURS, when=when)


def _pairs(when: When | None = None) -> Any:
    return param(
        "",
        "Your pairs",
        "a file of pairs in their place: JSON, JSON lines or CSV with question, "
        "answer_matching_behavior and answer_not_matching_behavior",
        names={"": "none: a behaviour that ships"},
        file=contrast.read,
        fold=True,
        when=when,
    )


def _protocol(when: When | None = None) -> Any:
    return param(
        "text",
        "Protocol",
        "what is read: the two answers as the assistant's reply (text), the letter of each among the "
        "options A and B (ab), or the last token of either answer as plain text (last)",
        names=_PROTOCOLS,
        when=when,
    )


def _estimator(when: When | None = None) -> Any:
    return param(
        "mean",
        "Estimator",
        "of the direction; PCA and logistic regression get the mean difference's norm",
        names=_ESTIMATORS,
        fold=True,
        when=when,
    )


def _normalise(when: When | None = None) -> Any:
    return param(
        "raw",
        "Norm",
        "of the vector: as it is, 1, or at each layer that of all shipped behaviours on average",
        names=_NORMS,
        fold=True,
        when=when,
    )


@parameters
class WithPairs(OnModel):
    """Contrast pairs, and how a vector is made from them."""

    behaviour: BehaviourName = _behaviour(NO_FILE)
    pairs: Brought = _pairs()
    protocol: Protocol = _protocol()
    estimator: Estimator = _estimator()
    normalise: Norm = _normalise()


def layer_of(layer: int | None, n_layers: int) -> int:
    """Return the layer that is steered: the one asked for, or that at 45% of depth."""
    return int(0.45 * n_layers) if layer is None else layer


@parameters
class Steered(WithPairs):
    """A vector, and how it is applied."""

    estimator: Estimator = _estimator(NO_VECTOR)
    normalise: Norm = _normalise(NO_VECTOR)
    vector: Brought = param(
        "",
        "Your vector",
        "a vector file in place of one made from pairs, as `steering save` writes it",
        names={"": "none: made from the pairs"},
        file=vectors.read,
        kept=vectors.labelled,
        fold=True,
    )
    layer: Layer | None = param(
        None, "Layer", "whose output is steered", slider=(0, 1), placeholder="at 45% of depth"
    )
    operator: Literal["add", "remove", "replace", "cap"] = param(
        "add",
        "Operator",
        "what steering does; removing a direction is the same for v and -v",
        names=_OPERATORS,
        fold=True,
    )
    scope: Scope = scope_of()
    unit: Literal["multiplier", "share"] = param(
        "multiplier",
        "Strength in",
        "multiples of the vector (the paper's), or shares of the residual stream's mean norm",
        names={"multiplier": "multiples of the vector", "share": "shares of the residual's norm"},
        fold=True,
    )
    attention: Literal["free", "frozen"] = param(
        "free",
        "Attention",
        "of later layers: as steering makes it, or frozen to the unsteered model's pattern",
        names={"free": "free", "frozen": "frozen to the unsteered pattern"},
        fold=True,
    )


def _mixed(parts: tuple[str, ...]) -> tuple[str, ...]:
    for part in parts:
        weight_of(part)
    return parts


def weight_of(part: str) -> tuple[BehaviourName, float]:
    """Return the behaviour and the weight that a part of a mixture names, as ``refusal=-0.5``.

    Raises:
        ValueError: When it names none.
    """
    name, _, weight = part.partition("=")
    try:
        value = float(weight)
    except ValueError:
        value = float("nan")
    known = next((each for each in BEHAVIOURS if each == name), None)
    if known is None or not abs(value) <= 100:
        accepted = ", ".join(BEHAVIOURS)
        raise ValueError(f"accepted: behaviour=weight, as refusal=-0.5; behaviours are {accepted}")
    return known, value


@parameters
class Params(Steered):
    """A prompt, answered by the model as it is and steered."""

    behaviour: BehaviourName = _behaviour(When("pairs", ("",), also=NO_VECTOR))
    pairs: Brought = _pairs(NO_VECTOR)
    protocol: Protocol = _protocol(NO_VECTOR)
    prompt: Text = param(
        "I am about to move to a new town where I know nobody. How will it go?",
        "Prompt",
        "what the user says",
    )
    system: MaybeText = param("", "System prompt", "in front of it; none when empty", fold=True)
    multiplier: float = param(
        2.0, "Multiplier", "strength of steering", slider=(-4, 4, 0.25), ge=-1000, le=1000
    )
    through: Layer | None = param(
        None,
        "Through layer",
        "steer all layers from the first to this one, each by its own vector; one layer when empty",
        placeholder="one layer",
        fold=True,
    )
    opposite: bool = param(
        True, "The opposite too", "steer by minus the multiplier, too", fold=True
    )
    mix: Annotated[tuple[str, ...], Field(max_length=8), AfterValidator(_mixed)] = param(
        (),
        "Mix in",
        "vectors of further behaviours, with their weights, as refusal=-0.5",
        slider=(-2, 2, 0.25),
        names=BEHAVIOURS,
        when=NO_VECTOR,
        fold=True,
    )
    also_frozen: bool = param(
        False,
        "Frozen attention too",
        "answers with attention frozen to the unsteered pattern, too, side by side",
        when=When("attention", ("free",)),
        fold=True,
    )
    max_tokens: int = tokens_of("an answer")
    temperature: float = temperature_of()
    seed: int = param(0, "Seed", "of the draws", ge=0, lt=2**32, fold=True)


@parameters
class SweepParams(WithPairs):
    """Every layer, steered by its own vector."""

    layers: Layers = param((0, None, 2), "Layers", "that are steered, one at a time", slider=(0, 1))
    multipliers: Annotated[
        tuple[Annotated[float, Field(ge=-1000, le=1000)], ...], Field(min_length=1, max_length=12)
    ] = param((-1.0, 1.0), "Multipliers", "of the vector; 0 is always there", fold=True)
    scope: Scope = scope_of()


@parameters
class StrengthParams(Steered):
    """One layer, steered more and more."""

    most: float = param(
        2.0, "Largest multiplier", "of either sign", slider=(0.5, 4, 0.5), gt=0, le=100
    )
    steps: int = param(4, "Steps", "from 0 to it", slider=(2, 8), ge=2, le=16, fold=True)
    draws: int = param(
        8, "Random vectors", "of equal norm, and as many of shuffled pairs", ge=2, le=64, fold=True
    )
    documents: int = param(
        24, "Documents", "of unrelated text for the loss", ge=2, le=24, fold=True
    )
    seed: int = param(0, "Seed", "of the random vectors", ge=0, lt=2**32, fold=True)
