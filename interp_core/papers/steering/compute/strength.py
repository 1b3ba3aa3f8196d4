"""Steer one layer by many strengths, and by vectors that say nothing of the behaviour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from interp_core import corpus, readout
from interp_core.models.language_model import LanguageModel
from interp_core.papers.causal_tracing import facts
from interp_core.papers.steering import pairs as contrast
from interp_core.papers.steering.compute.extract import activations
from interp_core.papers.steering.compute.intervene import Steering
from interp_core.papers.steering.compute.make import shipped, steering, vectors_of
from interp_core.papers.steering.compute.prompts import Item, item
from interp_core.papers.steering.compute.score import Scored, score
from interp_core.papers.steering.params import StrengthParams, layer_of
from interp_core.papers.steering.strength import RANDOM, SHUFFLED, Strength
from interp_core.provenance import Recorder
from interp_core.runtime import report, stage

_CONTEXT = 96
"""Tokens of a document that the loss is measured on."""
_FACTS, _CHOICES = 48, 4


def strength(model: LanguageModel, params: StrengthParams) -> Strength:
    """Measure one layer's steering. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit the model.
    """
    layer = layer_of(params.layer, model.info.n_layers)
    up = np.arange(1, params.steps + 1) * params.most / params.steps
    multipliers = np.concatenate([-up[::-1], [0.0], up])
    at = min(1.0, params.most)
    behaviour = contrast.load(params.behaviour, params.pairs)
    train, held_out = behaviour.split()
    tokenizer, frozen = model.require_tokenizer(), params.attention == "frozen"
    prompts = {"none": "", "positive": behaviour.system[0], "negative": behaviour.system[1]}
    systems = {name: text for name, text in prompts.items() if text or name == "none"}
    with Recorder() as recorder:
        by = steering(model, params, multipliers)
        vector = by.vectors[layer][0]
        with stage("reading pairs", 0, 4):
            floors, others = _floors(model, params, layer, vector, train)
        p = np.empty((len(systems), len(multipliers), len(held_out)))
        floor = np.empty((len(floors), 2, len(held_out)))
        each = np.concatenate([others, others])
        signs = np.repeat([-at, at], len(others))
        beside = Steering({layer: each}, signs, params.operator)
        with stage("scoring pairs", 1, 4):
            for i, pair in enumerate(held_out):
                report("scoring pairs", i, len(held_out))
                for row, system in enumerate(systems.values()):
                    one = Scored(
                        model, item(tokenizer, pair, params.protocol, system), [layer], params.scope
                    )
                    p[row, :, i] = score(one.read(by, frozen=frozen))
                    if row == 0:
                        floor[:, :, i] = score(one.read(beside, frozen=frozen)).reshape(2, -1).T
        with stage("reading unrelated text", 2, 4):
            loss, sizes = _losses(model, by, params.documents)
        with stage("answering facts", 3, 4):
            right = _right(model, by)
    norms = vectors_of(model, params).card.resid_norm
    return Strength(
        params=params,
        provenance=recorder.provenance(model.info, [], params.seed),
        behaviour=behaviour.name,
        layer=layer,
        multipliers=multipliers,
        systems=tuple(systems),
        p=p,
        floors=tuple(floors),
        at=at,
        floor=floor,
        loss=loss,
        sizes=sizes,
        right=right,
        vector_norm=float(np.linalg.norm(vector)),
        resid_norm=norms[layer] if layer < len(norms) else 0.0,
    )


def _floors(
    model: LanguageModel, params: StrengthParams, layer: int, vector: np.ndarray, train: tuple
) -> tuple[list[str], np.ndarray]:
    """Return vectors of equal norm that are compared, [floor, d_model], and what each is; its own first."""
    draw = np.random.default_rng(params.seed)
    both, _ = activations(model, train, params.protocol)
    differences = both[:, 0, layer] - both[:, 1, layer]
    signs = draw.choice([-1.0, 1.0], size=(params.draws, len(differences)))
    found: dict[str, np.ndarray] = {
        RANDOM: draw.normal(size=(params.draws, len(vector))),
        SHUFFLED: signs @ differences / len(differences),
    }
    for name in contrast.BEHAVIOURS:
        if params.pairs or name != params.behaviour:
            found[name] = shipped(model, params, name).vectors.at(layer)[None]
    names: list[str] = ["your pairs" if params.pairs else params.behaviour]
    names += [name for name, rows in found.items() for _ in rows]
    rows = np.concatenate([vector[None], *found.values()]).astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return names, rows / np.maximum(lengths, 1e-30) * np.linalg.norm(vector)


def _losses(model: LanguageModel, by: Steering, documents: int) -> tuple[np.ndarray, np.ndarray]:
    """Return summed losses of prose by strength, [strength, document], and how many tokens each has.

    Every token is steered, but for what stands in front, and the first token, the attention sink, is left
    out of the sum.
    """
    tokenizer, stream = model.require_tokenizer(), model.stream
    front = tokenizer.front("auto", auto="document")
    texts = corpus.load("prose")[:documents]
    length = min(_CONTEXT, model.info.context) - len(front)
    losses, sizes = [], []
    for done, text in enumerate(texts):
        report("reading unrelated text", done, len(texts))
        ids = [*front, *tokenizer.encode(text, bos=False)[:length]]
        kv = stream.run(mx.array([front]), keep_kv=True, unembed=None).kv if front else {}
        first = stream.run(
            mx.array([ids[len(front) : -1]]), prefix=kv, stop=by.first + 1, unembed=None
        )
        resid = by.resume(stream, first.resid, kv)
        skip = 0 if front else 1
        targets = np.array(ids[len(front) + 1 :], np.int64)[skip:]
        rows = resid[:, skip:].reshape(-1, stream.d_model)
        lost = readout.surprisal(stream.unembed, rows, np.tile(targets, by.rows))
        losses.append(lost.reshape(by.rows, -1).sum(1))
        sizes.append(len(targets))
    return np.stack(losses, -1), np.array(sizes)


def _right(model: LanguageModel, by: Steering) -> np.ndarray:
    """Return whether the right answer to each fact is the likeliest of four, [strength, fact]."""
    items = list(_questions(model))[:_FACTS]
    found = []
    for done, each in enumerate(items):
        report("answering facts", done, len(items))
        one = Scored(model, each, [by.first])
        found.append(one.read(by).argmax(1) == 0)
    return np.stack(found, -1)


def _questions(model: LanguageModel) -> Iterator[Item]:
    """Yield facts as prompts with four answers of their relation, the right one first."""
    tokenizer = model.require_tokenizer()
    known = facts.load("shipped")
    answers: dict[str, list[str]] = defaultdict(list)
    for fact in known:
        if fact.attribute not in answers[fact.relation]:
            answers[fact.relation].append(fact.attribute)
    for fact in known:
        others = answers[fact.relation]
        if len(others) >= _CHOICES:
            at = others.index(fact.attribute)
            four = [others[(at + i) % len(others)] for i in range(_CHOICES)]
            ids = tuple(tuple(tokenizer.encode(f" {text}", bos=False)) for text in four)
            front = tokenizer.front("auto", auto="document")
            yield Item((*front, *tokenizer.encode(fact.prompt, bos=False)), ids)
