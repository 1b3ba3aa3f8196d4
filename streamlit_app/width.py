"""The width of a page's column, as the browser tells it, for figures to lay themselves out by."""

from __future__ import annotations

import streamlit as st

from interp_core.plot import theme

_WIDE, _STEP = 940, 20
"""Pixels from which on every figure has all the room it likes; and by how many widths differ."""

# Tells a width that is another than the one that the page was drawn for.
_SCRIPT = f"""
export default ({{ data, setStateValue }}) => {{
  const column = document.querySelector('[data-testid="stMainBlockContainer"]');
  let told = data.width, timer;
  const tell = () => {{
    const style = getComputedStyle(column);
    const inner = column.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const width = inner >= {_WIDE} ? 0 : Math.floor(inner / {_STEP}) * {_STEP};
    if (width !== told && inner > 0) {{
      told = width;
      setStateValue('width', width);
    }}
  }};
  const observer = new ResizeObserver(() => {{
    clearTimeout(timer);
    timer = setTimeout(tell, 200);
  }});
  tell();
  observer.observe(column);
  return () => observer.disconnect();
}};
"""

_column = st.components.v2.component("lensbook_column", js=_SCRIPT)


def measure() -> None:
    """Measure the column; where it is not as wide as it was taken to be, the page is drawn again."""
    with st.container(key="column"):
        st.html("<style>.st-key-column {position: absolute; height: 0; overflow: hidden}</style>")
        told = st.session_state.get("width", 0)
        found = _column(key="column-width", data={"width": told}, on_width_change=lambda: None)
    st.session_state["width"] = getattr(found, "width", None) or 0


def room() -> int | None:
    """Return how wide a figure may be, in pixels; None where it may be as wide as it likes."""
    width = st.session_state.get("width", 0)
    return width - 2 * theme.PADDING if width else None
