"""Mechanistic interpretability on the reader's own model: the analyses behind Lensbook."""

from interp_core import interrupt

interrupt.quit_while_starting()  # before the imports that take long

from interp_core.blas import use_fast_blas  # noqa: E402

use_fast_blas()  # must come before anything imports mlx

from interp_core.models.loading import load_model  # noqa: E402
from interp_core.residual import Site  # noqa: E402

__all__ = ["Site", "load_model"]
