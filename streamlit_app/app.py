"""Lensbook, the app: `streamlit run streamlit_app/app.py`."""

from functools import partial
from pathlib import Path

import garbage
import home
import page
import streamlit as st
import width
from address import left_at

from interp_core.registry import PAPERS

st.set_page_config("Lensbook", Path(__file__).with_name("icon.png"), layout="wide")
st.html("<style>.stMainBlockContainer {padding-top: 3.5rem; padding-bottom: 3rem}</style>")
papers = {
    name: st.Page(partial(page.draw, paper), title=paper.title, url_path=name)
    for name, paper in PAPERS.items()
}
first = st.Page(
    partial(home.draw, papers),
    title="Lensbook",
    icon=":material/home:",
    default=True,
    url_path="home",
)
chosen = st.navigation([first, *papers.values()], position="hidden")
with st.sidebar:
    st.page_link(first)
    st.caption("Papers")
    for name, each in papers.items():
        st.page_link(each, query_params=left_at(PAPERS[name]))
width.measure()
chosen.run()
garbage.spare_modules()
