"""What a prompt takes, roughly, before it is begun."""

from __future__ import annotations

from interp_core.papers.logit_lens.params import Params
from interp_core.papers.logit_lens.prompts import PROMPTS, PromptsParams

_TOKEN = 0.04
"""Seconds a token of the default model, read after all its layers."""


def seconds(params: Params) -> float:
    """Return about how long a prompt takes on the default model and two cores."""
    return _TOKEN * len(params.prompt) / 4.5


_AVERAGES = {PROMPTS: 120.0, "prose": 240.0, "code": 400.0}
"""Seconds for all prompts, or all documents of a text."""


def averages(params: PromptsParams) -> float:
    """Return about how long it takes to read all of a text on the default model and two cores."""
    return _AVERAGES[params.text]


def of_text(params: PromptsParams) -> str:
    """Return what a text takes, in words; empty for the prompts, which take little."""
    if params.text == PROMPTS:
        return ""
    minutes = round(averages(params) / 60)
    return f"about {minutes} minutes on the default model and two cores"
