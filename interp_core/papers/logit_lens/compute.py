"""Run the logit lens on a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from interp_core import corpus, readout
from interp_core.block import Part
from interp_core.models.language_model import LanguageModel
from interp_core.papers.logit_lens import prompts
from interp_core.papers.logit_lens.lens import LogitLens
from interp_core.papers.logit_lens.params import MAX_TOKENS, Params
from interp_core.params import ParameterError, resolve
from interp_core.provenance import Recorder
from interp_core.residual import ResidualStream, Site
from interp_core.runtime import report
from interp_core.tokens import Tokenizer


def lens(model: LanguageModel, params: Params) -> LogitLens:
    """Read every requested layer and position of one prompt. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit this model; the message names it.
    """
    with Recorder() as recorder:
        shared, (read,) = readings(model, params, [as_it_is])
    provenance = recorder.provenance(model.info, shared.pop("ids"))
    return LogitLens(params=params, provenance=provenance, **shared, **read)


Translate = Callable[[int, mx.array], mx.array]
"""What a lens makes of the residual [..., d_model] of a layer, before norm and unembedding."""


def as_it_is(_: int, resid: mx.array) -> mx.array:
    """Return the residual: the logit lens translates nothing."""
    return resid


def readings(
    model: LanguageModel, params: Params, lenses: Sequence[Translate]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read one prompt through several lenses, on one run of the model.

    Returns:
        What does not depend on the lens, as fields of :class:`LogitLens`, and ``ids``; and, for each
        lens, the statistics of what it reads.

    Raises:
        ParameterError: When a parameter does not fit this model; the message names it.
    """
    ids = encode(model, params)
    layers = resolve(params.layers, model.info.n_layers, "layers", keep_last=True)
    positions = resolve(params.positions, len(ids), "positions")
    watched = [_watched(model, text) for text in params.watch]
    if params.layers[0] == 0 and params.stream == "resid_post":
        layers = [-1, *layers]
    stream = model.stream
    pass_ = forward(stream, ids, params.stream)
    following = np.array([*ids[1:], -1])[positions]
    found: list[dict[str, Any]] = []
    for lens_ in lenses:
        states = {layer: lens_(layer, pass_.states[layer]) for layer in layers}
        through = dataclasses.replace(pass_, states=states)
        found.append(_read(stream, through, layers, positions, following, watched, params.top_k))
    attribution, logits = _attribution(stream, pass_, positions, found[0], watched)
    tokenizer = model.require_tokenizer()
    seen = {*ids, *watched, *found[0]["final_top"].tolist()}
    seen = seen.union(*(np.unique(read["top_ids"]).tolist() for read in found))
    shared = {
        "ids": ids,
        "tokens": tuple(token.text for token in tokenizer.tokens(ids)),
        "vocabulary": {int(i): tokenizer.text(i) for i in sorted(seen)},
        "layers": np.array(layers),
        "positions": np.array(positions),
        "watched": np.array(watched, np.int32),
        "attribution": attribution,
        "attribution_logit": logits,
    }
    same = ("final_top", "final_probs", "next_ids")
    shared |= {name: found[0][name] for name in same}
    return shared, [{n: v for n, v in read.items() if n not in same} for read in found]


def encode(model: LanguageModel, params: Params) -> list[int]:
    """Return the prompt's ids.

    Raises:
        ParameterError: When the prompt is too long for the model, or needs what it lacks.
    """
    try:
        ids = tokens(model.require_tokenizer(), params)
    except ValueError as error:
        raise ParameterError(str(error)) from None
    limit = min(model.info.context, MAX_TOKENS)
    if not 1 <= len(ids) <= limit:
        raise ParameterError(
            f"prompt: it has {len(ids)} tokens; accepted: 1 to {limit} "
            f"(the model's context is {model.info.context}, the page's limit {MAX_TOKENS})"
        )
    return ids


def tokens(tokenizer: Tokenizer, params: Params) -> list[int]:
    """Return the prompt's ids."""
    return tokenizer.prompt(params.prompt, chat=params.chat, bos=params.bos)


def _watched(model: LanguageModel, text: str) -> int:
    try:
        return model.require_tokenizer().single(text)
    except ValueError as error:
        raise ParameterError(f"watch: {error}") from None


@dataclass(frozen=True)
class Pass:
    """One forward pass, with the residuals that the lens reads; arrays [1, pos, d_model]."""

    states: dict[int, mx.array]
    """What is read at each layer; -1 is the embedding."""
    sums: list[mx.array]
    """The stream from the embedding on, after each attention and each MLP: 2 L + 1 of them."""
    final: mx.array
    """The last residual."""


def forward(stream: ResidualStream, ids: list[int], part: Part) -> Pass:
    """Run ``ids`` once and keep the residuals the lens reads."""
    report("running the model", 0, 0)
    layers = range(stream.n_layers)
    parts: set[Part] = {"resid_mid", "resid_post", part}
    kept = [Site(p, layer) for p in parts for layer in layers]
    tokens = mx.array([ids])
    embedding = stream.embed(tokens)
    run_ = stream.run(resid=embedding, keep=kept, unembed=None)
    states = {layer: run_.acts[Site(part, layer)] for layer in layers}  # type: ignore[arg-type]
    sums = [embedding]
    for layer in layers:
        sums += [run_.acts[Site("resid_mid", layer)], run_.acts[Site("resid_post", layer)]]
    return Pass({-1: embedding, **states}, sums, run_.resid)


def _read(
    stream: ResidualStream,
    pass_: Pass,
    layers: list[int],
    positions: list[int],
    following: np.ndarray,
    watched: list[int],
    top_k: int,
) -> dict[str, np.ndarray]:
    """Return the statistics of every (layer, position), as fields of :class:`LogitLens`."""
    where = mx.array(positions)
    grid: list[list[readout.Readout]] = []
    finals = []
    parts = list(readout.chunks(len(positions)))
    for done, part in enumerate(parts):
        final = readout.final(stream.unembed(pass_.final[0, where[part]]))
        finals.append((final.top, final.top_prob))
        known = following[part] >= 0
        targets = np.stack(
            [
                final.top,
                np.where(known, following[part], 0),
                *(np.full(len(final.top), token) for token in watched),
            ],
            axis=-1,
        )
        column: list[readout.Readout] = []
        for group in readout.together(len(layers), len(final.top), final.probs.shape[-1]):
            states = mx.stack([pass_.states[layer][0, where[part]] for layer in layers[group]])
            logits = stream.unembed(states)
            mx.eval(logits)
            column += [readout.read(each, final, targets, top_k) for each in logits]
            report("reading layers", done * len(layers) + len(column), len(parts) * len(layers))
        grid.append(column)

    def joined(name: str) -> np.ndarray:
        """Return a statistic as [layer, position, ...]."""
        columns = [np.stack([getattr(cell, name) for cell in column]) for column in grid]
        return np.concatenate(columns, axis=1)

    return {
        "final_top": np.concatenate([top for top, _ in finals]).astype(np.int32),
        "final_probs": np.concatenate([prob for _, prob in finals]),
        "next_ids": following.astype(np.int32),
        **{field.name: joined(field.name) for field in dataclasses.fields(readout.Readout)},
    }


def _attribution(
    stream: ResidualStream,
    pass_: Pass,
    positions: list[int],
    read: dict[str, np.ndarray],
    watched: list[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Return each component's direct share of the logits of chosen tokens, and those logits.

    The final norm is linear once its scale is fixed at the final residual's, so the logit is the
    sum of what the embedding, each attention and each MLP wrote (TransformerLens, ``logit_attrs``).
    Shapes [target, component, position] and [target, position]; targets are the model's own top
    token, then the watched ones; the last component is the norm's bias, 0 for RMSNorm.
    """
    where = mx.array(positions)
    targets = np.stack([read["final_top"], *(np.full(len(positions), t) for t in watched)])
    final = pass_.final[0, where]
    linear = stream.linear_logit(final, mx.array(targets))

    def share(resid: mx.array) -> mx.array:
        return (resid[0, where].astype(mx.float32) * linear.direction).sum(-1)

    running = mx.stack([share(resid) for resid in pass_.sums], axis=1)
    parts = mx.concatenate([running[:, :1], running[:, 1:] - running[:, :-1]], axis=1)
    parts = mx.concatenate([parts, linear.constant[:, None]], axis=1)
    return np.array(parts), np.array(linear.logit)


def averages(model: LanguageModel, params: prompts.PromptsParams) -> prompts.Averages:
    """Read every prompt that comes with Lensbook, or every document. On the compute thread only."""
    texts = _texts(model, params)
    cells = []
    with Recorder() as recorder:
        for done, ids in enumerate(texts):
            report(f"reading {params.text}", done, len(texts))
            cells.append(_measure(model, ids))
        provenance = recorder.provenance(model.info, [], params.seed)
    return prompts.summarise(params, cells, provenance)


def _texts(model: LanguageModel, params: prompts.PromptsParams) -> list[list[int]]:
    """Return the ids of every prompt, or of what is read of every document."""
    tokenizer = model.require_tokenizer()
    if params.text != prompts.PROMPTS:
        length = min(prompts.CONTEXT, model.info.context)
        shuffled = params.text == prompts.SHUFFLED
        texts = corpus.load("prose" if shuffled else params.text)
        read = corpus.openings(tokenizer, texts, length)
        return _shuffled(tokenizer, read, params.seed) if shuffled else read
    return [tokenizer.prompt(each["prompt"])[: model.info.context] for each in prompts.prompts()]


def _shuffled(tokenizer: Tokenizer, texts: list[list[int]], seed: int) -> list[list[int]]:
    """Return the same tokens in random order, behind what stands in front."""
    draw, front = np.random.default_rng(seed), len(tokenizer.front("auto", auto="document"))
    return [[*ids[:front], *draw.permutation(ids[front:]).tolist()] for ids in texts]


def _measure(model: LanguageModel, ids: list[int]) -> dict[str, np.ndarray]:
    """Return what the averages need of one prompt; arrays [layer, position]."""
    layers = list(range(-1, model.info.n_layers))
    pass_ = forward(model.stream, ids, "resid_post")
    positions = list(range(len(ids)))
    read = _read(model.stream, pass_, layers, positions, np.array(ids), [], 1)
    own = model.stream.run(mx.array([ids])).logits[0].astype(mx.float32)
    own = own - mx.logsumexp(own, axis=-1, keepdims=True)
    own_top = np.array(mx.take_along_axis(own, mx.array(read["final_top"])[:, None], -1))[:, 0]
    parts, logits = _attribution(model.stream, pass_, positions, read, [])
    return {
        "kl": read["kl"],
        "entropy": read["entropy"],
        "rank": read["rank"][:, :, 0],
        "is_input": read["top_ids"][:, :, 0] == np.array(ids),
        "output_gap": np.abs(read["log_prob"][-1, :, 0] - own_top),
        "attribution_gap": np.abs(parts.sum(1) - logits)[0],
    }
