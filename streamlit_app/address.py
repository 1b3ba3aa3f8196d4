"""Where a page is: parameters and view, in step with its address.

The address holds what differs from the defaults, and nothing else holds more: a link opened in a
new browser gives the same page. The address always wins, an empty one too: a link, a move between
pages, a step back or forward.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NoReturn

import streamlit as st

from interp_core import links
from interp_core.params import ParameterError
from interp_core.query import VIEW, changed
from interp_core.question import Paper, question_of

Query = dict[str, list[str]]


@dataclass(frozen=True)
class Place:
    """What a page shows."""

    params: Any
    view: Any
    query: Query
    """The address as this page last read or wrote it."""
    turn: int = 0
    """How often an address or a preset set the controls: part of their keys, so that they begin anew."""
    looks: int = 0
    """How often a click set the view's controls."""
    said: tuple[Any, Any] | None = None
    """The parameters and the view that the query was read as, in whatever words it says them."""
    error: str = ""
    """Why the link in the address is not accepted."""
    fresh: bool = True
    """Whether the controls begin anew in this run."""
    by_link: bool = True
    """Whether it is a link that asks, and not yet its reader."""
    replaced: tuple[Query, ...] = ()
    """Addresses that the page left while the browser may not have heard of the next one yet."""

    @property
    def key(self) -> str:
        """Stands before the keys of the page's controls."""
        paper, question = question_of(self.params)
        return f"{paper.name}.{question.name}.{self.turn}"

    @property
    def view_key(self) -> str:
        """Stands before the keys of the view's controls."""
        return f"{self.key}.view.{self.looks}"


def read(paper: Paper) -> Place:
    """Return where the page is; controls begin anew where the address changed by itself.

    A link that is not accepted is reported, and the first question is shown as it ships.
    """
    state, query = st.session_state, _address()
    place: Place | None = state.get(_name(paper))
    taken = state.pop("taken", False)
    if state.get("page") != paper.name or place is None or _is_new(place, query):
        state["page"] = paper.name
        return _keep(paper, _parsed(paper, query, 0 if place is None else place.turn + 1))
    if query == place.query and not taken:
        place = dataclasses.replace(place, replaced=())
    return _keep(paper, dataclasses.replace(place, fresh=taken, by_link=False))


def write(paper: Paper, params: Any, view: Any) -> None:
    """Hold what the controls say, in the session and, where it changed, in the address.

    A link stays as it was written until the reader changes something, one that was not accepted too:
    else a step back to it would be followed by one forward.
    """
    place: Place = st.session_state[_name(paper)]
    if place.said == (params, view):
        _keep(paper, dataclasses.replace(place, params=params, view=view))
        return
    query, now = query_of(params, view), _address()
    place = dataclasses.replace(place, params=params, view=view, query=query, said=(params, view))
    place = dataclasses.replace(place, error="", replaced=(*place.replaced, now))
    _keep(
        paper, place if query != now else dataclasses.replace(place, replaced=place.replaced[:-1])
    )
    if query != now:
        st.query_params.from_dict(query)  # last, as a newer run may end this one here


def go(paper: Paper, params: Any, view: Any = None) -> NoReturn:
    """Go on with other parameters or another view: the controls begin anew with them."""
    _, question = question_of(params)
    view = question.view() if view is None else view
    write(paper, params, view)
    place: Place = st.session_state[_name(paper)]
    _keep(paper, dataclasses.replace(place, turn=place.turn + 1))
    st.session_state["taken"] = True
    st.rerun()


def look(paper: Paper, place: Place, **fields: Any) -> Place:
    """Return the place with other fields of its view, whose controls begin anew with them."""
    view = dataclasses.replace(place.view, **fields)
    return _keep(paper, dataclasses.replace(place, view=view, looks=place.looks + 1))


def query_of(params: Any, view: Any) -> Query:
    """Return the query of a page's address, each key with its list of values."""
    paper, question = question_of(params)
    asked = {} if question is paper.questions[0] else {"question": question.name}
    texts = asked | changed(params) | {f"{VIEW}{k}": v for k, v in changed(view).items()}
    return {name: text if isinstance(text, list) else [text] for name, text in texts.items()}


def left_at(paper: Paper) -> Query:
    """Return the query of a paper's page as this browser left it, empty where it never was."""
    place: Place | None = st.session_state.get(_name(paper))
    return {} if place is None else place.query


def _parsed(paper: Paper, query: Query, turn: int) -> Place:
    error = ""
    try:
        params, view = links.read(paper, query)
    except ParameterError as refusal:
        question, error = paper.questions[0], str(refusal)
        params, view = question.params(), question.view()
    return Place(params, view, query, turn, said=(params, view), error=error)


def _is_new(place: Place, query: Query) -> bool:
    """Whether the browser came to another address, rather than not having heard of ours yet.

    Until it has, what a reader does next arrives with the address that was there before.
    """
    return query != place.query and (_by_history() or query not in place.replaced)


def _by_history() -> bool:
    """Whether this run was asked for by the browser's back or forward."""
    context = st.runtime.scriptrunner.get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _address() -> Query:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def _name(paper: Paper) -> str:
    return f"place.{paper.name}"


def _keep(paper: Paper, place: Place) -> Place:
    st.session_state[_name(paper)] = place
    return place
