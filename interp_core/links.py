"""Links: the same string addresses the app, the report and the command line."""

from __future__ import annotations

import dataclasses
from typing import Any

from interp_core.messages import quoted
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
        raise ParameterError(f"link: there is no paper {quoted(name)}; accepted: {built}")
    return paper, check_model(from_query(paper.module.Params, link))


def check_model(params: Any) -> Any:
    """Return ``params`` of a link, with its model under the name by which it is listed.

    Raises:
        ParameterError: When a link may not name this model; the message lists those it may.
    """
    if catalogue.find(params.model) is None:
        raise ParameterError(
            f"model: {quoted(params.model)} is not accepted in a link; "
            f"accepted: {', '.join(catalogue.models())}"
        )
    return listed(params)


def listed(params: Any) -> Any:
    """Return ``params`` with its model under its listed name, whatever the case it was written in."""
    known = catalogue.find(params.model)
    return params if known is None else dataclasses.replace(params, model=known.id)
