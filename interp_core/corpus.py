"""Texts to read: those that are at hand without a network."""

from __future__ import annotations

import gzip

from interp_core.paths import SHIPPED

MANUAL = "manual.txt.gz"
"""All topics of Python 3.11.7's ``pydoc``, one after another; their licence is beside them. They ship
with Lensbook, since every release of Python brings others, and numbers would differ with them."""


def manual() -> str:
    """Return the Python manual that ships."""
    return gzip.decompress((SHIPPED / MANUAL).read_bytes()).decode()
