"""Training a tuned lens, and the text that it is trained on."""

from __future__ import annotations

import dataclasses
import json

import mlx.core as mx
import numpy as np
import pytest
from test_tuned_lens import SMALL, TEXT, _own_cache, refusal  # noqa: F401

from interp_core import corpus
from interp_core.papers import tuned_lens
from interp_core.papers.tuned_lens import translators
from interp_core.papers.tuned_lens.compute import learner, loss, texts
from interp_core.paths import cache_dir
from interp_core.runtime import Cancelled, on_compute_thread, submit


@pytest.fixture
def llama(tiny):
    return tiny("llama")


@on_compute_thread
def _loss_and_gradient(model, params, weights, batch, layers):
    """The same by automatic differentiation, with everything in sight."""
    stream = model.stream
    probs = mx.softmax(stream.unembed(batch.last), axis=-1)

    def total(weights):
        out = 0.0
        for row, layer in enumerate(layers):
            own = {name: value[row] for name, value in weights.items()}
            logits = stream.unembed(learner.translate(own, batch.states[layer]))
            log_q = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
            if params.loss == "ce":
                chosen = mx.take_along_axis(log_q, mx.array(batch.following)[:, None], -1)
                out = out - chosen.mean()
            else:
                out = out + (probs * (mx.log(mx.maximum(probs, 1e-30)) - log_q)).sum(-1).mean()
        return out

    value, gradient = mx.value_and_grad(total)(weights)
    return float(value), {name: np.array(each) for name, each in gradient.items()}


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("gemma2", {}),
        ("gpt2", {"loss": "ce"}),
        ("llama", {"bias_only": True}),
        ("llama", {"rank": 4}),
    ],
    ids=["llama", "soft-capped", "cross-entropy", "biases alone", "low rank"],
)
def test_gradients_are_those_of_automatic_differentiation(tiny, family, changes):
    model = tiny(family)
    params = tuned_lens.TrainParams(**SMALL, **changes)
    layers = list(range(-1, model.info.n_layers - 1))

    @on_compute_thread
    def both():
        ids = corpus.windows(model.require_tokenizer(), corpus.load("prose"), 16)[:2]
        batch = learner.capture(model.stream, ids, layers, learner.positions(ids.shape, None, []))
        weights = learner.start(len(layers), model.info.d_model, params)
        draw = np.random.default_rng(1)
        weights = {
            n: mx.array(draw.normal(0, 0.1, v.shape).astype(np.float32)) for n, v in weights.items()
        }
        ours = learner.gradients(model.stream, weights, batch, layers, params, 0)
        found = {name: np.array(each) for name, each in ours[1].items()}
        return (ours[0], found), _loss_and_gradient(model, params, weights, batch, layers)

    (losses, found), (value, expected) = both()
    assert losses.sum() == pytest.approx(value, abs=1e-3)
    for name, gradient in expected.items():
        assert np.allclose(found[name], gradient, atol=2e-4), name


def test_a_batch_in_parts_gives_the_same_gradients(llama, monkeypatch):
    layers = list(range(-1, llama.info.n_layers - 1))
    params = tuned_lens.TrainParams(**SMALL | {"vocabulary": None})

    @on_compute_thread
    def gradients():
        ids = corpus.windows(llama.require_tokenizer(), corpus.load("prose"), 16)[:2]
        batch = learner.capture(llama.stream, ids, layers, learner.positions(ids.shape, None, []))
        weights = learner.start(len(layers), llama.info.d_model, params)
        losses, found = learner.gradients(llama.stream, weights, batch, layers, params, 0)
        parts = len(list(batch.parts(llama.stream.d_vocab)))
        return parts, losses, {name: np.array(each) for name, each in found.items()}

    one, losses, whole = gradients()
    monkeypatch.setattr(learner, "_LOGITS", 5 * llama.info.d_vocab)
    parts, again, found = gradients()
    assert (one, parts) == (1, 6)
    assert np.allclose(losses, again, atol=1e-5)
    for name, each in whole.items():
        assert np.abs(each).max() > 0 and np.allclose(found[name], each, atol=1e-6), name


def test_gradients_over_a_sample_come_near_the_whole_ones():
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 1, (2, 400)).astype(np.float32)
    probs = np.exp(draw.normal(0, 2, (2, 400)))
    probs = (probs / probs.sum(-1, keepdims=True)).astype(np.float32)
    entropy = -(probs * np.log(probs)).sum(-1)
    _, exact = loss.divergence(mx.array(logits), loss.target(probs, entropy, None, []))
    total = np.zeros_like(logits)
    for seed in range(600):
        goal = loss.target(probs, entropy, 200, [seed])
        columns = np.array(goal.columns)
        total[:, columns] += np.array(loss.divergence(mx.array(logits[:, columns]), goal)[1])
    gap = np.abs(total / 600 - np.array(exact)).sum(-1)
    assert (gap < 0.05 * np.abs(np.array(exact)).sum(-1)).all()


def test_some_of_the_texts_that_the_model_writes_begin_as_programs_do(llama):
    params = tuned_lens.TrainParams(texts=70, programs=0.3, context=12)

    @on_compute_thread
    def written(changed):
        return texts.written(llama, dataclasses.replace(params, **changed), 12)

    ids, none = written({}), written({"programs": 0.0})
    tokenizer = llama.require_tokenizer()
    front = tokenizer.front("auto", auto="document") or [0]
    begin = {tokenizer.encode(each, bos=False)[0] for each in texts._PROGRAMS}
    assert ids.shape == none.shape == (70, 12)
    assert set(ids[49:, len(front)].tolist()) <= begin
    assert np.array_equal(ids[:49], none[:49]), "the others do not depend on it"


def test_sums_over_a_sample_of_the_vocabulary_are_unbiased():
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 1, (3, 400))
    probs = np.exp(draw.normal(0, 2, (3, 400)))
    probs = (probs / probs.sum(-1, keepdims=True)).astype(np.float32)
    entropy = -(probs * np.log(probs)).sum(-1)
    normalisers, crosses, losses = [], [], []
    for seed in range(400):
        goal = loss.target(probs, entropy, 200, [seed])
        z = logits[:, np.array(goal.columns)]
        normalisers.append(np.exp(z + goal.log_weight).sum(-1))
        crosses.append((goal.weighted * z).sum(-1))
        losses.append(loss.divergence(mx.array(z.astype(np.float32)), goal)[0])
    expected = np.exp(logits).sum(-1), (probs * logits).sum(-1)
    for found, sum_ in zip((normalisers, crosses), expected, strict=True):
        error = np.std(found, axis=0) / np.sqrt(len(found))
        assert (np.abs(np.mean(found, axis=0) - sum_) < 4 * error + 1e-6).all()
    whole = loss.target(probs, entropy, None, [])
    exact, _ = loss.divergence(mx.array(logits.astype(np.float32)), whole)
    assert np.allclose(np.mean(losses, axis=0), exact, atol=0.02)


def test_training_lowers_the_divergence_and_makes_a_lens(llama):
    params = tuned_lens.TrainParams(**{**SMALL, "steps": 30, "batch": 4}, rate=0.5)
    made = tuned_lens.run(llama, params, findings=False)
    assert made.kl[-1].mean() < 0.9 * made.kl[0].mean()
    assert made.summary["steps"] == 30 and made.layers.tolist() == [
        -1,
        *range(llama.info.n_layers - 1),
    ]
    lens = translators.load_lens(made.lens, llama.info)
    assert lens.card.steps == 30 and lens.card.corpus == "prose"
    assert made.attachments()["lens.safetensors"] == lens.to_bytes()
    read = tuned_lens.run(llama, tuned_lens.Params(lens=made.lens, prompt=TEXT), findings=False)
    assert read.kl[1, :-1].mean() < read.kl[0, :-1].mean()
    assert made.lens in translators.labelled(llama.info.sha256, llama.info.n_layers)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_resumed_training_equals_an_uninterrupted_one(llama, optimizer, monkeypatch):
    params = tuned_lens.TrainParams(**{**SMALL, "steps": 20}, optimizer=optimizer)
    whole = tuned_lens.run(llama, dataclasses.replace(params, resume=False), findings=False)
    for file in cache_dir("training").glob("*"):
        file.unlink()
    learn = learner.Learner.learn

    def interrupted(self, step):
        if step == 11:
            raise Cancelled
        learn(self, step)

    monkeypatch.setattr(learner.Learner, "learn", interrupted)
    with pytest.raises(Cancelled):
        tuned_lens.run(llama, params, findings=False)
    steps = []

    def counted(self, step):
        steps.append(step)
        learn(self, step)

    monkeypatch.setattr(learner.Learner, "learn", counted)
    resumed = tuned_lens.run(llama, params, findings=False)
    assert steps[0] == 10, "the last checkpoint was kept"
    assert np.array_equal(resumed.losses, whole.losses)
    assert resumed.lens == whole.lens
    first, second = translators.KEPT.load(resumed.lens), translators.KEPT.load(whole.lens)
    assert np.array_equal(first.weight, second.weight) and np.array_equal(first.bias, second.bias)


def test_a_training_that_is_cancelled_keeps_its_last_checkpoint(llama):
    params = tuned_lens.TrainParams(**{**SMALL, "steps": 500})
    job = submit(lambda: tuned_lens.PAPER.run(llama, params, findings=False))
    while job.partial is None or job.partial.done < 50:
        assert not job.done()
    job.cancel()
    with pytest.raises(Cancelled):
        job.result()
    assert np.isfinite(job.partial.losses[: job.partial.done]).all()


def test_some_layers_alone_are_trained(llama):
    params = tuned_lens.TrainParams(**SMALL, layers="1:2")
    made = tuned_lens.run(llama, params, findings=False)
    assert made.layers.tolist() == [1] and made.losses.shape == (6, 1)


def test_too_little_text_says_how_much_is_needed(llama, tmp_path):
    file = tmp_path / "short.json"
    file.write_text(json.dumps(["one", "two"]))
    params = tuned_lens.TrainParams(**{**SMALL, "corpus": corpus.read(file)})
    said = refusal(tuned_lens.run, llama, params, findings=False)
    assert said.startswith("corpus: what is") and "tokens in all" in said


def test_text_is_split_by_document():
    documents = tuple(f"document {n}" for n in range(50))
    train, held_out = corpus.split(documents)
    assert len(held_out) == 5 and not set(train) & set(held_out)
    assert {*train, *held_out} == {*documents}
    assert corpus.split(documents[::-1])[1] == held_out, "the split is the documents' alone"
    assert "at least two" in refusal(corpus.split, ("one",))


@pytest.mark.parametrize("kind", ["txt", "json", "jsonl", "parquet", "folder"])
def test_a_corpus_is_read_from_files(tmp_path, kind):
    texts = ["First text.\n", "Second text, é."]
    path = tmp_path / f"texts.{kind}"
    if kind == "folder":
        path.mkdir()
        for n, text in enumerate(texts):
            (path / f"{n}.md").write_text(text)
        (path / "ignored.bin").write_bytes(b"\xff")
    elif kind == "txt":
        path.write_text("\n\n".join(["a" * 3990 + " First text.", "Second text, é."]))
    elif kind == "json":
        path.write_text(json.dumps(texts))
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    else:
        import pandas as pd

        pd.DataFrame({"text": texts}).to_parquet(path)
    found = corpus.load(corpus.read(path))
    assert len(found) == 2 and found[-1].strip() == "Second text, é."


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no.txt", b"\xff\xfe"),
        ("no.json", b"[1, 2]"),
        ("no.json", b"{"),
        ("no.parquet", b"PAR1"),
        ("empty.txt", b" \n"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert refusal(corpus.read, tmp_path / name).startswith(f"text: {name}")
