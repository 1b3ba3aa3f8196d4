"""Answer a prompt as the model is, and steered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import mlx.core as mx
import numpy as np

from interp_core.block import KV
from interp_core.models.language_model import LanguageModel
from interp_core.papers.steering.compute.intervene import held
from interp_core.papers.steering.compute.make import steering
from interp_core.papers.steering.compute.prompts import asked, check_length
from interp_core.papers.steering.generations import Generations
from interp_core.papers.steering.params import Params, Scope, start_of
from interp_core.provenance import Recorder
from interp_core.residual import Edit, ResidualStream, Site
from interp_core.runtime import report, show
from interp_core.sampling import choose

SHOWN = 5
"""New tokens between two views of what is there."""

G = TypeVar("G", bound=Generations)


class Drawn(Protocol):
    """How answers are drawn."""

    @property
    def scope(self) -> Scope:
        """Which tokens are steered."""

    @property
    def max_tokens(self) -> int:
        """Of an answer, at most."""

    @property
    def temperature(self) -> float:
        """0 takes the likeliest token."""

    @property
    def seed(self) -> int:
        """Of the draws."""


class Steers(Protocol):
    """What steers a batch of answers."""

    @property
    def rows(self) -> int:
        """How many strengths there are."""

    @property
    def first(self) -> int:
        """The first layer that is steered."""

    @property
    def strengths(self) -> np.ndarray:
        """One a row, [row]; 0 leaves it as it is."""

    @property
    def vectors(self) -> Mapping[int, np.ndarray]:
        """By layer, [row or 1, d_model], directions of the residual stream."""

    def edits(self) -> dict[Site, Edit]:
        """Return what is put in place of sites' values [row, pos, ...]."""


def steer(model: LanguageModel, params: Params) -> Generations:
    """Generate answers of all strengths as one batch. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit the model.
    """
    tokenizer = model.require_tokenizer()
    prompt = asked(tokenizer, params.prompt, params.system)
    check_length(model, len(prompt) + params.max_tokens)
    strengths = [0.0, params.multiplier] + [-params.multiplier] * params.opposite
    with Recorder() as recorder:
        by = steering(model, params, strengths)
        runs = [params.attention == "frozen"] + [True] * params.also_frozen
        parts: list[Read] = []

        def result(latest: Read | None = None) -> Generations:
            done = parts if latest is None else [*parts, latest]
            return measured(Generations, model, params, recorder, prompt, done, runs, by)

        for number, frozen in enumerate(runs):
            reader = Reader(model, prompt, by)
            ids = np.zeros((by.rows, 0), np.int64)
            for ids in generate(model.stream, prompt, by, params, tokenizer.eos_id, frozen=frozen):
                count = ids.shape[1]
                report(
                    "answering", number * params.max_tokens + count, len(runs) * params.max_tokens
                )
                if count % SHOWN == 0:
                    show(result(reader.read(ids)))
            parts.append(reader.read(ids))
        return result()


@dataclass(frozen=True)
class Read:
    """Answers, and what the unsteered model makes of them."""

    ids: np.ndarray
    """[row, step], -1 after their ends."""
    surprise: np.ndarray
    """[row, step] nats."""
    along: np.ndarray
    """[row, pos] of prompt and answer but the last token: the stream's projection on the vector's direction."""

    def padded(self, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all three for answers of ``length`` tokens: what is not there is -1 or NaN."""
        there = self.ids >= 0
        along = np.pad(self.along, ((0, 0), (0, 1)), constant_values=np.nan)
        along[:, along.shape[1] - there.shape[1] :][~there] = np.nan
        more = (0, 0), (0, length - self.ids.shape[1])
        return (
            np.pad(self.ids, more, constant_values=-1),
            np.pad(np.where(there, self.surprise, np.nan), more, constant_values=np.nan),
            np.pad(along, more, constant_values=np.nan),
        )


class Reader:
    """Reads answers with the unsteered model as they grow, each token once.

    Args:
        model: As it is.
        prompt: Ids.
        by: What steered.
    """

    def __init__(self, model: LanguageModel, prompt: list[int], by: Steers) -> None:
        self._stream, self._prompt = model.stream, prompt
        self._site = Site("resid_post", by.first)
        vector = by.vectors[by.first][0]
        self._unit = mx.array(vector / max(float(np.linalg.norm(vector)), 1e-30))
        self._kv: dict[int, KV] = {}
        self._surprise = np.zeros((by.rows, 0), np.float32)
        self._along = np.zeros((by.rows, 0), np.float32)

    def read(self, ids: np.ndarray) -> Read:
        """Return what the model makes of ``ids`` [row, step], which begin with those it read before."""
        known, first = self._along.shape[1], len(self._prompt) - 1
        texts = np.concatenate([np.tile(self._prompt, (len(ids), 1)), np.maximum(ids, 0)], 1)
        new, end = texts[:, known:-1], max(first, known)
        if new.shape[1]:
            run = self._stream.run(
                mx.array(new),
                prefix=self._kv,
                keep=[self._site],
                keep_kv=True,
                unembed=slice(end - known, None),
            )
            self._kv = run.kv
            logits = run.logits.astype(mx.float32)  # type: ignore[union-attr]
            chosen = mx.take_along_axis(logits, mx.array(texts[:, end + 1 :, None]), -1)[..., 0]
            along = (run.acts[self._site].astype(mx.float32) * self._unit).sum(-1)
            surprise = mx.logsumexp(logits, axis=-1) - chosen
            mx.eval(surprise, along, [(p.keys, p.values) for p in self._kv.values()])
            self._surprise = np.concatenate([self._surprise, np.array(surprise)], 1)
            self._along = np.concatenate([self._along, np.array(along)], 1)
        return Read(ids, self._surprise, self._along)


def generate(
    stream: ResidualStream,
    prompt: list[int],
    by: Steers,
    params: Drawn,
    eos: int | None = None,
    *,
    frozen: bool = False,
) -> Iterator[np.ndarray]:
    """Yield the ids of the answers so far, [row, step], after every new token of all rows.

    Args:
        stream: What runs.
        prompt: Ids.
        by: What steers; one row for each of its strengths.
        params: How many tokens, which are steered, and how they are drawn.
        eos: The id that ends an answer; what follows it is -1.
        frozen: Whether attention after the first steered layer keeps the pattern that the unsteered
            model has on the same tokens.
    """
    draw = np.random.default_rng(params.seed)
    start = start_of(params.scope, len(prompt))
    kv: dict[int, KV] = {}
    logits: mx.array | None = None
    if start:
        run = stream.run(
            mx.array([prompt[:start]]),
            keep_kv=True,
            leave=slice(-1, None),
            unembed=slice(None) if start == len(prompt) else None,
        )
        kv = run.kv
        logits = None if run.logits is None else mx.tile(run.logits, (by.rows, 1, 1))
    plain, edits = dict(kv), by.edits()
    ids = np.zeros((by.rows, 0), np.int64)
    new = mx.array([prompt[start:]] * by.rows)
    ended = np.zeros(by.rows, bool)
    while ids.shape[1] < params.max_tokens and not ended.all():
        if logits is None:
            patterns = {}
            if frozen:
                sites = [Site("pattern", n) for n in range(by.first + 1, stream.n_layers)]
                beside = stream.run(new, prefix=plain, keep_kv=True, keep=sites, unembed=None)
                plain = beside.kv
                patterns = {site: held(beside.acts[site]) for site in sites}
            run = stream.run(
                new, prefix=kv, edits={**edits, **patterns}, keep_kv=True, leave=slice(-1, None)
            )
            kv, logits = run.kv, run.logits
        assert logits is not None
        scores = logits[:, -1].astype(mx.float32)
        mx.eval(
            scores, [(pair.keys, pair.values) for each in (kv, plain) for pair in each.values()]
        )
        chosen = np.where(ended, -1, choose(np.array(scores), params.temperature, draw))
        ids = np.concatenate([ids, chosen[:, None]], 1)
        ended |= chosen == (-1 if eos is None else eos)
        new, logits = mx.array(np.maximum(chosen, 0)[:, None]), None
        yield ids


def measured(
    kind: type[G],
    model: LanguageModel,
    params: Any,
    recorder: Recorder,
    prompt: list[int],
    parts: list[Read],
    runs: list[bool],
    by: Steers,
    **more: Any,
) -> G:
    """Return the answers with what the unsteered model makes of them.

    Args:
        kind: Of result.
        model: As it is.
        params: What was asked.
        recorder: Of the computation.
        prompt: Ids.
        parts: The answers, one part after another.
        runs: Whether attention was frozen, of each part.
        by: What steered.
        more: Further fields of the result.
    """
    tokenizer, runs = model.require_tokenizer(), runs[: len(parts)]
    padded = zip(*(part.padded(params.max_tokens) for part in parts), strict=True)
    ids, surprise, along = map(np.concatenate, padded)
    spoken = [[i for i in row if i >= 0 and i != tokenizer.eos_id] for row in ids.tolist()]
    return kind(
        params=params,
        provenance=recorder.provenance(model.info, prompt, params.seed),
        layers=np.array(sorted(by.vectors)),
        strengths=np.tile(by.strengths, len(runs)),
        frozen=np.repeat(runs, by.rows),
        prompt=tuple(token.text for token in tokenizer.tokens(prompt)),
        tokens=tuple(
            tuple(token.text for token in tokenizer.tokens([i for i in row if i >= 0]))
            for row in ids.tolist()
        ),
        texts=tuple(tokenizer.decode(row) for row in spoken),
        ids=ids,
        surprise=surprise,
        projection=along,
        vector_norm=float(np.linalg.norm(by.vectors[by.first][0])),
        **more,
    )
