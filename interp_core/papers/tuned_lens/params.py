"""What a reader may choose of tuned lenses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from interp_core import corpus
from interp_core.fields import When
from interp_core.papers.logit_lens import params as logit_lens
from interp_core.papers.logit_lens.params import LensView
from interp_core.papers.tuned_lens import translators
from interp_core.params import Layers, OnModel, param, parameters

OWN = "model"
"""The corpus that the model writes itself."""

_MANUAL = {"manual": "Python's manual"}
_SHIPPED = {
    translators.SHIPS: "the one that ships",
    translators.SHIPS_BIAS: "biases alone, that ships",
}

CorpusName = Annotated[str, Field(pattern=f"^({OWN}|{corpus.CORPUS_NAME})$")]
TextName = Annotated[str, Field(pattern=f"^({corpus.CORPUS_NAME})$")]
LensName = Annotated[str, Field(pattern=translators.LENS_NAME)]


@parameters
class WithLens(OnModel):
    """A question that is asked with a tuned lens."""

    lens: LensName = param(
        translators.SHIPS,
        "Lens",
        "the model's that ships (shipped; shipped-bias for biases alone), or one of yours",
        names=_SHIPPED,
        file=translators.read,
        kept=translators.labelled,
    )


@parameters
class Params(logit_lens.Params, WithLens):
    """A prompt, read through a tuned lens and through the logit lens."""

    stream: Literal["resid_post"] = param(
        "resid_post", "Component", "what tuned lenses are trained on", control=False
    )


@parameters
class LensesView(LensView):
    """What the logit lens shows, and which statistic lenses are compared by."""

    what: Literal["kl", "entropy", "probability"] = param(
        "kl",
        "Difference of",
        "what the two lenses differ in",
        names={
            "kl": "KL(final ‖ layer)",
            "entropy": "entropy",
            "probability": "probability of the final top token",
        },
    )


def _documents(default: int) -> Any:
    words = "Documents at most", "to read"
    return param(default, *words, slider=(4, 64, 4), ge=2, le=10_000, fold=True)


def _positions(default: int) -> Any:
    words = "Positions of a document", "drawn at random; all but the first when empty"
    return param(default, *words, ge=1, le=8192, placeholder="all", fold=True)


@parameters
class OnText(WithLens):
    """A lens, and held-out text that it reads."""

    text: TextName = param(
        "prose",
        "Text",
        "to read: prose, code (both written for Lensbook), manual (Python's), or a file of yours",
        names={"prose": "prose", "code": "code", **_MANUAL},
        file=corpus.read,
    )
    context: int = param(
        256, "Context", "tokens of a document, at most", slider=(64, 1024, 64), ge=8, le=8192
    )
    documents: int = _documents(24)
    positions: int | None = _positions(64)
    seed: int = param(0, "Seed", "of the positions", ge=0, lt=2**32, fold=True)


@parameters
class EvaluateParams(OnText):
    """A lens on held-out text, beside the logit lens and one of biases alone."""

    beside: Annotated[str, Field(pattern=f"^(none|{translators.LENS_NAME[2:-2]})$")] = param(
        translators.SHIPS_BIAS,
        "Beside it",
        "a second lens, or none",
        names={**_SHIPPED, "none": "nothing"},
        file=translators.read,
        kept=translators.labelled,
    )


@parameters
class TransferParams(OnText):
    """Every translator of a lens, at every layer of held-out text."""

    documents: int = _documents(12)
    positions: int | None = _positions(12)


@parameters
class TrainingText(OnModel):
    """Text that something is trained on."""

    corpus: CorpusName = param(
        OWN,
        "Corpus",
        "to train on: model (text that it writes itself), manual (Python's), or a file of yours",
        names={OWN: "text that the model writes", **_MANUAL},
        file=corpus.read,
    )
    texts: int = param(
        256,
        "Texts to write",
        "by the model, of the length of the context",
        when=When("corpus", (OWN,)),
        slider=(32, 1024, 32),
        ge=2,
        le=100_000,
    )
    programs: float = param(
        0.25,
        "Programs",
        "of these texts, the share that begin as a program does",
        when=When("corpus", (OWN,)),
        slider=(0, 1, 0.05),
        ge=0,
        le=1,
        fold=True,
    )
    context: int = param(256, "Context", "tokens of a text", ge=8, le=8192, fold=True)
    seed: int = param(0, "Seed", "of texts, order and draws", ge=0, lt=2**32, fold=True)


@parameters
class TrainParams(TrainingText):
    """How a lens is trained; the defaults are those of the lens that ships."""

    steps: int = param(400, "Training steps", "in all", slider=(10, 1000, 10), ge=1, le=100_000)
    layers: Layers = param(
        (0, None, 1),
        "Layers",
        "that get a translator; from 0 on, the embedding too",
        slider=(0, 1),
    )
    bias_only: bool = param(False, "Biases alone", "train b, and leave A at 0")
    rank: int | None = param(
        None,
        "Rank of A",
        "at most; any when empty",
        when=When("bias_only", (False,)),
        ge=1,
        le=4096,
        placeholder="full",
        fold=True,
    )
    loss: Literal["kl", "ce"] = param(
        "kl",
        "Loss",
        "KL(final || lens), or the cross-entropy of the next token",
        names={"kl": "KL(final ‖ lens)", "ce": "cross-entropy"},
        fold=True,
    )
    optimizer: Literal["sgd", "adam"] = param(
        "sgd",
        "Optimizer",
        "SGD with Nesterov momentum 0.9 (the paper's), or Adam",
        names={"sgd": "SGD, Nesterov", "adam": "Adam"},
        fold=True,
    )
    rate: float | None = param(
        None,
        "Learning rate",
        "at first; it falls to 0 linearly",
        gt=0,
        le=100,
        placeholder="0.1, Adam 0.001",
        fold=True,
    )
    decay: float = param(
        1e-3,
        "Weight decay",
        "of A (its factors, where a rank is given) and b towards 0: of the lens to the identity",
        ge=0,
        le=1,
        fold=True,
    )
    batch: int = param(2, "Texts a step", "windows of the corpus", ge=1, le=1024, fold=True)
    positions: int | None = param(
        128,
        "Positions of a text",
        "drawn anew each time; all but the first when empty",
        ge=1,
        le=8192,
        placeholder="all",
        fold=True,
    )
    vocabulary: int | None = param(
        4096,
        "Vocabulary sample",
        "tokens that the loss is summed over: half the likeliest, half drawn and weighted",
        ge=64,
        le=1_000_000,
        placeholder="all",
        fold=True,
    )
    resume: bool = param(
        True, "Resume", "from a checkpoint in the cache", identity=False, control=False
    )
