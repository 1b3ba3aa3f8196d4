"""The model picker, in the sidebar of every page."""

from __future__ import annotations

import streamlit as st

from interp_core.models import catalogue
from interp_core.models.catalogue import KnownModel
from interp_core.models.loading import local_folder


def pick(current: str, *, fresh: bool) -> KnownModel:
    """Show the picker and return the model that is chosen."""
    listed = catalogue.models()
    if fresh or "model" not in st.session_state:
        st.session_state["model"] = current
    with st.sidebar:
        name = st.selectbox(
            "Model",
            list(listed),
            key="model",
            help="Short names, and models that were loaded on this machine: "
            "`python -m interp_core models --fetch FOLDER-OR-HUB-ID` adds one.",
        )
        model = listed[name]
        place = "on this machine" if local_folder(model) else f"{model.size} to fetch"
        st.caption(f"{model.source}, {place}" if model.size else place)
    return model
