"""What a prompt takes, roughly, before it is begun."""

from __future__ import annotations

from interp_core.papers.logit_lens.params import Params

_TOKEN = 0.04
"""Seconds a token of the default model, read after all its layers."""


def seconds(params: Params) -> float:
    """Return about how long a prompt takes on the default model and two cores."""
    return _TOKEN * len(params.prompt) / 4.5
