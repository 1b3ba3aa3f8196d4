"""Dictionaries that readers bring: files kept here, folders of other libraries, folders of the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from interp_core import model_files
from interp_core.corpus import HUB
from interp_core.papers.sparse_autoencoder import layouts
from interp_core.papers.sparse_autoencoder.dictionary import KEPT, Dictionary

_PUBLISHED = {
    "gemma-3-270m": "google/gemma-scope-2-270m-pt/resid_post_all/layer_9_width_16k_l0_small",
    "gpt2": "jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre",
}
"""Of a middle layer of models that others have published dictionaries of."""
_FILES = ("cfg.json", "config.json", "*.safetensors", "params.npz", "ae.pt")


def published(model: str) -> str:
    """Return a folder of the hub that has a dictionary of a model, ``owner/name/folder``; empty where none is known."""
    return _PUBLISHED.get(model, "")


def read(path: Path) -> str:
    """Read a reader's dictionary, keep it, and return the name that parameters give it.

    Accepts a file that was kept here, a folder of SAELens (``cfg.json``, ``sae_weights.safetensors``), of
    sparsify (``cfg.json``, ``sae.safetensors``), of dictionary_learning (``config.json``, ``ae.pt``), of
    Gemma Scope 1 (``params.npz``) or 2 (``config.json``, ``params.safetensors``), and
    ``hf:owner/name/folder``, such a folder on the Hugging Face hub.

    Raises:
        ParameterError: When it is none of these; the message says what is wrong.
    """
    return model_files.brought(path, "sae", KEPT, _content)


def _content(path: Path) -> bytes:
    if str(path).startswith(HUB):
        path = _fetched(str(path).removeprefix(HUB))
    if path.is_file() and path.name != "params.npz":
        return layouts.content(path)
    folder = path if path.is_dir() else path.parent
    for file, load_ in _LAYOUTS.items():
        if (folder / file).is_file():
            return load_(folder.resolve()).to_bytes()
    raise ValueError(f"it holds none of {', '.join(_LAYOUTS)}")


def _fetched(name: str) -> Path:
    """Return a folder of the hub, fetched when it is not there.

    Raises:
        ValueError: When it cannot be fetched, or is too large.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    owner, repository, *inner = [part.strip() for part in f"{name}//".split("/")]
    hub, folder = f"{owner}/{repository}", "/".join(part for part in inner if part)
    wanted = [f"{folder}/{file}".strip("/") for file in _FILES]
    try:
        tree = HfApi().list_repo_tree(hub, folder or None)
        size = sum(each.size for each in tree if isinstance(each, RepoFile))
        if size > layouts.LARGEST:
            raise ValueError(f"the folder has {size / 1e9:.1f} GB; accepted: at most 1 GB")
        return Path(snapshot_download(hub, allow_patterns=wanted)) / folder
    except Exception as error:  # the hub's own kinds, and those of the network below it
        raise ValueError(f"it could not be fetched: {error}") from None


_LAYOUTS: dict[str, Callable[[Path], Dictionary]] = {
    "sae_weights.safetensors": layouts.saelens,
    "sae.safetensors": layouts.sparsify,
    "ae.pt": layouts.dictionary_learning,
    "params.npz": layouts.gemma_scope,
    "params.safetensors": layouts.gemma_scope_2,
}
"""By the file that tells a layout from others."""
