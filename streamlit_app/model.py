"""The model picker, in the sidebar of every page."""

from __future__ import annotations

import streamlit as st

from interp_core.models import catalogue
from interp_core.models.catalogue import DEFAULT, KnownModel
from interp_core.models.loading import local_folder
from interp_core.models.packaged import PACKAGED


def pick(current: str, *, fresh: bool, used: bool = True) -> KnownModel:
    """Show the picker and return the model that is chosen.

    Args:
        current: The link's, if it has one.
        fresh: Whether the link decides.
        used: Whether what is shown is asked of a model.
    """
    listed = catalogue.models()
    if current and (fresh or "model" not in st.session_state):
        st.session_state["model"] = current
    st.session_state.setdefault("model", DEFAULT)
    with st.sidebar:
        name = st.selectbox(
            "Model",
            list(listed),
            key="model",
            disabled=not used,
            help="Short names, and models that were loaded on this machine: "
            "`python -m interp_core models --fetch FOLDER-OR-HUB-ID` adds one.",
        )
        model = listed[name]
        place = "on this machine" if local_folder(model) else f"{model.size} to fetch"
        st.caption(
            (f"{model.source}, {place}" if model.size else place) if used else "not asked here"
        )
    return model


def offer(name: str, size: str) -> bool:
    """Say what a model takes that is not here, and return whether the reader has it fetched.

    Where it comes under terms of its own, they are accepted first.
    """
    packaged = PACKAGED.get(name)
    needs = packaged.needs if packaged else size
    st.info(f"{name} is not on this machine yet. It is {needs}, fetched once and kept.")
    accepted = packaged is None or packaged.accepted
    if not accepted:
        accepted = st.checkbox(f"I have read and accept [the terms of {name}]({packaged.terms}).")
    if not st.button(f"Fetch {name} ({size})", type="primary", disabled=not accepted):
        return False
    if packaged is not None:
        packaged.accept()
    return True
