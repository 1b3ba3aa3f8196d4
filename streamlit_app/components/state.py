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

    A new address (a link, a step back) wins over what the session holds; an empty one does not,
    since moving between pages empties it. A bad link is reported, and the defaults are shown.
    """
    state = st.session_state
    address = _address()
    known = f"{paper.name}.params" in state
    if known and (address == state[f"{paper.name}.address"] or not address):
        fresh = state.get("page") != paper.name
        state["page"] = paper.name
        return state[f"{paper.name}.params"], dict(state[f"{paper.name}.view"]), fresh
    state["page"] = paper.name
    view = {k: v[-1] for k, v in address.items() if k.startswith(VIEW)}
    texts = {k: v for k, v in address.items() if not k.startswith(VIEW)}
    try:
        params = from_texts(paper.module.Params, texts)
        links.check_model(params.model)
        state["link_error"] = None
    except ParameterError as error:
        params, view = paper.module.Params(), {}
        state["link_error"] = str(error)
    _keep(paper, params, view, address)
    return params, view, True


def write(paper: Paper, params: Any, view: dict[str, str]) -> None:
    """Put parameters and view into the session and, where they changed, into the address.

    A link that was not accepted stays in the address until the reader changes something.
    """
    state = st.session_state
    now = (state[f"{paper.name}.params"], state[f"{paper.name}.view"])
    if state.get("link_error") and now == (params, view):
        return
    state["link_error"] = None
    query = to_address(params, view)
    if query != _address():
        st.query_params.from_dict(query)
    _keep(paper, params, view, _address())


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
