"""What the questions take, roughly, before they are begun."""

from __future__ import annotations

from interp_core.papers.tuned_lens.params import (
    OWN,
    EvaluateParams,
    Params,
    TrainParams,
    TransferParams,
)

_TOKEN = 0.07
"""Seconds a token of the default model, read after all its layers through both lenses."""
_READ = 0.08
"""Seconds a position, read after all layers through three lenses."""
_WRITE = 0.006
"""Seconds a token that the model writes."""
_STEP, _POSITION = 0.3, 0.0065
"""Seconds a training step, and each of its positions in all layers."""


def lens(params: Params) -> float:
    """Return about how long a prompt takes on the default model and two cores."""
    return _TOKEN * len(params.prompt) / 4.5


def evaluate_seconds(params: EvaluateParams) -> float:
    """Return about how long reading a text takes, of as many documents as are asked for."""
    return _READ * params.documents * (params.positions or params.context)


def evaluate(params: EvaluateParams) -> str:
    """Return the same in words."""
    return _minutes(evaluate_seconds(params))


def transfer_seconds(params: TransferParams) -> float:
    """Return about how long it takes to read through every pair of 30 layers."""
    return _READ * 10 * params.documents * (params.positions or params.context)


def transfer(params: TransferParams) -> str:
    """Return the same in words."""
    return _minutes(transfer_seconds(params))


def train_seconds(params: TrainParams) -> float:
    """Return about how long training takes, with the writing of its text."""
    text = _WRITE * params.texts * params.context if params.corpus == OWN else 0.0
    positions = params.batch * (params.positions or params.context)
    return text + params.steps * (_STEP + _POSITION * positions)


def train(params: TrainParams) -> str:
    """Return the same in words."""
    return _minutes(train_seconds(params))


def _minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"about {minutes} minute{'s' if minutes > 1 else ''} on the default model and two cores"
