"""How likely the matching answer is, over the other one, under a batch of strengths.

Steering leaves alone what is before it, so that runs once: the keys and values of the prompt, and the answers' residuals
up to the layer steered.
"""

from __future__ import annotations

from collections.abc import Collection

import mlx.core as mx
import numpy as np

from interp_core import readout
from interp_core.block import KV
from interp_core.models.language_model import LanguageModel
from interp_core.papers.steering.compute.intervene import Steering, held
from interp_core.papers.steering.compute.prompts import Item, check_length
from interp_core.papers.steering.params import Scope, start_of
from interp_core.residual import Edit, Site

_ROWS = 64
"""Texts of a batch, at most: strengths times answers."""


class Scored:
    """An item, run up to the layers that are to be steered.

    Args:
        model: What answers.
        item: A prompt, and answers of which each is scored.
        layers: Layers that are steered, one at a time or together.
        scope: ``after`` steers from the prompt's last token on, ``all`` every token, ``generated`` the
            answers' tokens alone.
    """

    def __init__(
        self, model: LanguageModel, item: Item, layers: Collection[int], scope: Scope = "after"
    ) -> None:
        longest = max(len(answer) for answer in item.answers)
        check_length(model, len(item.prompt) + longest)
        self.stream, self.answers = model.stream, item.answers
        start = start_of(scope, len(item.prompt))
        self.prefix: dict[int, KV] = {}
        self.first: np.ndarray | None = None
        if start:
            asks = slice(-1, None) if scope == "generated" else None
            run = self.stream.run(mx.array([item.prompt[:start]]), keep_kv=True, unembed=asks)
            self.prefix = run.kv
            if run.logits is not None:
                logits = run.logits[0].astype(mx.float32)
                at = np.array(logits)[0, [answer[0] for answer in item.answers]]
                self.first = at - readout.log_normaliser(logits)[0]
        # What is fed: an answer's last token only would say what comes after it.
        self.skipped = len(item.prompt) - start if self.first is None else 1
        self.length = longest - 1 + (self.skipped if self.first is None else 0)
        fed = np.zeros((len(item.answers), max(self.length, 1)), np.int32)
        for row, answer in enumerate(item.answers):
            ids = [*item.prompt[start:], *answer[:-1]]
            fed[row, : len(ids)] = ids
        keep = [Site("resid_post", layer) for layer in layers]
        last = max(layers) + 1
        run = self.stream.run(mx.array(fed), prefix=self.prefix, stop=last, keep=keep, unembed=None)
        self.resid = {layer: run.acts[Site("resid_post", layer)] for layer in layers}
        mx.eval(*self.resid.values(), [(kv.keys, kv.values) for kv in self.prefix.values()])

    def read(self, steering: Steering, *, frozen: bool = False) -> np.ndarray:
        """Return each answer's mean log-likelihood a token, nats, [row, answer].

        Args:
            steering: Of ``rows`` strengths.
            frozen: Whether attention after the first steered layer keeps the unsteered pattern.
        """
        each = max(1, _ROWS // len(self.answers))
        parts = []
        for start in range(0, steering.rows, each):
            rows = slice(start, start + each)
            vectors = {
                layer: v if len(v) == 1 else v[rows] for layer, v in steering.vectors.items()
            }
            part = Steering(vectors, steering.strengths[rows], steering.operator)
            parts.append(self._read(part, frozen=frozen))
        return np.concatenate(parts)

    def _read(self, steering: Steering, *, frozen: bool) -> np.ndarray:
        count, layer = len(self.answers), steering.first
        out = np.zeros((steering.rows, count))
        totals = np.array([len(answer) for answer in self.answers], float)
        if self.first is not None:
            out += self.first
        if self.length:
            patterns = self._patterns(layer, steering.rows) if frozen else None
            resid = steering.resume(self.stream, self.resid[layer], self.prefix, patterns)
            out += self._likelihoods(resid, steering.rows)
        return out / totals

    def _patterns(self, layer: int, rows: int) -> dict[Site, Edit]:
        """Return edits that put the unsteered model's attention patterns in place."""
        sites = [Site("pattern", n) for n in range(layer + 1, self.stream.n_layers)]
        run = self.stream.run(
            resid=self.resid[layer], start=layer + 1, prefix=self.prefix, keep=sites, unembed=None
        )
        return {site: held(mx.tile(run.acts[site], (rows, 1, 1, 1))) for site in sites}

    def _likelihoods(self, resid: mx.array, rows: int) -> np.ndarray:
        """Return the answers' summed log-likelihoods of residuals [row * answer, pos, d_model]."""
        spans, targets = [], []
        for i, answer in enumerate(self.answers):
            ids = answer if self.first is None else answer[1:]
            first = self.skipped - 1 if self.first is None else 0
            spans += [(i, first + j) for j in range(len(ids))]
            targets += ids
        owner = np.array([i for i, _ in spans], int)
        at = np.array([position for _, position in spans], int)
        batch = (np.arange(rows)[:, None] * len(self.answers) + owner).ravel()
        chosen = resid[mx.array(batch), mx.array(np.tile(at, rows))]
        lost = readout.surprisal(self.stream.unembed, chosen, np.tile(targets, rows))
        out = np.zeros((rows, len(self.answers)))
        for i in range(len(self.answers)):
            out[:, i] = -lost.reshape(rows, -1)[:, owner == i].sum(-1)
        return out


def score(log_likelihoods: np.ndarray) -> np.ndarray:
    """Return p(matching), [...], of mean log-likelihoods [..., 2], matching answer first.

    The sigmoid of their difference: of answers of one token, p(A) / (p(A) + p(B)) as in Rimsky et al.
    """
    return 1 / (1 + np.exp(log_likelihoods[..., 1] - log_likelihoods[..., 0]))
