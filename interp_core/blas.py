"""A fast BLAS under MLX on Linux CPUs.

MLX's Linux CPU wheel carries the reference BLAS, some fifty times slower than OpenBLAS. The
dynamic linker takes ``cblas_sgemm`` from the first library that offers it globally, so a fast
CBLAS loaded with ``RTLD_GLOBAL`` *before* ``mlx.core`` serves MLX too, and MLX is left as it is.

A library may load and yet end the process at its first product, where it was built for another
processor. So each is first tried in a process of its own (``blas_check.py``), once per library and
processor; ``blas_libraries.py`` finds the libraries.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from interp_core.blas_libraries import LIBRARIES, Library, stamp
from interp_core.paths import cache_dir, whole

chosen = "MLX's own"
"""Which BLAS MLX uses, in words, for ``doctor`` and provenance."""

passed_over: dict[str, str] = {}
"""Why each library that was tried before the chosen one does not serve."""

PATIENCE = 30.0
"""Seconds after which a check that has not ended counts as hanging; it takes half a second."""

_CHECK = Path(__file__).with_name("blas_check.py")
_KERNEL_LINES = ("vendor_id", "cpu family", "model", "flags", "CPU", "Features")


def use_fast_blas() -> None:
    """Put OpenBLAS under MLX, on Linux without CUDA only; elsewhere MLX is fast as it is.

    Takes the first of ``LIBRARIES`` that multiplies rightly on this processor. Where none does, MLX
    still works, slowly: a warning and :data:`chosen` say so, :data:`passed_over` says why.
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
    for library in LIBRARIES:
        try:
            with _folder() as folder:
                _load(library, folder)
        except OSError as error:
            passed_over[library.name] = " ".join(str(error).split())
            continue
        chosen = library.name
        return
    chosen = "MLX's reference BLAS (slow)"
    reasons = "; ".join(f"{name}: {why}" for name, why in passed_over.items())
    warnings.warn(
        f"matrix products are some 60 times as slow as they could be, as no fast BLAS serves here "
        f"({reasons})",
        stacklevel=3,
    )


def _mlx_is_cpu_only() -> bool:
    try:
        return bool(metadata.version("mlx-cpu"))
    except metadata.PackageNotFoundError:
        return False


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Open the folder of copies and outcomes, or a passing one where the cache is not writable."""
    try:
        folder = cache_dir("blas")
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if writable:
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="lensbook-") as passing:
            yield Path(passing)


def _load(library: Library, folder: Path) -> None:
    """Load a library for all that come after it; OSError says why it does not serve."""
    key = json.dumps([library.name, library.identity(), _processor()])
    record = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    outcome = _recall(record)
    if outcome is None:
        outcome = _try(library, folder)
        with contextlib.suppress(OSError), whole(record) as file:
            file.write(json.dumps(outcome).encode())
    if outcome["fault"]:
        raise OSError(outcome["fault"])
    ctypes.CDLL(outcome["file"], mode=ctypes.RTLD_GLOBAL)


def _processor() -> str:
    """Return what OpenBLAS goes by when it picks its kernels."""
    lines = [os.environ.get("OPENBLAS_CORETYPE", "")]
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if not line.strip():
                break  # the first processor stands for all
            if line.startswith(_KERNEL_LINES):
                lines.append(line)
    return "".join(lines)


def _recall(record: Path) -> dict | None:
    """Return the kept outcome, if it can be read and the file it tells of is still the same."""
    try:
        outcome = json.loads(record.read_bytes())
        same = bool(outcome["fault"]) or stamp(Path(outcome["file"])) == outcome["stamp"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return outcome if same else None


def _try(library: Library, folder: Path) -> dict:
    """Check a library in a process of its own; return the file to load, or what is wrong."""
    command = [sys.executable, "-P", str(_CHECK), library.prepare(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"fault": f"hangs: no product within {PATIENCE:.0f} s"}
    if done.returncode == -signal.SIGINT:
        raise KeyboardInterrupt  # Ctrl-C reaches all processes of a terminal: no fault to remember
    if done.returncode < 0:
        return {"fault": f"ends the process: {signal.strsignal(-done.returncode)}"}
    if done.returncode > 0:
        return {"fault": done.stderr.strip().rpartition("\n")[2] or "the check failed"}
    file = done.stdout.strip()
    return {"fault": "", "file": file, "stamp": stamp(Path(file))}


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
