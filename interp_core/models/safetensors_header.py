"""The header of a safetensors file, checked before any loader sees it.

Loaders trust what they read, and differ in what they make of a key that is there twice.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import IO, Any

_MAX_HEADER = 1 << 25
_MAX_RANK = 16
_BYTES = {
    **dict.fromkeys(["F64", "I64", "U64"], 8),
    **dict.fromkeys(["F32", "I32", "U32"], 4),
    **dict.fromkeys(["F16", "BF16", "I16", "U16"], 2),
    **dict.fromkeys(["I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"], 1),
}
"""Bytes of an element, by type."""


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a safetensors file that keeps all rules of its format.

    Raises:
        ValueError: When one is broken; the message names it.
    """
    if not file.is_file():  # a pipe would make its reader wait for ever
        raise ValueError(f"{file} is no regular file")
    try:
        with file.open("rb") as opened:
            return described(opened, file.stat().st_size)[1]
    except ValueError as error:
        raise ValueError(f"{file} is damaged or cut short: {error}") from None


def described(opened: IO[bytes], size: int) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Return the metadata, and the shape of every tensor, of a file of ``size`` bytes.

    Raises:
        ValueError: See :func:`shapes`.
    """
    length = int.from_bytes(opened.read(8), "little")
    if length > min(size - 8, _MAX_HEADER):
        raise ValueError(f"a header of {length} bytes is announced in a file of {size}")
    header = _parse(opened.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its __metadata__ is no map of texts")
    spans = {name: _span(name, entry) for name, entry in header.items()}
    end = 0
    for name, (begin, stop) in sorted(spans.items(), key=lambda entry: entry[1]):
        if begin != end:
            problem = "overlaps another tensor" if begin < end else "leaves a hole before it"
            raise ValueError(f"{name[:60]!r} {problem}")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"its tensors end at byte {end}, and its data at {size - 8 - length}")
    return metadata, {name: tuple(entry["shape"]) for name, entry in header.items()}


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict) or not text.startswith(b"{"):
        raise ValueError("its header is no JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:60]!r} is there twice")
        found[name] = value
    return found


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Return where a tensor's bytes begin and end, which its type and shape must agree with."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:60]!r} has not dtype, shape and data_offsets, or has more")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise ValueError(f"{name[:60]!r} has dtype {str(dtype)[:20]!r}")
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
        raise ValueError(
            f"the shape or offsets of {name[:60]!r} are no short lists of whole numbers"
        )
    begin, end = offsets
    if end - begin != math.prod(shape) * _BYTES[dtype]:
        raise ValueError(f"{name[:60]!r} takes {end - begin} bytes, unlike its shape and type")
    return begin, end


def _whole(numbers: Any) -> bool:
    if not isinstance(numbers, list) or len(numbers) > _MAX_RANK:
        return False
    return all(type(number) is int and 0 <= number < 1 << 48 for number in numbers)
