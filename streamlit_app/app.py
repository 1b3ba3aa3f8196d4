"""Lensbook, the app: `streamlit run streamlit_app/app.py`."""

from pathlib import Path

import streamlit as st
from components.state import address_of

from interp_core.papers import PAPERS

st.set_page_config("Lensbook", Path(__file__).with_name("icon.png"), layout="wide")
home = st.Page("app_pages/home.py", title="Lensbook", icon=":material/home:", default=True)
built = [paper for paper in PAPERS.values() if paper.built]
pages = [
    st.Page(f"app_pages/{paper.stem}.py", title=paper.title, url_path=paper.name) for paper in built
]
chosen = st.navigation([home, *pages], position="hidden")
with st.sidebar:
    st.page_link(home)
    st.caption("Papers")
    for paper, page in zip(built, pages, strict=True):
        st.page_link(page, query_params=address_of(paper))
chosen.run()
