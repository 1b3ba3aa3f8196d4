"""Lensbook, the app: `streamlit run streamlit_app/app.py`."""

from pathlib import Path

import streamlit as st

from interp_core.papers import PAPERS

st.set_page_config("Lensbook", Path(__file__).with_name("icon.png"), layout="wide")
home = st.Page("app_pages/home.py", title="Lensbook", icon=":material/home:", default=True)
papers = [
    st.Page(f"app_pages/{paper.stem}.py", title=paper.title, url_path=paper.name)
    for paper in PAPERS.values()
    if paper.built
]
st.navigation({"": [home], "Papers": papers}).run()
