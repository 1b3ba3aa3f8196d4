"""What the questions take, roughly, before they are begun."""

from __future__ import annotations

from interp_core.papers.sparse_autoencoder.params import (
    EvaluateParams,
    OnText,
    SteerParams,
    TrainParams,
    TransformerParams,
)
from interp_core.papers.tuned_lens.params import OWN

_READ = 0.007
"""Seconds a token that is read."""
_WRITE = 0.012
"""Seconds a token that the model writes."""


def text(params: OnText) -> float:
    """Return about how long reading the text takes."""
    return _READ * params.windows * params.context


def evaluate(params: EvaluateParams) -> float:
    """Return about how long all reconstructions take."""
    return 12 * text(params)


def compare(params: OnText) -> float:
    """Return about how long reading the text through two dictionaries takes, and matching their latents."""
    return 2 * text(params) + 10


def features(params: OnText) -> float:
    """Return about how long every feature takes."""
    return text(params) + 30


def steer(params: SteerParams) -> float:
    """Return about how long continuations take, the text read before them."""
    return text(params) + 0.06 * params.max_tokens


def train(params: TrainParams) -> float:
    """Return about how long capture and training take."""
    captured = params.activations * _READ
    written = params.texts * params.context * _WRITE if params.corpus == OWN else 0.0
    sizes = len(params.l1 if params.architecture == "standard" else params.k)
    return captured + written + sizes * params.tokens * params.width * 4e-5


def transformer(params: TransformerParams) -> float:
    """Return about how long the one-layer model takes."""
    return 0.2 * params.steps * params.batch / 32
