"""Links: the same string addresses the app, the report and the command line."""

from __future__ import annotations

from typing import Any

from interp_core.models import catalogue
from interp_core.papers import PAPERS, Paper
from interp_core.params import ParameterError, from_query, split_link

DEFAULT_PAPER = "logit-lens"


def parse(link: str) -> tuple[Paper, Any]:
    """Return the paper and the parameters that a URL, a path or a query describes.

    A link is not trusted: it may name a model of the list, or one that was loaded on this machine
    by its owner, and never a path.

    Raises:
        ParameterError: When there is no such paper, parameter or model, or a value is not accepted.
    """
    path, _ = split_link(link)
    name = path.strip("/") if path else DEFAULT_PAPER
    paper = PAPERS.get(name)
    if paper is None or not paper.built:
        built = ", ".join(name for name, paper in PAPERS.items() if paper.built)
        raise ParameterError(f"link: there is no paper {name[:60]!r}; accepted: {built}")
    params = from_query(paper.module.Params, link)
    check_model(params.model)
    return paper, params


def check_model(name: str) -> None:
    """Raise when a link may not name this model.

    Raises:
        ParameterError: The message lists the models that a link may name.
    """
    if catalogue.find(name) is None:
        raise ParameterError(
            f"model: {name[:60]!r} is not accepted in a link; accepted: {', '.join(catalogue.models())}"
        )
