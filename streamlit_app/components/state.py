"""A page's parameters, in step with its address.

The address holds what differs from the defaults, and nothing else holds more: a link opened in a
new browser gives the same parameters. Keys that begin with ``view_`` say how a result is shown.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from interp_core import links
from interp_core.papers import Paper
from interp_core.params import VIEW, ParameterError, changed, from_texts

Query = dict[str, list[str]]


def read(paper: Paper) -> tuple[Any, dict[str, str], bool]:
    """Return the page's parameters, its view, and whether its controls must be set anew.

    The address always wins, an empty one too: a link, a move between pages, a step back or forward.
    A bad link is reported, and the defaults are shown.
    """
    state = st.session_state
    address = _address()
    if state.get("page") == paper.name and not _is_new(paper, address):
        return state[f"{paper.name}.params"], dict(state[f"{paper.name}.view"]), False
    state["page"], state["replaced"] = paper.name, []
    view = {k: v[-1] for k, v in address.items() if k.startswith(VIEW)}
    texts = {k: v for k, v in address.items() if not k.startswith(VIEW)}
    try:
        params = links.check_model(from_texts(paper.module.Params, texts))
        state["link_error"] = None
    except ParameterError as error:
        params, view = paper.module.Params(), {}
        state["link_error"] = str(error)
    _keep(paper, params, view, address)
    return params, view, True


def _is_new(paper: Paper, address: Query) -> bool:
    """Whether the browser came to another address, rather than not having heard of ours yet.

    Until it has, what a reader does next arrives with the address that was there before.
    """
    state = st.session_state
    taken = state.pop("taken", False)
    if address == state[f"{paper.name}.address"]:
        if not taken:
            state["replaced"] = []
        return False
    return _by_history() or address not in state["replaced"]


def _by_history() -> bool:
    """Whether this run was asked for by the browser's back or forward."""
    context = st.runtime.scriptrunner.get_script_run_ctx()
    return context is not None and context.is_history_navigation


def write(paper: Paper, params: Any, view: dict[str, str]) -> None:
    """Put parameters and view into the session and, where they changed, into the address.

    A link that was not accepted stays in the address until the reader changes something.
    """
    state = st.session_state
    now = (state[f"{paper.name}.params"], state[f"{paper.name}.view"])
    if state.get("link_error") and now == (params, view):
        return
    state["link_error"] = None
    query, before = to_address(params, view), _address()
    _keep(paper, params, view, query)
    if query != before:
        state["replaced"] = [*state["replaced"], before]
        st.query_params.from_dict(query)  # last, as a newer run may end this one here


def take(paper: Paper, params: Any, view: dict[str, str]) -> None:
    """Go on with other parameters: for callbacks, which run before the page reads its address."""
    write(paper, params, view)
    st.session_state["taken"] = True


def address_of(paper: Paper) -> Query:
    """Return the query of a page as this browser left it, empty where it never was."""
    return st.session_state.get(f"{paper.name}.address", {})


def reject(paper: Paper, params: Any, message: str) -> None:
    """Say that the link does not fit, and go on with ``params`` instead."""
    st.session_state["link_error"] = message
    _keep(paper, params, {}, _address())


def to_address(params: Any, view: dict[str, str]) -> Query:
    """Return the query of a page's address, each key with its list of values."""
    texts = {k: v if isinstance(v, list) else [v] for k, v in changed(params).items()}
    return texts | {name: [value] for name, value in view.items()}


def _address() -> Query:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def _keep(paper: Paper, params: Any, view: dict[str, str], address: Query) -> None:
    st.session_state[f"{paper.name}.params"] = params
    st.session_state[f"{paper.name}.view"] = view
    st.session_state[f"{paper.name}.address"] = address
