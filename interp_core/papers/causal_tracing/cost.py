"""What a trace takes, roughly, before it is begun."""

from __future__ import annotations

from interp_core.papers.causal_tracing.params import MAPS
from interp_core.papers.causal_tracing.trace import Params

_CELL = 0.01
"""Seconds that a map's cell takes with one sample, over all of the default model's layers."""
_HEADS = 2.0
"""Seconds that all single heads take with one sample."""


def seconds(params: Params) -> float:
    """Return about how long a trace takes on the default model and two cores."""
    tokens = len(params.prompt) / 4.5 + 1
    cells = sum(kind in MAPS for kind in params.kinds) * tokens**2 / 2
    samples = params.samples if params.corruption in ("gaussian", "uniform") else 1
    return (cells * _CELL + _HEADS * ("z" in params.kinds)) * samples
