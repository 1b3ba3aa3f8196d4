"""What a prompt takes, roughly, before it is begun."""

from __future__ import annotations

from interp_core.papers.logit_lens.params import Params
from interp_core.papers.logit_lens.prompts import PROMPTS, PromptsParams

_TOKEN = 0.04
"""Seconds a token of the default model, read after all its layers."""


def seconds(params: Params) -> float:
    """Return about how long a prompt takes on the default model and two cores."""
    return _TOKEN * len(params.prompt) / 4.5


def of_text(params: PromptsParams) -> str:
    """Return what ordinary text takes; nothing for the prompts, which are read on the way."""
    return "" if params.text == PROMPTS else "about two minutes on the default model and two cores"
