"""Keep garbage collections short: Streamlit makes a full one after every run of a page."""

from __future__ import annotations

import gc
import sys

_loaded = 0


def spare_modules() -> None:
    """Take what modules hold out of the collector's way, when there are new ones.

    They are never garbage, and walking through them takes longer than most pages do.
    """
    global _loaded
    if len(sys.modules) > _loaded:
        _loaded = len(sys.modules)
        gc.freeze()
