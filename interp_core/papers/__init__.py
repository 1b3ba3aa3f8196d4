"""The papers: one module each, found by the name that the command line and links use."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from interp_core import store
from interp_core.models import catalogue
from interp_core.models.language_model import LanguageModel
from interp_core.params import keep_only
from interp_core.results import Result


@dataclass(frozen=True)
class Paper:
    """What is said of a paper before it is opened."""

    name: str
    title: str
    claim: str
    reference: str
    url: str
    built: bool
    """Whether its module is there."""

    @property
    def stem(self) -> str:
        """Its name in file and module names."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> ModuleType:
        """Its module, with ``Params``, ``run``, ``analysis``, ``attach`` and ``PRESETS``."""
        return importlib.import_module(f"interp_core.papers.{self.stem}")

    def analysis(self, params: Any) -> tuple[type[Result], Any]:
        """Return the kind of result that ``params`` ask for, and ``params`` as it is kept by."""
        return self.module.analysis(params)

    def kept_by(self, params: Any) -> Any:
        """Return what the arrays of ``params`` are kept by: without what only redraws them."""
        kind, asked = self.analysis(params)
        return _without(asked, kind.redraws)


PAPERS: dict[str, Paper] = {
    paper.name: paper
    for paper in (
        Paper(
            "logit-lens",
            "Logit Lens",
            "Read the model's next-token guess after every layer.",
            "nostalgebraist 2020",
            "https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens",
            True,
        ),
        Paper(
            "tuned-lens",
            "Tuned Lens",
            "Learn, for every layer, how to read it.",
            "Belrose et al. 2023",
            "https://arxiv.org/abs/2303.08112",
            False,
        ),
        Paper(
            "causal-tracing",
            "Causal Tracing and ROME",
            "Find where a fact is stored, and rewrite it.",
            "Meng et al. 2022",
            "https://arxiv.org/abs/2202.05262",
            True,
        ),
        Paper(
            "steering",
            "Contrastive Activation Addition",
            "Add a direction to the stream, and change what the model does.",
            "Rimsky et al. 2024",
            "https://arxiv.org/abs/2312.06681",
            False,
        ),
        Paper(
            "induction-heads",
            "Induction Heads",
            "Find the heads that continue repeated patterns, and watch them form.",
            "Olsson et al. 2022",
            "https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/",
            True,
        ),
        Paper(
            "sparse-autoencoder",
            "Towards Monosemanticity",
            "Decompose activations into features that mean one thing.",
            "Bricken et al. 2023",
            "https://transformer-circuits.pub/2023/monosemantic-features/",
            False,
        ),
    )
}


def stored(paper: Paper, params: Any) -> Result | None:
    """Return the kept or shipped result of ``params``, without loading a model; or None."""
    kind = paper.analysis(params)[0]
    known = catalogue.find(params.model)
    fingerprint = known.fingerprint if known else None
    if kind.reads_model and not fingerprint:
        return None
    result = store.get(kind, paper.kept_by(params), fingerprint or "")
    return result and paper.module.attach(result.read_by(params), fingerprint or "")


def obtain(paper: Paper, model: LanguageModel, params: Any, *, findings: bool = True) -> Result:
    """Return the result of ``params`` on ``model``: the kept one, or computed and kept.

    Raises:
        ParameterError: When a parameter does not fit the model.
    """
    kind = paper.analysis(params)[0]
    fresh = not getattr(params, "resume", True)
    kept = None if fresh else store.get(kind, paper.kept_by(params), model.info.fingerprint)
    if kept is None:
        kept = paper.module.run(model, _without(params, kind.redraws), findings=False)
        store.put(kept)
    kept = kept.read_by(params)
    return paper.module.attach(kept, model.info.fingerprint, model if findings else None)


def _without(params: Any, names: frozenset[str]) -> Any:
    return keep_only(params, {field.name for field in dataclasses.fields(params)} - names)
