"""What identifies a model: a digest of everything in its folder that changes a number.

It is computed from the files, since what a folder says of itself may be of another model; what takes
long is remembered in the cache, for files that do not change.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from interp_core import store
from interp_core.paths import cache_dir

_METADATA = {
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
"""Keys of a config that change no number. All others count, known here or not."""

_OTHERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "hf_quant_config.json",  # mlx-lm takes a quantisation from it
)
"""Files that are read beside config and weights."""


def model_sha256(folder: Path) -> str:
    """Return the digest of a folder's weights, config, tokenizer and chat template."""
    config = json.loads((folder / "config.json").read_bytes())
    content = [
        weights_sha256(folder),
        {key: value for key, value in config.items() if key not in _METADATA},
        {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in _OTHERS
            if (folder / name).exists()
        },
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def weights_sha256(folder: Path) -> str:
    """Return the digest of a folder's tensors: names, types, shapes and values, in order of name.

    However they are laid out in files, equal tensors have one digest: writers differ in the order
    of tensors, and checkpoints in how they are cut.
    """
    files = sorted(folder.resolve().glob("model*.safetensors"))
    stamps = [_stamp(file) for file in files]
    name = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:32]
    kept = cache_dir("digests") / f"{name}.json"

    def parse(opened: IO[bytes]) -> str:
        content = json.loads(opened.read())
        if not isinstance(content, dict) or content.get("files") != stamps:
            raise ValueError("it is of other files")
        return content["sha256"]

    if (known := store.read(kept, parse)) is not None:
        return known
    digest = _tensors_sha256(files)
    text = json.dumps({"files": stamps, "sha256": digest})
    store.write(kept, lambda opened: opened.write(text.encode()))
    return digest


def _stamp(file: Path) -> list[str | int]:
    """Return what changes whenever a file's content does; its owner can set no ``st_ctime_ns``."""
    status = file.stat()
    return [str(file), status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _tensors_sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    tensors = sorted(entry for file in files for entry in _tensors(file))
    for head, file, begin, end in tensors:
        digest.update(head.encode())
        with (
            file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
            view[begin:end] as values,
        ):
            digest.update(values)
    return digest.hexdigest()


def _tensors(file: Path) -> Iterator[tuple[str, Path, int, int]]:
    """Yield name, type and shape of each tensor, its file, and where its values begin and end."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        head = json.dumps([name, entry["dtype"], entry["shape"]])
        yield head, file, 8 + size + begin, 8 + size + end
