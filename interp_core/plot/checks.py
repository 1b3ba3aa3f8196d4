"""Charts made without a check of each of their parts against Vega-Lite's schema, which takes a third of the time.

Tests check whole charts, every one there is.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from altair.utils.schemapi import debug_mode


def unchecked() -> AbstractContextManager[None]:
    """Return a context in which charts are made so."""
    return debug_mode(False)
