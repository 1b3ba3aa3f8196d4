"""Models that ship with Lensbook: small ones, trained here."""

from __future__ import annotations

from pathlib import Path

from interp_core.paths import SHIPPED

ONE_LAYER = "one-layer"
"""A one-layer transformer on bytes, as in Bricken et al. 2023, small."""

BUNDLED = {ONE_LAYER: ("trained by sparse-autoencoder transformer", "1 MB")}
"""By name: where it comes from, and its size."""


def folder(name: str) -> Path:
    """Return the folder of a model that ships."""
    return SHIPPED / "models" / name
