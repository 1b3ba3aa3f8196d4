"""What Lensbook is, and the six papers."""

from __future__ import annotations

from typing import Any

import figure
import streamlit as st
from address import left_at
from model import pick

from interp_core import exports
from interp_core.question import Paper, stored
from interp_core.registry import PAPERS

_INTRODUCTION = (
    "Six papers of mechanistic interpretability, reproduced on your own model. Every view is a "
    "link, every number comes with its interval and its provenance, and failed replications are "
    "reported."
)
_BEGIN = (
    "**To begin**, open the Logit Lens: its figure is there at once, from results that ship with "
    "Lensbook. Type a prompt of your own and the model runs on this machine; nothing leaves it. "
    "The same analyses are a command line (`python -m interp_core logit-lens --help`), a Python "
    "package (`interp_core`), and a printed report (`make report`)."
)


_STYLE = (
    "<style>[class*=st-key-first-] img {height: 250px; object-fit: contain; "
    "object-position: left top}</style>"
)


@st.cache_resource(show_spinner=False)
def _first(name: str, mode: exports.Mode) -> tuple[bytes, str] | None:
    """Return what a paper's first question shows of its shipped result: main figure and answer."""
    question = PAPERS[name].questions[0]
    result = stored(question.params())
    if result is None:
        return None
    made = figure.drawn(question.main, result, question.view())
    answer = "" if question.sentence is None else question.sentence(result)
    return exports.png(made, mode, scale=1.0), answer


def draw(pages: dict[str, Any]) -> None:
    """Draw the first page; ``pages`` are those of the papers."""
    st.html(_STYLE)
    st.markdown("## Lensbook")
    st.markdown(_INTRODUCTION)
    st.session_state["page"] = "home"
    pick("", fresh=False)
    places = _cards(list(PAPERS.values()), pages)
    st.markdown(_BEGIN)
    for name, place in places.items():  # last: all else is there while they are drawn
        shown = _first(name, figure.mode())
        if shown is not None:
            with place.container(key=f"first-{name}"):
                st.image(shown[0], width="stretch", alt=f"The main figure of {PAPERS[name].title}")
                st.markdown(shown[1])


def _cards(papers: list[Paper], pages: dict[str, Any]) -> dict[str, Any]:
    """Draw a card for each paper, and return the place for a figure in it."""
    places = {}
    for first in range(0, len(papers), 3):
        for column, paper in zip(st.columns(3), papers[first : first + 3], strict=False):
            with column.container(border=True, height="stretch"):
                st.markdown(f"#### {paper.title}")
                st.markdown(f"{paper.claim} [{paper.reference}]({paper.url})")
                places[paper.name] = st.empty()
                st.page_link(
                    pages[paper.name],
                    label="Open",
                    icon=":material/arrow_forward:",
                    query_params=left_at(paper),
                )
    return places
