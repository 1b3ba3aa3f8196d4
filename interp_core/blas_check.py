"""Check that a BLAS multiplies rightly on this processor: ``python -P blas_check.py LIBRARY``.

Run in a process of its own, since a library made for another processor ends the process at its
first product, without a word. Prints the file that was loaded; exits with what is wrong otherwise.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

import numpy as np

# One row, odd sizes, sizes below and above those that OpenBLAS shares out among cores.
SHAPES = ((1, 576, 1536), (7, 3, 5), (33, 129, 65), (64, 576, 49), (130, 301, 515))
_ROW_MAJOR, _AS_IS, _TRANSPOSED = 101, 111, 112


class _Symbol(ctypes.Structure):
    """What ``dladdr`` fills in."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def product(library: ctypes.CDLL, a: np.ndarray, b: np.ndarray, transpose: bool) -> np.ndarray:
    """Return a @ b [m, n] by ``cblas_sgemm``; ``b`` is given as its transpose on request."""
    (m, k), n = a.shape, b.shape[1]
    right = np.ascontiguousarray(b.T if transpose else b)
    out = np.empty((m, n), np.float32)
    pointer, one, zero = ctypes.c_void_p, ctypes.c_float(1), ctypes.c_float(0)
    library.cblas_sgemm(
        *(_ROW_MAJOR, _AS_IS, _TRANSPOSED if transpose else _AS_IS, m, n, k, one),
        *(pointer(a.ctypes.data), k, pointer(right.ctypes.data), right.shape[1]),
        *(zero, pointer(out.ctypes.data), n),
    )
    return out


def check(library: ctypes.CDLL) -> str | None:
    """Return what is wrong, or None.

    Of whole numbers this small every order of summation gives the same float, and numpy multiplies
    integers without a BLAS: so the products must be equal, not close.
    """
    rng = np.random.default_rng(0)
    for m, k, n in SHAPES:
        a, b = rng.integers(-9, 10, (m, k)), rng.integers(-9, 10, (k, n))
        for transpose in (False, True):
            found = product(library, a.astype(np.float32), b.astype(np.float32), transpose)
            if not np.array_equal(found, a @ b):
                return f"wrong product of {m} x {k} and {k} x {n}"
    return None


def main(name: str) -> str | None:
    """Load the library, check it and print its file; return what is wrong, or None."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # whoever dies here was expected to
    try:
        library = ctypes.CDLL(name)
        function = library.cblas_sgemm
    except (OSError, AttributeError) as error:
        return str(error)
    fault = check(library)
    symbol = _Symbol()
    ctypes.CDLL(None).dladdr(function, ctypes.byref(symbol))
    print(os.path.realpath(os.fsdecode(symbol.file)))
    return fault


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
