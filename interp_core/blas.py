"""A fast BLAS under MLX on Linux CPUs.

MLX's Linux CPU wheel carries the reference BLAS, some fifty times slower than OpenBLAS. The
dynamic linker takes ``cblas_sgemm`` from the first library that offers it globally, so a fast
CBLAS loaded with ``RTLD_GLOBAL`` *before* ``mlx.core`` serves MLX too, and MLX is left as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from interp_core.paths import cache_dir

chosen = "MLX's own"
"""Which BLAS MLX uses, in words, for ``doctor`` and provenance."""


def use_fast_blas() -> None:
    """Put OpenBLAS under MLX, on Linux without CUDA only; elsewhere MLX is fast as it is.

    Tries the ``cmeel-openblas`` wheel, then the system's ``libopenblas.so.0``. Where neither loads,
    MLX still works, slowly, and :data:`chosen` says so.
    """
    global chosen
    if sys.platform != "linux" or not _mlx_is_cpu_only():
        return
    if "mlx.core" in sys.modules:
        chosen = "MLX's reference BLAS (mlx was imported before interp_core)"
        warnings.warn(
            "mlx was imported before interp_core, so matrix products are some 60 times as slow as "
            "they could be: import interp_core first",
            stacklevel=3,
        )
        return
    # Idle BLAS threads sleep at once instead of spinning on the cores that numpy needs.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "12")
    for name, load in (("cmeel-openblas", _load_wheel), ("system OpenBLAS", _load_system)):
        try:
            load()
        except OSError:
            continue
        chosen = name
        return
    chosen = "MLX's reference BLAS (slow: neither cmeel-openblas nor libopenblas.so.0 loads)"


def _mlx_is_cpu_only() -> bool:
    try:
        return bool(metadata.version("mlx-cpu"))
    except metadata.PackageNotFoundError:
        return False


def _load_system() -> None:
    ctypes.CDLL("libopenblas.so.0", mode=ctypes.RTLD_GLOBAL)


def _load_wheel() -> None:
    site = Path(find_spec("mlx").submodule_search_locations[0]).parent  # type: ignore[union-attr, index]
    library = site / "cmeel.prefix" / "lib" / "libopenblas.so.0"
    if not library.exists():
        raise OSError(f"{library} is not installed")
    try:
        ctypes.CDLL("libgfortran.so.5")
    except OSError:
        _lend_gfortran(site / "mlx_cpu.libs")
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _lend_gfortran(bundled: Path) -> None:
    """Give OpenBLAS the Fortran runtime that MLX's wheel bundles, on systems without one.

    The wheel's copy bears a mangled name, and the linker satisfies ``libgfortran.so.5`` only by a
    library of that name: so a copy is renamed inside (same length, padded) and loaded first.
    """
    source = next(bundled.glob("libgfortran-*"), None)
    if source is None:
        raise OSError("no Fortran runtime to lend")
    for quadmath in bundled.glob("libquadmath-*"):
        ctypes.CDLL(str(quadmath))
    lent = cache_dir("blas") / source.name
    if not lent.exists():
        mangled = source.name.encode() + b"\0"
        renamed = source.read_bytes().replace(
            mangled, b"libgfortran.so.5".ljust(len(mangled), b"\0")
        )
        with tempfile.NamedTemporaryFile(dir=lent.parent, delete=False) as file:
            file.write(renamed)
        os.replace(file.name, lent)
    ctypes.CDLL(str(lent))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let OpenBLAS, where MLX uses it, multiply on one core.

    Products of tiny models take microseconds, and waking a second core for each longer: up to ten
    times, where other work wants that core.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "openblas_set_num_threads"):
        yield
        return
    before = library.openblas_get_num_threads()
    library.openblas_set_num_threads(1)
    try:
        yield
    finally:
        library.openblas_set_num_threads(before)
