"""Any paper's page, drawn from its questions: controls, answer, figures, claims, export."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import Any

import address
import export
import figure
import moves
import panel
import setting
import streamlit as st
from model import pick
from words import plain

from interp_core import replication
from interp_core.findings import Finding
from interp_core.models.info import DEFAULT, MODELS, SECOND, UNTRAINED
from interp_core.question import Paper, Question, question_of
from interp_core.registry import PAPERS
from interp_core.results import Result


def draw(paper: Paper) -> None:
    """Draw the page of a paper: what its address asks for."""
    place = moves.picked(paper, address.read(paper))
    _, question = question_of(place.params)
    model = pick(getattr(place.params, "model", ""), fresh=place.fresh, used=question.on_model)
    header(paper)
    if place.error:
        st.warning(f"This link is not accepted, so defaults are shown. {plain(place.error)}")
    with st.container(horizontal=True):
        chosen = moves.switch(paper, place)
        moves.presets(paper, place)
    side = st.sidebar.container()
    moves.examples(paper, question, place)
    params, refusal = place.params, ""
    try:
        params, sizes = setting.draw(question, place, model)
    except ValueError as error:
        refusal = str(error)
    if chosen is not question:
        address.go(paper, moves.carried(params, chosen))
    if refusal:
        st.error(plain(refusal))
        return
    found = panel.draw(paper, place, params, sizes, side)
    if found is not None:
        ending(paper, question, *found)


def header(paper: Paper) -> None:
    """Open the page: title, claim, reference, and the method in a fold."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"### {paper.title}", width="content")
        st.markdown(f"{paper.claim} [{paper.reference}]({paper.url})", width="stretch")
        with st.popover("Method", icon=":material/functions:"):
            st.markdown(paper.method)


def _beside(paper: Paper, params: Any) -> tuple[str, dict[str, Finding]]:
    """Return the name of another model that claims were measured on, and what ships of them by id.

    Nothing where ``params`` ask for something else than what the claims are measured by.
    """
    other = DEFAULT if getattr(params, "model", "") in (SECOND, UNTRAINED) else SECOND
    asked = (*chain(*paper.measured_on.values()), paper.questions[0].params())
    return MODELS[other], _measured(paper.name, other) if params in asked else {}


@cache
def _measured(paper: str, model: str) -> dict[str, Finding]:
    return replication.findings(PAPERS[paper], model)


def ending(paper: Paper, question: Question, result: Result, view: object) -> None:
    """Close the page: claims, export, provenance."""
    own = result.own_findings
    others = [each for each in result.findings if each not in own]
    missing = [each for name, each in question.evidence.items() if name not in result.evidence]
    if own or others or missing:
        st.markdown("### Findings")
    beside = _beside(paper, result.params)
    if own or others:
        figure.findings(own or others, *beside)
    if own and others:
        with st.expander(f"{len(others)} more claims, of the paper's other questions"):
            figure.findings(others, *beside)
    if missing:
        st.markdown("The other claims were not measured on this model yet. They rest on:")
        with st.container(horizontal=True):
            for each in missing:
                moves.to(paper, each, result.params)
    st.markdown("### Export")
    export.draw(paper, question, result, view)
    export.provenance(result)
