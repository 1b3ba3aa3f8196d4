"""A paper that answers several kinds of question, each by an analysis of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from interp_core.models.language_model import LanguageModel
from interp_core.results import Result

Analyses = Mapping[type[Result], tuple[set[str], Callable[[LanguageModel, Any], Result]]]
"""For each kind of result: the parameters that it reads, and how it is computed."""


def run(
    analyses: Analyses,
    analysis: Callable[[Any], tuple[type[Result], Any]],
    model: LanguageModel,
    params: Any,
) -> Any:
    """Return what ``params`` ask for, under the parameters it is kept by: those it reads."""
    kind, asked = analysis(dataclasses.replace(params, model=model.info.id))
    # Whether to go on from what is kept is how it is computed, and no part of what it is.
    result = analyses[kind][1](model, dataclasses.replace(asked, resume=params.resume))
    return dataclasses.replace(result, params=asked)  # type: ignore[type-var]
