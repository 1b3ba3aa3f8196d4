"""What scoring a model's heads takes, roughly, before it is begun."""

from __future__ import annotations

from interp_core.papers.induction_heads.heads import Params

_TOKEN = 0.004
"""Seconds a token of the default model, while attention is short."""
_LONG = 500
"""Tokens of a sequence at which attention costs as much again."""


def seconds(params: Params) -> float:
    """Return about how long the scores of every head take on the default model and two cores."""
    length = params.tokens * params.repeats
    each = _TOKEN * length * (1 + length / _LONG)
    return each * params.seeds
