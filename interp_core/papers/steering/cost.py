"""What the questions take, roughly, before they are begun."""

from __future__ import annotations

from interp_core.papers.steering import pairs as contrast
from interp_core.papers.steering.geometry import GeometryParams
from interp_core.papers.steering.params import (
    Params,
    StrengthParams,
    SweepParams,
    WithPairs,
)
from interp_core.params import ParameterError

_LAYERS = 30
"""Of the default model."""
_READ = 0.25
"""Seconds a pair whose two answers are read."""
_NEW = 0.06
"""Seconds a token of a batch of answers."""
_TEXT = 0.09
"""Seconds a strength of one pair, both answers scored from the middle of the model on."""


def _pairs(params: WithPairs) -> int:
    try:
        return len(contrast.load(params.behaviour, params.pairs).pairs)
    except ParameterError:
        return 0


def steer(params: Params) -> float:
    """Return about how long answers take, without their vector."""
    return _NEW * params.max_tokens * (1 + 2 * params.also_frozen + (params.attention == "frozen"))


def save(params: WithPairs) -> float:
    """Return about how long a vector takes."""
    return _READ * _pairs(params) / 2 * (4 if params.normalise == "equal" else 1)


def sweep(params: SweepParams) -> float:
    """Return about how long all layers and pairs take."""
    start, stop, stride = params.layers
    layers = len(range(start, _LAYERS if stop is None else stop, stride))
    return _TEXT * layers * len(params.multipliers) * _pairs(params) / 2


def strength(params: StrengthParams) -> float:
    """Return about how long all strengths, systems and floors take."""
    rows = 3 * 2 * params.steps + 4 * params.draws + 6
    return _TEXT * rows * _pairs(params) / 2 + 3 * params.steps * params.documents / 24


def geometry(params: GeometryParams) -> float:
    """Return about how long reading all pairs takes."""
    return 2 * _READ * _pairs(params)
