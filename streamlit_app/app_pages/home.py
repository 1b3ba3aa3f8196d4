"""What Lensbook is, and the six papers."""

import streamlit as st
from components.model import pick
from components.state import address_of

from interp_core.models.catalogue import DEFAULT
from interp_core.papers import PAPERS

st.markdown("## Lensbook")
st.markdown(
    "Six papers of mechanistic interpretability, reproduced on your own model. Every view is a "
    "link, every number comes with its interval and its provenance, and what does not hold is said."
)
st.session_state["page"] = "home"
pick(st.session_state.get("model", DEFAULT), fresh="model" not in st.session_state)

for row in (list(PAPERS.values())[:3], list(PAPERS.values())[3:]):
    for column, paper in zip(st.columns(3), row, strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"#### {paper.title}")
            st.markdown(paper.claim)
            st.caption(f"[{paper.reference}]({paper.url})")
            if paper.built:
                st.page_link(
                    f"app_pages/{paper.stem}.py",
                    label="Open",
                    icon=":material/arrow_forward:",
                    query_params=address_of(paper),
                )
            else:
                st.caption("Not built yet.")

st.markdown(
    "**To begin**, open the Logit Lens: its figure is there at once, from results that ship with "
    "Lensbook. Type a prompt of your own and the model runs on this machine; nothing leaves it. "
    "The same analyses are a command line (`python -m interp_core logit-lens --help`), a Python "
    "package (`interp_core`), and a printed report (`make report`)."
)
