"""Rewrite one fact and look at what changed, or rewrite many, one at a time, and score it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import readout, sampling
from interp_core.models.language_model import LanguageModel
from interp_core.papers.causal_tracing import facts
from interp_core.papers.causal_tracing.compute import rome
from interp_core.papers.causal_tracing.compute.average import known_facts, says
from interp_core.papers.causal_tracing.compute.key_covariance import second_moment
from interp_core.papers.causal_tracing.compute.subject import Located, answer_ids, locate, start_ids
from interp_core.papers.causal_tracing.edit import Edit, EditParams
from interp_core.papers.causal_tracing.facts import Fact
from interp_core.papers.causal_tracing.params import Edited, Seeded
from interp_core.papers.causal_tracing.scores import ROLES, EditScores, ScoresParams
from interp_core.papers.causal_tracing.trace import Params
from interp_core.params import ParameterError
from interp_core.paths import SHIPPED
from interp_core.provenance import Recorder
from interp_core.residual import ResidualStream
from interp_core.runtime import stage

Asked = EditParams | ScoresParams

_PREFIXES = ((5, 5), (5, 10))
"""How many sampled prefixes of how many tokens; the released code has 10 of each."""

_CONTINUED, _NEW_TOKENS = 6, 20
_UNRELATED, _UNRELATED_TOKENS = 6, 64
"""Texts, and tokens of each, on which the loss is compared."""


@dataclass(frozen=True)
class Pair:
    """A prompt's ids with the old and the new answer's."""

    prompt: tuple[int, ...]
    old: tuple[int, ...]
    new: tuple[int, ...]


def compute(model: LanguageModel, params: EditParams) -> Edit:
    """Rewrite the fact of ``params.prompt``. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit the model or the prompt.
    """
    with Recorder() as recorder:
        located = locate(model, params)
        layer = layer_of(model, params)
        fact = _known_fact(params, located)
        old = params.answer.strip() or fact.attribute or says(model, located.ids).strip()
        new = params.new_object.strip() or fact.new_object
        if not new:
            raise ParameterError("new_object: it is empty; accepted: what the answer should become")
        if new == old:
            raise ParameterError(f"new_object: {new[:60]!r} is the answer already")
        update = _update(model, params, located, layer, new)
        asked = [(params.prompt, "rewrite")]
        asked += [(text, "paraphrase") for text in fact.paraphrases]
        asked += [(text, "neighbour") for text in fact.neighbours]
        asked += [(text, "watched") for text in params.watch]
        pairs = [_pair(model, params, text, old, new) for text, _ in asked]
        streams = (model.stream, update.apply(model.stream))
        probabilities = np.exp([_log_probs(stream, pairs) for stream in streams])
        told = [_says(model, stream, pairs) for stream in streams]
        texts = [
            [_continue(model, stream, pair.prompt) for pair in pairs[:_CONTINUED]]
            for stream in streams
        ]
        gap, rank = _check(model.stream, update)
    norm = np.linalg.norm(np.array(update.value - update.left))
    return Edit(
        params=params,
        provenance=recorder.provenance(model.info, list(located.ids), params.seed),
        layer=layer,
        subject=located.subject_text,
        old=old,
        new=new,
        prompts=tuple(text for text, _ in asked),
        roles=tuple(role for _, role in asked),
        old_probability=probabilities[:, :, 0].T,
        new_probability=probabilities[:, :, 1].T,
        says=tuple(zip(*told, strict=True)),
        continuations=tuple(zip(*texts, strict=True)),
        losses=np.array(update.losses),
        key_gap=gap,
        rank=rank,
        delta_norm=float(np.linalg.norm(np.array(update.left)) / norm),
    )


def scores(model: LanguageModel, params: ScoresParams) -> EditScores:
    """Rewrite the facts of ``params.facts`` that the model knows, ``params.limit`` at most.

    Raises:
        ParameterError: When the set is not there, or none of it can be rewritten.
    """
    layer = layer_of(model, params)
    rows = []
    with Recorder() as recorder:
        wanted = facts.rewrites(facts.load(params.facts))
        known, wrong, unusable = known_facts(model, params, wanted, "rewrite")
        unrelated = _unrelated(model, params)
        before = _loss(model.stream, unrelated)
        for done, fact in enumerate(known):
            with stage("rewriting facts", done, len(known)):
                rows.append(_scored(model, params, fact, layer, unrelated))
    prefers, margin, top, after, gap, rank, steps = (list(c) for c in zip(*rows, strict=True))
    return EditScores(
        params=params,
        provenance=recorder.provenance(model.info, [], params.seed),
        layer=layer,
        prompts=tuple(fact.prompt for fact in known),
        old=tuple(fact.attribute for fact in known),
        new=tuple(fact.new_object for fact in known),
        n_wrong=wrong + unusable,
        prefers=np.array(prefers),
        margin=np.array(margin),
        top=np.array(top),
        loss=np.array([(before, each) for each in after]),
        key_gap=np.array(gap),
        rank=np.array(rank),
        steps=np.array(steps),
    )


def early_block(n_layers: int) -> int:
    """Return the block that is edited where none is asked for."""
    return min(max(1, n_layers // 20), n_layers - 1)


def layer_of(model: LanguageModel, params: Edited) -> int:
    """Return the block that is edited: the one asked for, else an early one.

    Keys of early blocks hold little but the subject, so edits there spill least on other subjects
    in the same sentence; the paper edits GPT-2 XL's block 17 of 48.
    """
    return early_block(model.info.n_layers) if params.layer is None else params.layer


def _known_fact(params: EditParams, located: Located) -> Fact:
    """Return the shipped fact of this prompt, with its paraphrases and neighbours, or a bare one."""
    for fact in facts.rewrites(facts.load("shipped")):
        if fact.prompt == params.prompt and fact.subject == located.subject_text:
            return fact
    return Fact(located.subject_text, "", "", "")


def _of(params: Seeded, fact: Fact) -> Params:
    return Params(prompt=fact.prompt, subject=fact.subject, start=params.start)


def _scored(
    model: LanguageModel, params: ScoresParams, fact: Fact, layer: int, unrelated: mx.array
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float, int, int]:
    """Return one edit's rows of :class:`EditScores`, in the order of its fields."""
    located = locate(model, _of(params, fact))
    update = _update(model, params, located, layer, fact.new_object)
    asked = {
        "rewrite": (fact.prompt,),
        "paraphrase": fact.paraphrases,
        "neighbour": fact.neighbours,
    }
    prefers, margin, top = np.full((3, 2, 3), np.nan)
    edited = update.apply(model.stream)
    for i, role in enumerate(ROLES):
        pairs = [
            _pair(model, params, text, fact.attribute, fact.new_object) for text in asked[role]
        ]
        for j, stream in enumerate((model.stream, edited)):
            old, new = np.array(_log_probs(stream, pairs)).T
            stays = role == "neighbour"
            wanted, other = (old, new) if stays else (new, old)
            prefers[j, i] = (wanted > other).mean()
            margin[j, i] = (np.exp(wanted) - np.exp(other)).mean()
            first = [(pair.old if stays else pair.new)[0] for pair in pairs]
            top[j, i] = np.mean(_likeliest(stream, pairs) == np.array(first))
    gap, rank = _check(model.stream, update)
    return prefers, margin, top, _loss(edited, unrelated), gap, rank, len(update.losses)


def _update(
    model: LanguageModel, params: Asked, located: Located, layer: int, new: str
) -> rome.Update:
    moment = None
    if params.covariance == "text":
        moment = second_moment(model, layer, params.start, params.seed)
    return rome.update(model.stream, _contexts(model, params, located, new), layer, moment)


def _contexts(model: LanguageModel, params: Seeded, located: Located, new: str) -> rome.Contexts:
    """Return the prompt alone and after sampled prefixes, and "{subject} is a"."""
    tokenizer = model.require_tokenizer()
    start = start_ids(tokenizer, params.start)
    text = tokenizer.text
    prompt = "".join(text(i) for i in located.ids[len(start) :])
    prompts = [(list(located.ids), located.subject.stop - 1)]
    follows = ". " + prompt.lstrip()
    ids, offsets = tokenizer.offsets(follows)
    last = _last_token(follows, located.subject_text, offsets)
    for count, length in _PREFIXES:
        first = start or [ids[0]]
        drawn = sampling.generate(
            model.stream, [first] * count, length, temperature=1, seed=params.seed + length
        )
        for prefix in drawn.tolist():
            before = [*start, *prefix]
            prompts.append(([*before, *ids], len(before) + last))
    question = f"{located.subject_text} is a"
    ids, offsets = tokenizer.offsets(question)
    last = _last_token(question, located.subject_text, offsets)
    target = answer_ids(tokenizer, prompt, new)
    return rome.contexts(prompts, ([*start, *ids], len(start) + last), target)


def _last_token(text: str, subject: str, offsets: list[tuple[int, int]]) -> int:
    end = text.index(subject) + len(subject)
    return max(i for i, (start, _) in enumerate(offsets) if start < end)


def _pair(model: LanguageModel, params: Seeded, prompt: str, old: str, new: str) -> Pair:
    tokenizer = model.require_tokenizer()
    ids = (*start_ids(tokenizer, params.start), *tokenizer.offsets(prompt)[0])
    return Pair(ids, answer_ids(tokenizer, prompt, old), answer_ids(tokenizer, prompt, new))


def _log_probs(stream: ResidualStream, pairs: list[Pair]) -> list[tuple[float, float]]:
    """Return each pair's mean log-probability a token of the old and of the new answer, nats."""
    rows = [(pair.prompt, answer) for pair in pairs for answer in (pair.old, pair.new)]
    resid = _residuals(stream, [[*prompt, *answer[:-1]] for prompt, answer in rows])
    means = []
    for row, (prompt, answer) in enumerate(rows):
        at = slice(len(prompt) - 1, len(prompt) - 1 + len(answer))
        lost = readout.surprisal(stream.unembed, resid[row, at], np.array(answer))
        means.append(-float(lost.mean()))
    return list(zip(means[::2], means[1::2], strict=True))


def _residuals(stream: ResidualStream, texts: list[list[int]]) -> mx.array:
    """Return [text, pos, d_model] after the last block; positions past a text's end say nothing."""
    width = max(map(len, texts))
    tokens = mx.array([ids + [0] * (width - len(ids)) for ids in texts])
    return stream.run(tokens, unembed=None).resid


def _likeliest(stream: ResidualStream, pairs: list[Pair]) -> np.ndarray:
    """Return [pair] the id of the token that each prompt is continued with most likely."""
    resid = _residuals(stream, [list(pair.prompt) for pair in pairs])
    ends = mx.stack([resid[row, len(pair.prompt) - 1] for row, pair in enumerate(pairs)])
    return np.array(mx.argmax(stream.unembed(ends), axis=-1))


def _says(model: LanguageModel, stream: ResidualStream, pairs: list[Pair]) -> list[str]:
    tokenizer = model.require_tokenizer()
    drawn = [sampling.generate(stream, [list(pair.prompt)], 1)[0, 0] for pair in pairs]
    return [tokenizer.text(int(i)) for i in drawn]


def _continue(model: LanguageModel, stream: ResidualStream, prompt: tuple[int, ...]) -> str:
    new = sampling.generate(stream, [list(prompt)], _NEW_TOKENS)[0]
    return "".join(model.require_tokenizer().text(int(i)) for i in new)


def _unrelated(model: LanguageModel, params: Seeded) -> mx.array:
    """Return passages of the project's own as ids [text, pos], cut to one length."""
    tokenizer = model.require_tokenizer()
    start = start_ids(tokenizer, params.start)
    texts = [each["prompt"] for each in json.loads((SHIPPED / "prompts.json").read_text())]
    ids = sorted((tokenizer.offsets(text)[0] for text in texts), key=len)[-_UNRELATED:]
    length = min(len(ids[0]), _UNRELATED_TOKENS)
    return mx.array([[*start, *each[:length]] for each in ids])


def _loss(stream: ResidualStream, tokens: mx.array) -> float:
    """Return the mean loss of predicting each next token, nats."""
    resid = stream.run(tokens, unembed=None).resid[:, :-1]
    targets = np.array(tokens[:, 1:]).reshape(-1)
    rows = resid.reshape(-1, resid.shape[-1])
    return float(readout.surprisal(stream.unembed, rows, targets).mean())


def _check(stream: ResidualStream, update: rome.Update) -> tuple[float, int]:
    """Return |W' k* - v*| / |v*|, and the rank of W' - W, by what the edited block computes."""
    down, edited = (s.blocks[update.layer].down for s in (stream, update.apply(stream)))
    key = update.key[None].astype(stream.dtype)
    gap = edited(key)[0].astype(mx.float32) - update.value
    # Random probes see the rank: a change of rank r sends them to r dimensions.
    probes = mx.random.normal((32, key.shape[-1]), key=mx.random.key(0)).astype(stream.dtype)
    change = np.array((edited(probes) - down(probes)).astype(mx.float32))
    values = np.linalg.svd(change, compute_uv=False)
    relative = np.linalg.norm(np.array(gap)) / np.linalg.norm(np.array(update.value))
    return float(relative), int((values > 1e-3 * values[0]).sum())
