"""Steering: what it does to the stream, exactly, on every family; pairs and files."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import interp_core  # noqa: F401  # before MLX
from interp_core import artifacts, cli, load_model
from interp_core.papers import steering
from interp_core.papers.steering import (
    Params,
    SaveParams,
    SweepParams,
    pairs,
    vectors,
)
from interp_core.papers.steering.compute import prompts
from interp_core.papers.steering.compute.extract import direction
from interp_core.papers.steering.compute.generate import generate
from interp_core.papers.steering.compute.intervene import Steering, steered
from interp_core.papers.steering.compute.prompts import Item, asked
from interp_core.papers.steering.compute.score import Scored, score
from interp_core.papers.steering.sweep import halves
from interp_core.papers.steering.vectors import Card, Vectors
from interp_core.params import ParameterError
from interp_core.residual import Site
from interp_core.runtime import on_compute_thread

import mlx.core as mx  # isort: skip

FAMILIES = ["gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral_windowed"]
FAMILIES += ["olmo2", "phi3", "qwen2", "qwen3"]
STRENGTHS = np.array([0.0, 1.0, -2.0])
PROMPT = [5, 17, 9, 30, 12, 44, 8, 21]
STARTS = {"after": len(PROMPT) - 1, "all": 0, "generated": len(PROMPT)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    artifacts._load.cache_clear()


def vector_for(stream, seed=0):
    """Return a vector of random numbers, [1, d_model], and the layer that it is for."""
    draw = np.random.default_rng(seed)
    return draw.normal(0, 2, (1, stream.d_model)).astype(np.float32), stream.n_layers // 2


def whole(stream, ids, layer, vector, strength, start, frozen):
    """Return logits [pos, d_vocab] by one forward of the whole text, without any cache."""
    tokens = mx.array([ids])
    mask = np.zeros((1, len(ids), 1), np.float32)
    mask[:, start:] = strength
    edits = {Site("resid_post", layer): lambda x: x + mx.array(mask * vector)}
    if frozen:
        sites = [Site("pattern", n) for n in range(layer + 1, stream.n_layers)]
        plain = stream.run(tokens, keep=sites, unembed=None).acts
        edits |= {site: (lambda value: lambda _: value)(plain[site]) for site in sites}
    return np.array(stream.run(tokens, edits=edits).logits[0].astype(mx.float32))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("scope", STARTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_cached_generation_is_that_without_a_cache(tiny, family, scope, frozen):
    @on_compute_thread
    def both():
        stream = tiny(family).stream
        vector, layer = vector_for(stream)
        by, params = Steering({layer: vector}, STRENGTHS), Params(scope=scope, max_tokens=5)
        *_, ids = generate(stream, PROMPT, by, params, frozen=frozen)
        for row, strength in enumerate(STRENGTHS):
            text = list(PROMPT)
            for step in range(5):
                logits = whole(stream, text, layer, vector, strength, STARTS[scope], frozen)[-1]
                # A tie within rounding may go either way.
                assert logits.max() - logits[ids[row, step]] < 1e-4
                text.append(int(ids[row, step]))

    both()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("scope", STARTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_whole_forwards(tiny, family, scope, frozen):
    @on_compute_thread
    def both():
        model = tiny(family)
        vector, layer = vector_for(model.stream)
        item = Item(tuple(PROMPT), ((3, 14, 25), (16, 7)))
        read = Scored(model, item, [layer], scope)
        ours = read.read(Steering({layer: vector}, STRENGTHS), frozen=frozen)
        for row, strength in enumerate(STRENGTHS):
            for i, answer in enumerate(item.answers):
                ids = [*PROMPT, *answer]
                z = whole(model.stream, ids, layer, vector, strength, STARTS[scope], frozen)
                log_p = z - np.logaddexp.reduce(z.astype(float), -1, keepdims=True)
                theirs = np.mean([log_p[len(PROMPT) - 1 + j, t] for j, t in enumerate(answer)])
                assert ours[row, i] == pytest.approx(theirs, abs=2e-5)

    both()


def test_many_rows_are_scored_in_parts_and_several_layers_at_once(tiny):
    @on_compute_thread
    def check():
        model = tiny("llama")
        vector, _ = vector_for(model.stream)
        strengths = np.linspace(-1, 1, 75)
        read = Scored(model, Item(tuple(PROMPT), ((3, 14), (16, 7))), [0, 1])
        by = {0: vector, 1: -vector}
        together = read.read(Steering(by, strengths))
        alone = [read.read(Steering(by, strengths[i : i + 1]))[0] for i in (0, 40, 74)]
        assert together[[0, 40, 74]] == pytest.approx(np.array(alone), abs=1e-5)

    check()


@pytest.mark.parametrize("operator", ["add", "remove", "replace", "cap"])
def test_multiplier_zero_is_the_unsteered_model_bit_for_bit(tiny, operator):
    @on_compute_thread
    def check():
        stream = tiny("llama").stream
        vector, layer = vector_for(stream)
        tokens = mx.array([PROMPT, PROMPT])
        plain = np.array(stream.run(tokens).logits)
        edits = Steering({layer: vector}, np.zeros(2), operator).edits()
        assert np.array_equal(np.array(stream.run(tokens, edits=edits).logits), plain)
        strong = 1e-3 if operator == "cap" else 3.0  # a high cap binds nothing
        edits = Steering({layer: vector}, np.array([0.0, strong]), operator).edits()
        moved = np.array(stream.run(tokens, edits=edits).logits)
        assert np.array_equal(moved[0], plain[0])
        assert not np.allclose(moved[1], plain[1])

    check()


def test_steering_leaves_nothing_behind(tiny):
    class Stopped(Exception):
        pass

    @on_compute_thread
    def check():
        stream = tiny("llama").stream
        vector, layer = vector_for(stream)
        by, params = Steering({layer: vector}, STRENGTHS), Params(max_tokens=5)
        before = np.array(stream.run(mx.array([PROMPT])).logits)
        steps = generate(stream, PROMPT, by, params)
        next(steps)
        steps.close()  # as a cancel ends it

        def fails(x):
            raise Stopped

        with pytest.raises(Stopped):
            stream.run(mx.array([PROMPT]), edits={**by.edits(), Site("resid_post", 2): fails})
        assert np.array_equal(np.array(stream.run(mx.array([PROMPT])).logits), before)

    check()


def test_the_operators_do_what_they_say():
    draw = np.random.default_rng(1)
    x, v = (
        draw.normal(size=(3, 4, 8)).astype(np.float32),
        draw.normal(size=(3, 1, 8)).astype(np.float32),
    )
    c = np.array([1.0, -0.5, 2.0], np.float32)[:, None, None]
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    along = (x * v / length).sum(-1)
    done = {
        name: np.array(steered(mx.array(x), v, c, name))
        for name in ("add", "remove", "replace", "cap")
    }
    after = {name: (y * v / length).sum(-1) for name, y in done.items()}
    assert done["add"] == pytest.approx(x + c * v, abs=1e-6)
    assert after["remove"] == pytest.approx((1 - c[..., 0]) * along, abs=1e-5)
    assert after["replace"] == pytest.approx(
        np.broadcast_to((c * length)[..., 0], along.shape), abs=1e-5
    )
    bound = (c * length)[..., 0]
    capped = np.where(c[..., 0] > 0, np.minimum(along, bound), np.maximum(along, bound))
    assert after["cap"] == pytest.approx(capped, abs=1e-5)
    assert np.array(steered(mx.array(x), -v, c, "remove")) == pytest.approx(
        done["remove"], abs=1e-6
    )


@pytest.mark.parametrize("estimator", ["mean", "pca", "logistic"])
def test_a_direction_turns_round_with_the_pairs_and_finds_what_was_planted(estimator):
    draw = np.random.default_rng(2)
    planted = np.zeros((2, 16))
    planted[0, 3] = planted[1, 7] = 1
    noise = draw.normal(0, 0.3, (40, 2, 2, 16))
    both = (noise + np.array([1, -1])[None, :, None, None] * planted).astype(np.float32)
    found = direction(both, estimator)
    turned = direction(both[:, ::-1], estimator)
    assert turned == pytest.approx(-found, abs=1e-4)
    size = np.linalg.norm(found, axis=-1)
    assert ((found * planted).sum(-1) / size > (0.7 if estimator == "logistic" else 0.95)).all()
    assert size == pytest.approx(
        np.linalg.norm((both[:, 0] - both[:, 1]).mean(0), axis=-1), rel=1e-5
    )


def test_the_score_of_letters_is_their_share():
    p = np.array([[0.3, 0.1], [0.02, 0.06]])
    assert score(np.log(p)) == pytest.approx(p[:, 0] / p.sum(1))


def a_vector(info, layers=None) -> Vectors:
    layers = tuple(range(info.n_layers)) if layers is None else layers
    draw = np.random.default_rng(3)
    card = Card(
        info.id, info.sha256, info.model_type, info.d_model, info.n_layers, "optimism", "text"
    )
    return Vectors(card, layers, draw.normal(size=(len(layers), info.d_model)).astype(np.float32))


def test_a_vector_file_comes_back_bit_for_bit(tiny, tmp_path):
    info = tiny("llama").info
    file = tmp_path / "v.safetensors"
    file.write_bytes(a_vector(info).to_bytes())
    name = vectors.read(file)
    loaded = vectors.KEPT.load(name)
    assert loaded.card == a_vector(info).card
    assert np.array_equal(loaded.direction, a_vector(info).direction)
    assert name in vectors.labelled(info.sha256, info.n_layers)
    loaded.fits(info)
    with pytest.raises(ParameterError, match="other weights"):
        loaded.fits(dataclasses.replace(info, sha256="0" * 64))
    with pytest.raises(ParameterError, match="3 layers and width"):
        loaded.fits(
            tiny("qwen3_tied").info
            if tiny("qwen3_tied").info.n_layers != 3
            else dataclasses.replace(info, n_layers=9)
        )


def test_the_gguf_holds_the_same_numbers_at_the_same_blocks(tiny, tmp_path):
    from gguf import GGUFReader

    vector = a_vector(tiny("llama").info)
    file = tmp_path / "v.gguf"
    file.write_bytes(vector.to_gguf([1, 2]))
    reader = GGUFReader(file)
    tensors = {each.name: each.data for each in reader.tensors}
    assert set(tensors) == {"direction.1", "direction.2"}
    for k in (1, 2):
        assert np.array_equal(tensors[f"direction.{k}"], vector.at(k))
    assert reader.fields["general.architecture"].contents() == "controlvector"
    assert reader.fields["controlvector.model_hint"].contents() == "llama"
    assert reader.fields["controlvector.layer_count"].contents() == 2
    with pytest.raises(ParameterError, match="block 0"):
        vector.to_gguf([0, 1])
    with pytest.raises(ParameterError, match="block 0"):
        SaveParams(layers="0:3")


def test_the_behaviours_that_ship_are_balanced_and_split():
    for name, behaviour in pairs.shipped().items():
        made, held_out = behaviour.split()
        assert len(behaviour.pairs) >= 80, name
        assert {p.question for p in made}.isdisjoint(p.question for p in held_out)
        for part in (made, held_out):
            assert abs(sum(pair.letter == "A" for pair in part) * 2 - len(part)) <= 1
        lengths = np.array(
            [[len(p.matching.split()), len(p.other.split())] for p in behaviour.pairs]
        )
        assert abs(np.diff(lengths.mean(0))[0]) < 1.5, "one side is longer, so its length would do"
        assert len(behaviour.open) >= 5
        assert all(behaviour.system)


RECORDS = [
    {
        "question": f"Is it {i}?\n\nChoices:\n (A) Yes, {i}\n (B) No, not {i}",
        "answer_matching_behavior": " (B)",
        "answer_not_matching_behavior": " (A)",
    }
    for i in range(3)
]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_readers_pairs_come_in_three_forms(tmp_path, suffix):
    file = tmp_path / f"pairs.{suffix}"
    if suffix == "json":
        file.write_text(json.dumps(RECORDS, indent=2))
    elif suffix == "jsonl":
        file.write_text("\n".join(map(json.dumps, RECORDS)) + "\n")
    else:
        import csv

        with file.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, list(RECORDS[0]))
            writer.writeheader()
            writer.writerows(RECORDS)
    found = pairs.load("formality", pairs.read(file)).pairs
    assert found[1] == pairs.Pair("Is it 1?", "No, not 1", "Yes, 1", "B")
    assert found[1].options == RECORDS[1]["question"]


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        ("json", "{}", "it is no list"),
        ("json", "[\n{}\n]", "line 2 lacks the key 'question'"),
        ("json", json.dumps(RECORDS[:1]), "has 1; accepted: 2 to"),
        ("json", '[{"question": 1', "line 1 is not JSON"),
        ("jsonl", json.dumps(RECORDS[0]) + "\n\n{]", "line 3 is not JSON"),
        ("jsonl", "\n" * 16 + '{"question": "a?", "answer_matching_behavior": "b"}',
         "line 17 lacks the key 'answer_not_matching_behavior'"),
        ("jsonl", '{"question": "a?", "answer_matching_behavior": "b", "answer_not_matching_behavior": "b "}',
         "line 1: the two answers are equal"),
        ("jsonl", '{"question": "a?", "answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(B)"}',
         "has no options"),
        ("csv", "question,answer_matching_behavior\na?,b\n", "line 2 lacks the key"),
        ("json", b"\xff\xfe", "is not text in UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_pairs_is_refused_in_one_line(tmp_path, suffix, content, message):
    file = tmp_path / f"pairs.{suffix}"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ParameterError, match=message) as error:
        pairs.read(file)
    assert "\n" not in str(error.value)


def test_answers_of_the_same_tokens_are_refused(tiny, monkeypatch):
    tokenizer = tiny("llama").require_tokenizer()
    pair = pairs.Pair("Is it?", "a" * 40, "a" * 40 + "b")
    first, second = prompts.item(tokenizer, pair, "text").answers
    assert len(second) == len(first) + 1 > prompts.LONGEST
    monkeypatch.setattr(prompts, "answered", lambda *_: [3, 4])
    with pytest.raises(ParameterError, match="are the same tokens"):
        prompts.item(tokenizer, pair, "text")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"multiplier": 1e9}, "multiplier"),
        ({"mix": ("cheer=1",)}, "accepted: behaviour=weight"),
        ({"mix": ("refusal",)}, "accepted: behaviour=weight"),
        ({"pairs": "0" * 16, "behaviour": "refusal"}, "it is read only with pairs=nothing"),
        ({"layer": -1}, "layer"),
    ],
)
def test_parameters_out_of_bounds_are_refused(given, message):
    with pytest.raises(ParameterError, match=message):
        Params(**given)


def test_a_layer_that_the_model_lacks_is_refused(tiny):
    with pytest.raises(ParameterError, match="this model has 3 layers"):
        steering.run(tiny("llama"), Params(layer=7))


def test_a_strength_that_overflows_is_refused(longer):
    model = load_model(longer)
    vector = dataclasses.replace(
        a_vector(model.info), direction=np.full((3, model.info.d_model), 3e38, np.float32)
    )
    with pytest.raises(ParameterError, match="overflows"):
        steering.run(model, Params(vector=vectors.KEPT.keep(vector.to_bytes()), multiplier=3))


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """The folder of a tiny model that reads long prompts, without a chat template."""
    folder = tmp_path_factory.mktemp("models") / "longer"
    shutil.copytree(Path(__file__).parent / "reference" / "llama", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A file of six pairs."""
    file = tmp_path_factory.mktemp("few") / "pairs.jsonl"
    with file.open("w") as opened:
        for i in range(6):
            record = {
                "question": f"Will it be {i}?",
                "answer_matching_behavior": f"Yes, it will be {i} for sure.",
                "answer_not_matching_behavior": f"No, never {i} at all.",
            }
            opened.write(json.dumps(record) + "\n")
    return file


def test_every_question_is_answered_on_a_model_without_a_chat_template(longer, few, capsys):
    folder = str(longer)
    for question in steering.PAPER.questions:
        words = ["steering", question.name, "--model", folder, "--pairs", str(few), "--json", "-"]
        if question.name == "strength":
            words += ["--documents", "2", "--draws", "2"]
        assert cli.main(words) == 0, capsys.readouterr().err
        document = json.loads(capsys.readouterr().out)
        assert document["frames"]
        assert document["paper"] == "steering"


def test_the_command_saves_a_vector_and_steers_by_it(longer, few, tmp_path, capsys):
    folder = str(longer)
    out = tmp_path / "out"
    assert (
        cli.main(["steering", "save", "--model", folder, "--pairs", str(few), "--out", str(out)])
        == 0
    )
    (file,) = out.rglob("*vector.safetensors")
    assert list(out.rglob("*vector.gguf"))
    capsys.readouterr()
    words = [
        "steering",
        "--model",
        folder,
        "--vector",
        str(file),
        "--prompt",
        "the house",
        "--layer",
        "1",
    ]
    assert cli.main([*words, "--multiplier", "4", "--max-tokens", "5", "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)["frames"]["generations"]
    assert [row["multiplier"] for row in rows] == [0, 4, -4]

    @on_compute_thread
    def again():
        model = load_model(longer)

        prompt = asked(model.require_tokenizer(), "the house")
        vector = Vectors.from_bytes(file.read_bytes()).at(1)[None]
        ids = list(prompt)
        for _ in range(5):
            logits = whole(model.stream, ids, 1, vector, 4, len(prompt) - 1, False)[-1]
            ids.append(int(logits.argmax()))
        return model.require_tokenizer().decode(ids[len(prompt) :])

    assert rows[1]["text"] == again()


def test_a_sweep_chooses_on_one_half_and_scores_on_the_other(longer, few):
    result = steering.run(
        load_model(longer), SweepParams(pairs=pairs.read(few), multipliers=(-3, 3), layers="0:")
    )
    assert result.p.shape == (3, 3, 3)
    first, second = halves(result.n)
    row = list(result.layers).index(result.best)
    assert result.swing[:, first].mean(1).argmax() == row
    assert result.gain[0] == pytest.approx(result.swing[row, second].mean())
    frame = result.frames["sweep"]
    assert list(frame) == ["layer", "multiplier", "system", "p_matching", "low", "high", "n"]
    still = frame[frame["multiplier"] == 0]["p_matching"]
    assert still.nunique() == 1
