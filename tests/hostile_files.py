"""Read damaged files, thousands if need be, in a process whose death can be seen.

Run as ``python hostile_files.py KIND COUNT SEED FOLDER``. Every file is made from a good one. What
becomes of it is counted and written as JSON; a file that is read and differs from the good one, or
is refused in more than one line, ends the process with its number.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tiny_gguf
from safetensors.numpy import load_file

from interp_core import archive
from interp_core.models import gguf, safetensors_header

Tensors = dict[str, np.ndarray]
HUGE = (0, 1, 2**31, 2**32 - 1, 2**40, 2**48, 2**63, 2**64 - 1)


def good_gguf(folder: Path) -> tuple[Path, int]:
    """Return a good file, and where what can be seen to be wrong in it ends."""
    keys = tiny_gguf.byte_level()
    config, weights = tiny_gguf.checkpoint("gemma3", len(keys["tokenizer.ggml.tokens"]))
    config["num_hidden_layers"] = 1
    weights = {name: value for name, value in weights.items() if not re.search(r"s\.[1-9]", name)}
    file = tiny_gguf.write_gguf(folder / "good.gguf", config, weights, keys)
    last = file.read_bytes().rfind(b".weight")
    return file, last + len(".weight") + 4 + 16 + 4 + 8


def read_gguf(file: Path) -> Tensors:
    target = file.with_name("converted")
    shutil.rmtree(target, ignore_errors=True)
    return load_file(gguf.convert(file, target) / "model.safetensors")


def good_safetensors(folder: Path) -> tuple[Path, int]:
    config, weights = tiny_gguf.checkpoint("llama", 40)
    file = tiny_gguf.write_folder(folder / "good", config, weights) / "model.safetensors"
    return file, 8 + int.from_bytes(file.read_bytes()[:8], "little")


def read_safetensors(file: Path) -> Tensors:
    asked = safetensors_header.shapes(file.with_name("good") / "model.safetensors")
    if safetensors_header.shapes(file) != asked:
        raise ValueError("the model asks for other tensors")
    tensors = load_file(file)
    if any(value.dtype != np.float32 for value in tensors.values()):
        raise ValueError("the model asks for another kind of tensor")
    return tensors


def good_npz(folder: Path) -> tuple[Path, int]:
    rng = np.random.default_rng(0)
    arrays = {
        "grid": rng.normal(size=(7, 5)).astype(np.float32),
        "ids": np.arange(40),
        "flags": np.arange(9) % 2 == 0,
    }
    file = folder / "good.npz"
    with file.open("wb") as opened:
        archive.pack(opened, {"paper": "logit-lens"}, arrays, compress=False)
    return file, file.stat().st_size


def read_npz(file: Path) -> Tensors:
    with file.open("rb") as opened:
        header, arrays = archive.unpack(opened)
    if header != {"paper": "logit-lens"} or arrays.keys() != {"grid", "ids", "flags"}:
        raise ValueError("the paper asks for other arrays")
    return arrays


KINDS: dict[str, tuple[Callable, Callable]] = {
    "gguf": (good_gguf, read_gguf),
    "safetensors": (good_safetensors, read_safetensors),
    "npz": (good_npz, read_npz),
}


def flip(data: bytearray, end: int, rng: np.random.Generator) -> None:
    for at in rng.integers(0, end, rng.integers(1, 4)):
        data[at] ^= 1 << int(rng.integers(8))


def replace(data: bytearray, end: int, rng: np.random.Generator) -> None:
    data[int(rng.integers(end))] = int(rng.integers(256))


def cut(data: bytearray, end: int, rng: np.random.Generator) -> None:
    del data[int(rng.integers(len(data) if rng.random() < 0.5 else end)) :]


def grow(data: bytearray, end: int, rng: np.random.Generator) -> None:
    data += bytes(int(rng.integers(1, 4000)))


def integer(data: bytearray, end: int, rng: np.random.Generator) -> None:
    """Put a count, length or offset that is out of all bounds."""
    width = int(rng.choice([4, 8]))
    at = int(rng.integers(0, end - width))
    if rng.random() < 0.5:
        at = int(rng.choice([0, 4, 8, 16, 24]))
    number = int(rng.choice(np.array(HUGE, object))) % 2 ** (8 * width)
    data[at : at + width] = number.to_bytes(width, "little")


def digits(data: bytearray, end: int, rng: np.random.Generator) -> None:
    """Put another number where a number is written in digits: an offset, a size, a name."""
    found = [m.span() for m in re.finditer(rb"\d+", bytes(data[:end]))]
    begin, stop = found[int(rng.integers(len(found)))]
    number = int(rng.choice(np.array([*HUGE, 3, 64, 256, 1000], object)))
    keep = rng.random() < 0.5
    text = str(number).encode()
    data[begin:stop] = text[: stop - begin].ljust(stop - begin, b"0") if keep else text


def twice(data: bytearray, end: int, rng: np.random.Generator) -> None:
    """Write a piece of the header over another one, so that names and offsets are there twice."""
    size = int(rng.integers(4, 80))
    a, b = (int(at) for at in rng.integers(8, end - size, 2))
    data[a : a + size] = data[b : b + size]


def rename(data: bytearray, end: int, rng: np.random.Generator) -> None:
    """Give one tensor another's name."""
    names = [m.span() for m in re.finditer(rb"[a-z_.0-9]+\.(weight|npy)", bytes(data[:end]))]
    a, b = (names[int(i)] for i in rng.integers(0, len(names), 2))
    if a != b and a[1] - a[0] == b[1] - b[0]:
        data[a[0] : a[1]] = data[b[0] : b[1]]


MUTATIONS = (flip, replace, cut, grow, integer, digits, twice, rename)


def check(number: int, read: Callable, file: Path, expected: Tensors) -> str:
    """Return how the file fared; whatever else happens ends the process."""
    try:
        found = read(file)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000, (number, error)
        return "refused"
    assert found.keys() == expected.keys(), number
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=f"file {number}, {name}")
    return "equal"


def main(kind: str, count: int, seed: int, folder: Path) -> None:
    make, read = KINDS[kind]
    good, end = make(folder)
    original, first = good.read_bytes(), folder / "damaged"
    first.write_bytes(original)
    expected = read(first)
    before, slowest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0
    fared: dict[str, int] = {}
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        data = bytearray(original)
        MUTATIONS[number % len(MUTATIONS)](data, end, rng)
        file = folder / "damaged"
        file.write_bytes(data)
        started = time.process_time()
        how = check(number, read, file, expected)
        slowest = max(slowest, time.process_time() - started)
        fared[how] = fared.get(how, 0) + 1
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"fared": fared, "slowest": slowest, "memory": memory}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
