"""Links: the same string addresses the app, the report and the command line."""

from __future__ import annotations

import dataclasses
from typing import Any
from urllib.parse import parse_qs

from interp_core.fields import fields_of
from interp_core.messages import quoted
from interp_core.models import catalogue
from interp_core.params import ParameterError
from interp_core.query import VIEW, from_texts, split_link
from interp_core.question import Paper, Question
from interp_core.registry import PAPERS

DEFAULT_PAPER = "logit-lens"


def parse(link: str) -> tuple[Any, Any]:
    """Return the parameters and the view that a URL, a path or a query describes.

    A link is not trusted: it may name a model of the list, or one that was loaded on this machine
    by its owner, and never a path.

    Raises:
        ParameterError: When there is no such paper, question, parameter or model, or a value is not
            accepted.
    """
    path, query = split_link(link)
    name = path.strip("/") if path else DEFAULT_PAPER
    if name not in PAPERS:
        raise ParameterError(
            f"link: there is no paper {quoted(name)}; accepted: {', '.join(PAPERS)}"
        )
    try:
        given = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise ParameterError(f"link: {quoted(query)} is not accepted; {error}") from None
    return read(PAPERS[name], given)


def read(paper: Paper, given: dict[str, list[str]]) -> tuple[Any, Any]:
    """Return the parameters and the view that the keys of a link to a paper describe.

    Raises:
        ParameterError: See :func:`parse`.
    """
    question = paper[given.get("question", [""])[-1]]
    texts = {k: v for k, v in given.items() if k != "question" and not k.startswith(VIEW)}
    refuse_others(paper, question, texts)
    params = from_texts(question.params, texts)
    if question.on_model:
        params = check_model(params)
    view = {k.removeprefix(VIEW): v for k, v in given.items() if k.startswith(VIEW)}
    return params, question.seen(from_texts(question.view, view, VIEW))


def refuse_others(paper: Paper, question: Question, given: dict[str, Any]) -> None:
    """Raise for a parameter that another question of the paper reads, or that is one's name.

    Raises:
        ParameterError: Names the questions that read it.
    """
    own = fields_of(question.params)
    for name in (name for name in given if name not in own):
        readers = [q.name for q in paper.questions if name in fields_of(q.params)]
        if readers:
            raise ParameterError(
                f"{name}: {paper.name} {question.name} does not read it; it is read by "
                f"{', '.join(readers)}; accepted: {', '.join(own)}"
            )
        if name in [q.name for q in paper.questions]:
            raise ParameterError(f"{name}: it is a question, asked as {paper.name} {name}")


def check_model(params: Any) -> Any:
    """Return ``params`` of a link, with its model under the name by which it is listed.

    Raises:
        ParameterError: When a link may not name this model; the message lists those it may.
    """
    if catalogue.find(params.model) is None:
        raise ParameterError(
            f"model: {quoted(params.model)} is not accepted in a link; "
            f"accepted: {catalogue.named()}"
        )
    return listed(params)


def listed(params: Any) -> Any:
    """Return ``params`` with its model under its listed name, whatever the case it was written in."""
    known = catalogue.find(params.model) if hasattr(params, "model") else None
    return params if known is None else dataclasses.replace(params, model=known.id)
