"""Continue a prompt while a feature is added, clamped or taken away, by the machinery of steering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.compute.apply import Applied
from interp_core.papers.sparse_autoencoder.compute.codes import of_feature, writes
from interp_core.papers.sparse_autoencoder.params import SteerParams
from interp_core.papers.sparse_autoencoder.steered import Steered
from interp_core.papers.steering.compute.generate import SHOWN, Reader, generate, measured
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.residual import Edit, Site
from interp_core.runtime import report, show


@dataclass(frozen=True, eq=False)
class Held:
    """A feature, steered in all rows but the first."""

    found: Applied
    feature: int
    mode: str
    amount: float
    """Activation that is added, or that it is clamped to."""
    vectors: Mapping[int, np.ndarray]
    """By layer, [1, d_model], what a unit of the feature writes."""
    strengths: np.ndarray
    """[row]: 0, then 1."""

    @property
    def rows(self) -> int:
        """How many continuations there are."""
        return len(self.strengths)

    @property
    def first(self) -> int:
        """The layer of the dictionary's site."""
        return self.found.site.layer

    def edits(self) -> dict[Site, Edit]:
        """Return the edit of the dictionary's site."""
        direction = self.found.weights["W_dec"][self.feature]

        def edit(x: mx.array) -> mx.array:
            if self.mode == "add":
                step = mx.full((*x.shape[:-1], 1), self.amount) * direction
            else:
                flat = x.astype(mx.float32).reshape(-1, x.shape[-1])
                own = self.found.encode(flat)[:, self.feature].reshape(*x.shape[:-1], 1)
                step = ((self.amount if self.mode == "clamp" else 0.0) - own) * direction
            on = mx.array(self.strengths)[:, None, None] != 0
            return mx.where(on, x + step.astype(x.dtype), x)

        return {self.found.site: edit}


def steer(model: LanguageModel, params: SteerParams) -> Steered:
    """Continue a prompt as the model is and with the feature. On the compute thread only.

    Raises:
        ParameterError: When there is no such feature, it is never active in the text, or the prompt is
            too long.
    """
    tokenizer = model.require_tokenizer()
    prompt = tokenizer.prompt(params.prompt)
    if len(prompt) + params.max_tokens > model.info.context:
        raise ParameterError(
            f"prompt: with {params.max_tokens} new tokens it has {len(prompt) + params.max_tokens:,}; "
            f"{model.info.id} reads {model.info.context:,}"
        )
    with Recorder() as recorder:
        found, read = of_feature(model, params)
        peak = float(read.of(params.feature)[1].max())
        wrote = np.array(writes(model, found)[params.feature : params.feature + 1])
        by = Held(
            found,
            params.feature,
            params.mode,
            params.strength * peak,
            {found.site.layer: wrote},
            np.array([0.0, 1.0]),
        )

        reader = Reader(model, prompt, by)

        def result(ids: np.ndarray) -> Steered:
            parts, more = [reader.read(ids)], {"about": found.dictionary.card.about, "peak": peak}
            return measured(Steered, model, params, recorder, prompt, parts, [False], by, **more)

        ids = np.zeros((by.rows, 0), np.int64)
        for ids in generate(model.stream, prompt, by, params, tokenizer.eos_id):
            report("continuing", ids.shape[1], params.max_tokens)
            if ids.shape[1] % SHOWN == 0:
                show(result(ids))
        return result(ids)
