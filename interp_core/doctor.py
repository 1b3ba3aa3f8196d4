"""What Lensbook runs on, for people and for bug reports."""

from __future__ import annotations

import platform
import shutil
import time
from importlib import metadata

import mlx.core as mx

from interp_core import blas
from interp_core.models import catalogue
from interp_core.models.loading import local_folder
from interp_core.paths import cache_dir
from interp_core.runtime import device, on_compute_thread

_PACKAGES = (
    "lensbook",
    "mlx",
    "mlx-lm",
    "numpy",
    "pandas",
    "altair",
    "streamlit",
    "tokenizers",
    "transformers",
    "vl-convert-python",
)
_ROWS, _INNER, _COLUMNS = 1024, 576, 1536


@on_compute_thread
def gflops() -> float:
    """Return the speed of a 1024 x 576 x 1536 float32 product, in GFLOP/s, best of ten."""
    a, b = mx.random.normal((_ROWS, _INNER)), mx.random.normal((_INNER, _COLUMNS))
    mx.eval(a, b)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        mx.eval(a @ b)
        seconds.append(time.perf_counter() - start)
    return 2 * _ROWS * _INNER * _COLUMNS / min(seconds) / 1e9


def report() -> str:
    """Return the report, a line each."""
    cache = cache_dir("models").parent
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) / 1e9
    listed = catalogue.models().values()
    ready = [model.id for model in listed if model.fingerprint and local_folder(model)]
    passed = [f"passed over {name}: {why}" for name, why in blas.passed_over.items()]
    quarto = shutil.which("quarto")
    lines = {
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        "device": device(),
        "BLAS": "; ".join([blas.chosen, *passed]),
        "matrix product": f"{gflops():.0f} GFLOP/s (1024 x 576 x 1536, float32)",
        "cache": f"{cache} ({size:.2f} GB; {shutil.disk_usage(cache).free / 1e9:.0f} GB free)",
        "models ready": ", ".join(ready) or "none yet",
        "Quarto": quarto or "not installed; reports are built as a preview",
        "versions": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }
    return "\n".join(f"{name + ':':16} {value}" for name, value in lines.items())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
