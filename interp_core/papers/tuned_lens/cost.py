"""What the questions take, roughly, before they are begun."""

from __future__ import annotations

from interp_core.papers.tuned_lens import injections
from interp_core.papers.tuned_lens.basis import BasisParams
from interp_core.papers.tuned_lens.detection import FOLDS, READINGS, DetectParams
from interp_core.papers.tuned_lens.params import (
    OWN,
    EvaluateParams,
    Params,
    TrainParams,
    TransferParams,
)
from interp_core.params import ParameterError

_LAYERS = 30
"""Of the default model."""

_TOKEN = 0.07
"""Seconds a token of the default model, read after all its layers through both lenses."""
_READ = 0.08
"""Seconds a position, read after all layers through three lenses."""
_WRITE = 0.006
"""Seconds a token that the model writes."""
_STEP, _POSITION = 0.3, 0.0065
"""Seconds a training step, and each of its positions in all layers."""
_VECTOR = 1.2
"""Seconds a vector of one lens at one layer, to extract it."""
_RUN, _ABLATED = 0.0006, 0.0012
"""Seconds a token that runs on after an ablation, and a position that is read through both lenses."""
_PROMPT, _FIT = 0.0035, 0.2
"""Seconds a token of a prompt that is read after all layers through both lenses, and a detector's fit."""


def lens(params: Params) -> float:
    """Return about how long a prompt takes on the default model and two cores."""
    return _TOKEN * len(params.prompt) / 4.5


def evaluate(params: EvaluateParams) -> float:
    """Return about how long reading a text takes, of as many documents as are asked for."""
    return _READ * params.documents * (params.positions or params.context)


def transfer(params: TransferParams) -> float:
    """Return about how long it takes to read through every pair of layers."""
    return _READ * 10 * params.documents * (params.positions or params.context)


def train(params: TrainParams) -> float:
    """Return about how long training takes, with the writing of its text."""
    text = _WRITE * params.texts * params.context if params.corpus == OWN else 0.0
    positions = params.batch * (params.positions or params.context)
    return text + params.steps * (_STEP + _POSITION * positions)


def basis(params: BasisParams) -> float:
    """Return about how long the bases of both lenses take, and their ablations."""
    start, stop, stride = params.layers
    layers = len(range(start, _LAYERS if stop is None else stop, stride))
    read = _ABLATED * min(params.positions or params.context, params.context)
    ablations = 3 * params.vectors * params.documents / 2
    return layers * (2 * _VECTOR * params.vectors + ablations * (_RUN * params.context + read))


def detect(params: DetectParams) -> float:
    """Return about how long reading every version of every pair takes."""
    try:
        pairs = injections.load(params.pairs)
    except ParameterError:
        return 0.0
    characters = sum(len(text) for pair in pairs for text in pair.versions.values())
    fits = FOLDS * len(READINGS) * len({pair.task for pair in pairs})
    return _PROMPT * characters / 4.5 + _FIT * fits
