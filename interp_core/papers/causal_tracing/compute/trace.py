"""Trace one prompt: corrupt its subject, restore one thing, and see whether the answer returns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.causal_tracing import facts
from interp_core.papers.causal_tracing.compute import sweep
from interp_core.papers.causal_tracing.compute.score import Scorer, log_probs
from interp_core.papers.causal_tracing.compute.subject import Located, answer_ids, locate, start_ids
from interp_core.papers.causal_tracing.params import AT
from interp_core.papers.causal_tracing.trace import Params, Trace
from interp_core.params import ParameterError, resolve
from interp_core.provenance import Recorder
from interp_core.residual import Site
from interp_core.results import Provenance
from interp_core.runtime import report, show


@dataclass(frozen=True)
class Inputs:
    """What a trace begins with."""

    located: Located
    answer: tuple[int, ...]
    """Ids of the answer."""
    log_probs: np.ndarray
    """[d_vocab] the model's own, at the prompt's end."""
    foil: int | None
    tokens: tuple[int, ...]
    """What is run: the prompt, and all of a joint answer but its last token."""
    reads: int
    noise: np.ndarray
    """[sample, pos, d_model] what corrupts."""


def compute(model: LanguageModel, params: Params) -> Trace:
    """Trace ``params.prompt``. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit the model or the prompt.
    """
    stream = model.stream
    with Recorder() as recorder:
        report("running the model", 0, 0)
        given = inputs(model, params)
        layers = resolve(params.layers, stream.n_layers, "layers")
        n_prompt = len(given.located.ids)
        positions = resolve(params.positions, n_prompt, "positions")
        embedded = stream.embed(mx.array([given.tokens]))
        runs = sweep.run_both(
            stream, embedded, mx.array(given.noise), given.reads, params.noise_after
        )
        score = Scorer(stream, params.metric, _followed(params, given), given.foil, given.log_probs)
        clean = score(runs.clean.resid[:, -runs.reads :])
        corrupt = score(runs.corrupt.resid[:, -runs.reads :])
        begun = recorder.provenance(model.info, list(given.located.ids), params.seed)
        trace = _empty(model, params, begun, given, layers, positions, clean, corrupt)
        _fill(trace, runs, score, model.info.n_heads)
    return dataclasses.replace(
        trace,
        provenance=recorder.provenance(model.info, list(given.located.ids), params.seed),
    )


def _fill(trace: Trace, runs: sweep.Runs, score: Scorer, n_heads: int) -> None:
    """Compute the maps in place, column by column, showing each."""
    params, layers, positions = trace.params, trace.layers.tolist(), trace.positions.tolist()
    columns = [
        (row, kind, position)
        for row, kind in enumerate(params.kinds)
        if kind != "z"
        for position in positions
        if position >= runs.first and (kind not in AT or AT[kind] in trace.classes(position))
    ]
    total = sum(runs.length - position for *_, position in columns)
    total += (runs.length - runs.first) * ("z" in params.kinds)
    done = 0
    for row, kind, position in columns:
        report("tracing", done, total)
        cells = sweep.column(runs, kind, position, layers, params.window)
        log_prob, value = score(mx.concatenate(cells))
        at = positions.index(position)
        trace.probability[row, :, at] = np.exp(log_prob).reshape(len(layers), -1)
        trace.score[row, :, at] = value.reshape(len(layers), -1)
        done += runs.length - position
        show(dataclasses.replace(trace))
    if "z" in params.kinds:
        report("tracing heads", done, total)
        log_prob, value = score(mx.concatenate(sweep.heads(runs, layers, n_heads)))
        trace.head_probability[:] = np.exp(log_prob).reshape(trace.head_probability.shape)
        trace.head_score[:] = value.reshape(trace.head_score.shape)
    # Nothing before the corruption differs, so restoring it gives the corrupted run.
    for row, kind in enumerate(params.kinds):
        if kind not in AT and kind != "z":
            before = trace.positions < runs.first
            trace.probability[row][:, before] = trace.corrupt_probability
            trace.score[row][:, before] = trace.corrupt_score


def _empty(
    model: LanguageModel,
    params: Params,
    provenance: Provenance,
    given: Inputs,
    layers: list[int],
    positions: list[int],
    clean: tuple[np.ndarray, np.ndarray],
    corrupt: tuple[np.ndarray, np.ndarray],
) -> Trace:
    """Return the result with nothing restored yet; what is not computed is NaN."""
    tokenizer = model.require_tokenizer()
    located, top = given.located, int(given.log_probs.argmax())
    samples = len(given.noise)
    maps = (len(params.kinds), len(layers), len(positions), samples)
    per_head = (
        (len(layers), model.info.n_heads, samples) if "z" in params.kinds else (0, 0, samples)
    )
    return Trace(
        params=params,
        provenance=provenance,
        tokens=tuple(token.text for token in tokenizer.tokens(list(located.ids))),
        subject=(located.subject.start, located.subject.stop),
        answer="".join(tokenizer.text(i) for i in _followed(params, given)),
        answer_rank=int((given.log_probs > given.log_probs[given.answer[0]]).sum()),
        own_answer=tokenizer.text(top),
        own_probability=float(np.exp(given.log_probs[top])),
        layers=np.array(layers),
        positions=np.array(positions),
        clean_probability=float(np.exp(clean[0][0])),
        clean_score=float(clean[1][0]),
        corrupt_probability=np.exp(corrupt[0]),
        corrupt_score=corrupt[1],
        probability=np.full(maps, np.nan, np.float32),
        score=np.full(maps, np.nan, np.float32),
        head_probability=np.full(per_head, np.nan, np.float32),
        head_score=np.full(per_head, np.nan, np.float32),
    )


def _followed(params: Params, given: Inputs) -> tuple[int, ...]:
    return given.answer if params.metric == "joint_probability" else given.answer[:1]


def inputs(model: LanguageModel, params: Params) -> Inputs:
    """Return what a trace of ``params`` begins with.

    Raises:
        ParameterError: See :func:`run`.
    """
    stream, located = model.stream, locate(model, params)
    end = stream.run(mx.array([located.ids]), leave=slice(-1, None), unembed=None).resid
    own = log_probs(stream, end[0])[0]
    answer = located.answer or (int(own.argmax()),)
    tail = answer[:-1] if params.metric == "joint_probability" else ()
    tokens = (*located.ids, *tail)
    other = _other(model, params, located)
    if other is None:
        noise = _noise(model, params, tokens, located.subject)
    else:
        ids = mx.array([(*other, *tail)])
        noise = np.array((stream.embed(ids) - stream.embed(mx.array([tokens]))).astype(mx.float32))
    foil = _foil(model, params, other)
    return Inputs(located, answer, own, foil, tokens, len(tail) + 1, noise)


def _noise(
    model: LanguageModel, params: Params, tokens: tuple[int, ...], subject: range
) -> np.ndarray:
    """Return noise on the subject's tokens, drawn as the released code draws it.

    Raises:
        ParameterError: When no block is behind it.
    """
    last = model.info.n_layers - 2
    if params.noise_after > last:
        raise ParameterError(
            f"noise_after: {params.noise_after} is not accepted; a block has to read the noise, so "
            f"accepted: -1 to {last}"
        )
    scale = params.noise
    if params.noise_unit == "std":
        scale *= subject_std(model, "shipped", params.noise_after)
    whole = np.zeros((params.samples, len(tokens), model.info.d_model), np.float32)
    draw = np.random.RandomState(params.seed)
    shape = (params.samples, len(subject), whole.shape[-1])
    noise = draw.randn(*shape) if params.corruption == "gaussian" else draw.uniform(-1, 1, shape)
    whole[:, subject.start : subject.stop] = (scale * noise).astype(np.float32)
    return whole


def subject_std(model: LanguageModel, name: str, after: int = -1) -> float:
    """Return the standard deviation of all entries of the states of a fact set's subjects.

    Meng et al. 2022, section 2.1, has it of the embeddings: without positions, and scaled as they enter
    the stream. After a block it is that of the states there, each subject behind the token that
    stands in front of facts.
    """
    tokenizer, stream = model.require_tokenizer(), model.stream
    subjects = [tokenizer.encode(fact.subject, bos=False) for fact in facts.load(name)]
    if after < 0:
        ids = mx.array([i for each in subjects for i in each])
        return float(np.array(stream.embed_tokens(ids).astype(mx.float32)).std())
    front = start_ids(tokenizer, "auto")
    site, states = Site("resid_post", after), []
    for each in dict.fromkeys(map(tuple, subjects)):
        run = stream.run(mx.array([[*front, *each]]), keep=[site], stop=after + 1, unembed=None)
        states.append(np.array(run.acts[site][0, len(front) :].astype(mx.float32)))
    return float(np.concatenate(states).std())


def _other(model: LanguageModel, params: Params, located: Located) -> tuple[int, ...] | None:
    """Return the ids of the prompt that corrupts by its being another one, or None."""
    if params.corruption in ("gaussian", "uniform"):
        return None
    if not params.swap.strip():
        raise ParameterError(
            f"swap: it is empty; corruption={params.corruption} needs another "
            + ("subject" if params.corruption == "swap" else "prompt")
        )
    text, subject = params.swap, located.subject_text
    if params.corruption == "swap":
        text = params.prompt.replace(subject, params.swap.strip(), 1)
    ids = model.require_tokenizer().offsets(text)[0]
    own = located.ids[len(located.ids) - len(model.require_tokenizer().offsets(params.prompt)[0]) :]
    if len(ids) != len(own):
        raise ParameterError(
            f"swap: the prompt has {len(own)} tokens, and {len(ids)} with {params.swap[:60]!r}; "
            "accepted: text that makes as many"
        )
    if tuple(ids) == own:
        raise ParameterError("swap: it is the same prompt; accepted: another one")
    return (*located.ids[: len(located.ids) - len(own)], *ids)


def _foil(model: LanguageModel, params: Params, other: tuple[int, ...] | None) -> int | None:
    if params.metric != "logit_difference":
        return None
    if params.foil.strip():
        return answer_ids(model.require_tokenizer(), params.prompt, params.foil)[0]
    if other is None:
        raise ParameterError("foil: it is empty; metric=logit_difference needs the other token")
    end = model.stream.run(mx.array([other]), leave=slice(-1, None), unembed=None).resid
    return int(log_probs(model.stream, end[0])[0].argmax())
