"""Arrays and one JSON header in an ``.npz`` archive, read back without trusting it."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

LARGEST = 1 << 30
"""Bytes that no archive may have, or hold."""

_EXPANDS, _SMALL = 300, 1 << 20
"""How many times its size an archive may hold, and how many bytes one of any size may. Results
shrink by 3, traces of severed branches, mostly NaN, by 200; a trap by 1,000."""


def pack(
    file: IO[bytes], header: Any, arrays: Mapping[str, np.ndarray], *, compress: bool = True
) -> None:
    """Write arrays and a header, which must be JSON, to ``file``."""
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    save = np.savez_compressed if compress else np.savez
    save(file, header=text, **arrays)  # type: ignore[arg-type]


def unpack(file: IO[bytes]) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the header and the arrays that :func:`pack` wrote.

    Sizes are read from the archive's directory before anything is expanded, and only arrays of
    numbers are read: nothing that a file can hold takes more memory than it says, or runs.

    Raises:
        ValueError: When it is damaged, of another kind, or holds more than its size allows.
    """
    try:
        size = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if any(not 0 <= member.header_offset < size for member in members):
                raise ValueError("it says that an array begins outside of it")
            expanded = sum(member.file_size for member in members)
            if expanded > min(_EXPANDS * size + _SMALL, LARGEST):
                raise ValueError(f"it would expand from {size:,} to {expanded:,} bytes")
            arrays = {m.filename.removesuffix(".npy"): _array(archive, m) for m in members}
        if len(arrays) < len(members):
            raise ValueError("it holds two arrays of one name")
        return json.loads(arrays.pop("header").tobytes()), arrays
    except OSError:
        raise
    except Exception as error:  # damage shows itself as almost any of them
        raise ValueError(f"not a readable archive: {str(error)[:200]}") from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{info.filename} is of another version of numpy's format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biuf" or size != info.file_size - member.tell():
            raise ValueError(f"{info.filename} is no array of {shape} numbers")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def check_axes(fields: Mapping[str, Any], axes: Mapping[str, str]) -> None:
    """Check arrays, and the lengths of tuples, against their axes' names.

    Args:
        fields: Values by name; every array must be in ``axes``.
        axes: By name, e.g. ``{"kl": "layer position"}``. Axes of one name are of one length, a
            number is that length, and only an axis whose name ends in ``?`` may be empty.

    Raises:
        ValueError: When one differs; the message names it.
    """
    arrays = {name for name, value in fields.items() if isinstance(value, np.ndarray)}
    if unknown := arrays - axes.keys():
        raise ValueError(f"{', '.join(sorted(unknown))}: no such array is expected")
    lengths: dict[str, int] = {}
    for name, expected in axes.items():
        value, names = fields[name], expected.split()
        shape = value.shape if name in arrays else (len(value),)
        fits = len(shape) == len(names) and all(
            length == (int(axis) if axis.isdigit() else lengths.setdefault(axis, length))
            and (length > 0 or axis.endswith("?"))
            for axis, length in zip(names, shape, strict=True)
        )
        if not fits:
            raise ValueError(f"{name} has the shape {list(shape)}, not [{expected}]")


def jsonable(value: Any) -> Any:
    """Return ``value`` with numpy scalars as Python's and numbers that JSON lacks as null."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
