"""What a reader may choose of sparse autoencoders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from interp_core import corpus
from interp_core.fields import When
from interp_core.papers.sparse_autoencoder import dictionary, formats
from interp_core.papers.steering.params import (
    Scope,
    scope_of,
    temperature_of,
    tokens_of,
)
from interp_core.papers.tuned_lens.params import OWN, CorpusName, TextName, TrainingText
from interp_core.params import Layer, MaybeText, OnModel, Text, View, param, parameters

Part = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post", "z"]
Architecture = Literal["topk", "standard", "batchtopk", "matryoshka"]
PARTS = {
    "resid_post": "residual stream (resid_post)",
    "resid_mid": "residual stream after attention (resid_mid)",
    "resid_pre": "residual stream before the layer (resid_pre)",
    "attn_out": "attention output (attn_out)",
    "mlp_out": "MLP output (mlp_out)",
    "mlp_post": "MLP neurons (mlp_post)",
    "z": "attention heads' outputs (z)",
}
TRAINED = {
    "topk": "TopK",
    "standard": "ReLU and L1 (the paper's)",
    "batchtopk": "BatchTopK",
    "matryoshka": "Matryoshka BatchTopK",
}
FeatureNumber = Annotated[int, Field(ge=0, lt=10_000_000)]


@parameters
class WithSae(OnModel):
    """A question that is asked with a dictionary."""

    sae: Annotated[str, Field(pattern=dictionary.SAE_NAME)] = param(
        dictionary.SHIPS,
        "Dictionary",
        "the model's that ships (shipped), or one of yours: a folder of SAELens, sparsify, "
        "dictionary_learning or Gemma Scope",
        names={dictionary.SHIPS: "the one that ships"},
        file=formats.read,
        kept=dictionary.labelled,
        hub=formats.published,
    )


@parameters
class Params(WithSae):
    """A text, and what its features are ranked by."""

    text: Text = param(
        "The keys that the old man had lost in the garden",
        "Text",
        "whose features are read",
    )
    target: MaybeText = param(
        "",
        "Target token",
        "whose logit features are ranked by; the model's own next token when empty",
        visible=True,
        fold=True,
    )
    position: int = param(
        -1,
        "Position",
        "of the token whose features are ranked; counted from the end where negative",
        ge=-100_000,
        le=100_000,
        fold=True,
    )
    top: int = param(12, "Features", "that are ranked", slider=(4, 40), ge=1, le=200, fold=True)


@parameters
class OnText(WithSae):
    """A dictionary, and text that it reads."""

    text: TextName = param(
        "manual",
        "Text",
        "whose contexts are searched: manual (Python's; of what was trained on, the part held out), prose, "
        "code (both written for Lensbook), or a file of yours",
        names={"manual": "Python's manual", "prose": "prose", "code": "code"},
        file=corpus.read,
    )
    context: int = param(128, "Context", "tokens of a window", slider=(32, 512, 32), ge=8, le=8192)
    windows: int = param(
        48, "Windows", "of the text, at most", slider=(8, 256, 8), ge=4, le=100_000, fold=True
    )


@parameters
class EvaluateParams(OnText):
    """A dictionary on held-out text, beside PCA and random directions."""

    windows: int = param(
        24, "Windows", "of the text, at most", slider=(8, 256, 8), ge=4, le=100_000, fold=True
    )


@parameters
class CompareParams(EvaluateParams):
    """A dictionary beside another of the same site: which of its latents that has, too."""

    other: Annotated[str, Field(pattern=dictionary.SAE_NAME)] = param(
        dictionary.SHIPS,
        "Other dictionary",
        "of the same site, to compare with: the model's that ships (shipped), or one of yours; of a "
        "dictionary beside itself, each latent itself is left out",
        names={dictionary.SHIPS: "the one that ships"},
        file=formats.read,
        kept=dictionary.labelled,
        hub=formats.published,
    )


@parameters
class FeaturesParams(OnText):
    """Every feature of a dictionary: how often it is active, on what, and what it writes."""


@parameters
class FeatureParams(OnText):
    """One feature, in the text's contexts."""

    feature: FeatureNumber = param(0, "Feature", "its number", slider=(0, 1000))
    examples: int = param(
        5, "Examples", "of each quantile of activation", slider=(2, 10), ge=1, le=50, fold=True
    )


@parameters
class SteerParams(OnText):
    """A prompt, continued by the model as it is, and with a feature held, added or taken away."""

    feature: FeatureNumber = param(0, "Feature", "its number", slider=(0, 1000))
    prompt: Text = param("The best way to spend a Sunday is", "Prompt", "that is continued")
    mode: Literal["add", "clamp", "ablate"] = param(
        "add",
        "Mode",
        "add the feature's direction, clamp its activation to a value, or take it away",
        names={"add": "add the direction", "clamp": "clamp the activation", "ablate": "ablate it"},
    )
    strength: float = param(
        2.0,
        "Strength",
        "in units of the feature's largest activation in the text",
        slider=(-5, 10, 0.5),
        when=When("mode", ("add", "clamp")),
        ge=-1000,
        le=1000,
    )
    scope: Scope = scope_of("all")
    max_tokens: int = tokens_of("a continuation")
    temperature: float = temperature_of()
    seed: int = param(0, "Seed", "of the draws", ge=0, lt=2**32, fold=True)


@parameters
class FeaturesView(View):
    """Which features are listed."""

    search: str = param("", "Search", "features whose label or tokens hold this", max_length=60)
    order: Literal["density", "activation", "score"] = param(
        "score",
        "Order",
        "of the list",
        names={
            "density": "rarest first",
            "activation": "strongest first",
            "score": "best explained first, of those active at 20 tokens or more",
        },
    )


@parameters
class TrainParams(TrainingText):
    """How dictionaries are trained; one for each sparsity, all on the same activations."""

    corpus: CorpusName = param(
        "manual",
        "Corpus",
        "to train on: manual (Python's), model (text that it writes itself), or a file of yours",
        names={OWN: "text that the model writes", "manual": "Python's manual"},
        file=corpus.read,
    )
    context: int = param(128, "Context", "tokens of a text", ge=8, le=8192, fold=True)
    site: Part = param("resid_post", "Site", "whose activations are decomposed", names=PARTS)
    layer: Layer | None = param(
        None, "Layer", "of the site", slider=(0, 1), placeholder="the middle one"
    )
    architecture: Architecture = param("topk", "Architecture", "in training", names=TRAINED)
    width: int = param(4, "Width", "latents for each dimension", slider=(1, 16), ge=1, le=32)
    k: Annotated[
        tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(min_length=1, max_length=8)
    ] = param(
        (20,),
        "k",
        "latents that are active at a token; several train a dictionary each",
        when=When("architecture", ("topk", "batchtopk", "matryoshka")),
    )
    l1: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(min_length=1, max_length=8)
    ] = param(
        (1e-2,),
        "L1 coefficient",
        "beside the squared error, which is a mean over dimensions (the paper's units); several "
        "train a dictionary each",
        when=When("architecture", ("standard",)),
    )
    tokens: int = param(
        1_000_000,
        "Tokens",
        "that are trained on, in all; activations are read again when they are used up",
        slider=(20_000, 4_000_000, 20_000),
        ge=1000,
        le=10_000_000_000,
    )
    activations: int = param(
        100_000,
        "Activations",
        "that are captured, at most",
        slider=(10_000, 400_000, 10_000),
        ge=1000,
        le=100_000_000,
        fold=True,
    )
    batch: int = param(1024, "Batch", "activations a step", ge=8, le=100_000, fold=True)
    rate: float = param(5e-4, "Learning rate", "of Adam; it falls in the last fifth", gt=0, le=1)
    resamplings: int = param(
        4,
        "Resamplings",
        "of dead latents, in the first half of training (the paper's)",
        when=When("architecture", ("standard",)),
        ge=0,
        le=100,
        fold=True,
    )
    resume: bool = param(
        True, "Resume", "from a checkpoint in the cache", identity=False, control=False
    )


@parameters
class TransformerParams:
    """How the paper's one-layer transformer is trained, small, on bytes."""

    steps: int = param(2500, "Training steps", "in all", slider=(100, 6000, 100), ge=1, le=10**7)
    corpus: TextName = param(
        "manual",
        "Corpus",
        "to train on: manual (Python's), or a file of yours",
        names={"manual": "Python's manual", "prose": "prose", "code": "code"},
        file=corpus.read,
    )
    d_mlp: int = param(512, "Neurons", "of the MLP", ge=8, le=8192, fold=True)
    batch: int = param(32, "Texts a step", "of 128 bytes", ge=1, le=4096, fold=True)
    seed: int = param(0, "Seed", "of weights and order", ge=0, lt=2**32, fold=True)
    resume: bool = param(
        True, "Resume", "from a checkpoint in the cache", identity=False, control=False
    )
