"""Telling injected prompts by their trajectories: the prompts, the split, the scores, the intervals."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import interp_core  # before MLX
from interp_core import artifacts, estimates, paths
from interp_core.papers import tuned_lens
from interp_core.papers.tuned_lens import cost, figures_detect, injections, translators
from interp_core.papers.tuned_lens.compute import outliers
from interp_core.papers.tuned_lens.compute.detect import detect
from interp_core.papers.tuned_lens.compute.lens import applied
from interp_core.papers.tuned_lens.detection import (
    FOREST,
    HARMLESS,
    INJECTED,
    ORDINARY,
    READINGS,
    TUNED,
    Detection,
    DetectParams,
)
from interp_core.papers.tuned_lens.translators import Card, Translators
from interp_core.params import ParameterError
from interp_core.residual import Site
from interp_core.runtime import on_compute_thread

RECORDS = json.loads((interp_core.paths.SHIPPED / injections.FILE).read_text())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    artifacts._load.cache_clear()


# The prompts


def test_the_pairs_that_ship_are_balanced_and_distinct():
    pairs = injections.load("shipped")
    tasks = {pair.task: pair.answers for pair in pairs}
    assert len(pairs) == 96 and len(tasks) == 3
    for task, answers in tasks.items():
        own = [pair for pair in pairs if pair.task == task]
        assert [sum(pair.answer == answer for pair in own) for answer in answers] == [16, 16]
    prompts = [prompt for pair in pairs for prompt in pair.versions.values()]
    assert len(set(prompts)) == 3 * 96 and all(prompt.isascii() for prompt in prompts)


def test_versions_differ_by_one_sentence_at_one_place():
    places = []
    for pair in injections.load("shipped"):
        words = pair.ordinary.split(" ")
        found = []
        for version in (pair.harmless, pair.injected):
            extra = len(version.split(" ")) - len(words)
            at = [i for i in range(len(words)) if version.split(" ")[i] != words[i]]
            parts = version.split(" ")
            fits = [i for i in range(len(words) + 1) if parts[:i] + parts[i + extra :] == words]
            assert fits or at, "something else was changed"
            found.append(len(version) - len(pair.ordinary))
            head = len(_common(version, pair.ordinary))
            tail = len(_common(version[::-1], pair.ordinary[::-1]))
            assert head + tail >= len(pair.ordinary) - 1, pair.ordinary
            places.append(head / len(pair.ordinary))
        assert pair.injected.splitlines()[-1] == pair.ordinary.splitlines()[-1]
    assert min(places) < 0.2 and max(places) > 0.7, "places vary"


def _common(a: str, b: str) -> str:
    same = [x == y for x, y in zip(a, b, strict=False)]
    return a[: same.index(False) if False in same else len(same)]


def test_the_control_is_as_long_and_answers_are_single_tokens(model):
    tokenizer = model.require_tokenizer()
    for pair in injections.load("shipped"):
        ordinary, harmless, injected = (
            len(tokenizer.prompt(prompt)) for prompt in pair.versions.values()
        )
        assert (harmless - ordinary) / (injected - ordinary) == pytest.approx(1, abs=0.16)
        assert len({tokenizer.single(answer) for answer in pair.answers}) == 2


def _changed(**fields):
    records = copy.deepcopy(RECORDS)
    records[3].update(fields)
    return records


def _without(key):
    records = copy.deepcopy(RECORDS)
    del records[3][key]
    return records


DAMAGED = {
    "list of 1 to": {},
    "JSON list": [],
    "record 0 is no record": ["text"] * 20,
    "record 3 lacks the key 'injected'": _without("injected"),
    "record 3: harmless: accepted: in every record, or in none": _without("harmless"),
    "record 3 has the key 'injection'": _changed(injection="x"),
    "record 3: answers: accepted: a list of two texts": _changed(answers=[" positive"]),
    "record 3: answers: both are": _changed(answers=[" positive", " positive"]),
    "record 3: answers: the task 'reviews' has": _changed(
        answers=[" negative", " positive"], answer=""
    ),
    "record 3: answer: ' maybe' is not accepted": _changed(answer=" maybe"),
    "record 3: ordinary is empty": _changed(ordinary=" "),
    "record 3: ordinary is not a text": _changed(ordinary=3),
    "record 3: injected is not a text": _changed(injected="\ud800"),
    "record 3: injected has 20,001 characters": _changed(injected="x" * 20_001),
    "record 3: two of its prompts are the same": _changed(injected=RECORDS[3]["ordinary"]),
    "a prompt of record 2 comes again": _changed(ordinary=RECORDS[2]["ordinary"]),
    "record 3: a prompt of record 1 comes again": _changed(
        ordinary="  " + RECORDS[1]["injected"].replace(" ", "\t ") + "\n"
    ),
    "record 3: task: 'all' is what tables call all tasks": _changed(task="all"),
    "26 tasks; accepted: up to 12": [
        {**record, "task": f"task {n // 12}", "answers": [" a", " b"], "answer": ""}
        | {key: f"{n} {record[key]}" for key in ("ordinary", "injected", "harmless")}
        for n, record in enumerate(RECORDS * 4)
        if n < 312
    ],
    "the task 'other' has 1; accepted: at least 12": _changed(task="other"),
}


@pytest.mark.parametrize("said", DAMAGED)
def test_damaged_files_of_pairs_are_refused(tmp_path, said):
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps(DAMAGED[said]))
    with pytest.raises(ParameterError, match=r"^pairs: ") as caught:
        injections.read(file)
    assert said in str(caught.value)


def test_what_is_read_can_be_loaded_in_any_script_and_with_keys_left_out(tmp_path, monkeypatch):
    needed = ("task", "answers", "ordinary", "injected")
    records = [
        {key: record[key] for key in needed}
        | {key: f"{n} " + "\u0436" * 500 for key, n in (("ordinary", i), ("injected", i + 1000))}
        for i, record in enumerate(RECORDS)
    ]
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps(records, ensure_ascii=False))
    monkeypatch.setattr(injections, "MAX_BYTES", file.stat().st_size)
    name = injections.read(file)
    kept = (paths.cache_dir("pairs") / f"{name}.json").stat().st_size
    assert kept < 1.2 * file.stat().st_size
    assert injections.load(name)[95].ordinary == records[95]["ordinary"]


def test_what_is_no_json_or_no_file_is_refused(tmp_path):
    for content in (b"\xff", b"[", b"[" * 100_000):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(ParameterError, match=r"pairs: a is not (JSON|text)"):
            injections.read(tmp_path / "a")
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ParameterError, match=r"^pairs: "):
            injections.read(path)


def test_a_readers_file_is_kept_and_its_control_may_be_missing(tmp_path):
    records = [{k: v for k, v in r.items() if k not in ("harmless", "answer")} for r in RECORDS]
    (tmp_path / "a.json").write_text(json.dumps(records))
    name = injections.read(tmp_path / "a.json")
    assert [list(pair.versions) for pair in injections.load(name)] == [[ORDINARY, INJECTED]] * 96
    assert DetectParams(pairs=name).pairs == name
    assert cost.detect(DetectParams(pairs=name)) < cost.detect(DetectParams())
    with pytest.raises(ParameterError, match="is not on this machine"):
        injections.load("0123456789abcdef")


# The split and the scores


class _Spy:
    """A detector that remembers what it was fitted on and what it scored."""

    def __init__(self, seed, prompts):
        self.prompts = prompts
        _Spy.made.append(self)

    def fit(self, x):
        assert len(x) == self.prompts
        self.fitted = x
        return self

    def score_samples(self, x):
        self.scored = x
        return -x[:, 0]


def test_no_detector_scores_what_it_was_fitted_on(monkeypatch):
    _Spy.made = []
    monkeypatch.setattr(outliers, "MADE", {FOREST: _Spy})
    tasks = np.array(["a"] * 13 + ["b"] * 16)
    item, version = np.arange(29), np.arange(3)
    marks = np.stack(np.broadcast_arrays(item + 100 * version[:, None], version[:, None]), -1)
    folds = outliers.folds_of(tasks, 5)
    found = outliers.scores({"x": marks.astype(float)}, tasks, folds, 0, 5)
    assert np.array_equal(found[0, 0], marks[..., 0]), "each is scored, once, in its place"
    assert len(_Spy.made) == 2 * outliers.FOLDS
    for spy in _Spy.made:
        fitted, scored = set(spy.fitted[:, 0]), {x % 100 for x in spy.scored[:, 0]}
        assert not fitted & scored and not spy.fitted[:, 1].any(), "ordinary ones of other folds"
        assert fitted | scored in ({*range(13)}, {*range(13, 29)}), "one task's"


def test_folds_are_even_within_tasks_and_hang_on_the_seed():
    tasks = np.array(["a", "b"] * 16)
    folds = outliers.folds_of(tasks, 0)
    for task in "ab":
        assert np.bincount(folds[tasks == task]).tolist() == [4] * 4
    assert np.array_equal(folds, outliers.folds_of(tasks, 0))
    assert not np.array_equal(folds, outliers.folds_of(tasks, 1))


def test_outliers_score_higher_and_a_seed_gives_the_same_again():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(2, 32, 6))
    features[1] += 6
    tasks = np.array(["a"] * 32)
    folds = outliers.folds_of(tasks, 0)
    found = [outliers.scores({"x": features}, tasks, folds, 0, seed) for seed in (0, 0, 1)]
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])
    for scores in found[0][0]:
        assert estimates.auc(scores[0], scores[1], folds)[0] > 0.99


# AUC and its intervals


def test_the_auc_is_scikit_learns():
    draw = np.random.default_rng(0)
    for n, m in ((20, 30), (5, 9)):
        negatives, positives = draw.integers(0, 9, n), draw.integers(2, 12, m)
        truth = np.repeat([0, 1], [n, m])
        expected = roc_auc_score(truth, np.concatenate([negatives, positives]))
        value, low, high = estimates.auc(negatives, positives)
        assert value == pytest.approx(expected) and 0 <= low < value < high <= 1


def test_groups_are_compared_within_and_an_item_not_with_itself():
    draw = np.random.default_rng(1)
    negatives, positives = draw.normal(size=(2, 12))
    group = np.repeat([0, 1, 2], 4)
    wins = [
        positives[j] > negatives[i]
        for i in range(12)
        for j in range(12)
        if group[i] == group[j] and i != j
    ]
    assert estimates.auc(negatives, positives, group)[0] == pytest.approx(np.mean(wins))
    shifted = 100 * group  # scores of different fits are on different scales
    moved = estimates.auc(negatives + shifted, positives + shifted, group)
    assert np.allclose(moved, estimates.auc(negatives, positives, group))
    monotone = estimates.auc(np.exp(negatives), np.exp(positives), group)
    assert np.allclose(monotone, estimates.auc(negatives, positives, group))


def test_a_perfect_auc_has_a_width_and_a_gap_to_itself_none():
    low, high = np.arange(8.0), np.arange(8.0) + 10
    group = np.zeros(8, int)
    value, lower, upper = estimates.auc(low, high, group)
    assert value == upper == 1 and 0.6 < lower < 0.9
    assert np.allclose(estimates.auc(high, low, group), [0, 0, 1 - lower])
    assert not estimates.auc_gap((low, high), (low, high), group).any()


COVERAGE = {(16, 1): (0.953, 0.966), (32, 4): (0.952, 0.975), (96, 12): (0.953, 0.974)}
"""As the docstring of ``auc`` says, for AUCs of .6 and .95."""


@pytest.mark.parametrize(("n", "groups"), list(COVERAGE))
@pytest.mark.parametrize("paired", [0.0, 0.5])
@pytest.mark.parametrize("column", [0, 1])
def test_intervals_of_aucs_cover_as_is_said(n, groups, paired, column):
    truth, distance = ((0.6, 0.3583), (0.95, 2.3262))[column]
    draw, covered, gaps, times = np.random.default_rng(n), 0, 0, 500
    group = np.repeat(np.arange(groups), n // groups)
    for _ in range(times):
        x, other = draw.normal(size=(2, n))
        y = paired * x + np.sqrt(1 - paired**2) * draw.normal(size=n) + distance
        low, high = estimates.auc(x, y, group)[1:]
        covered += low <= truth <= high
        z = paired * other + np.sqrt(1 - paired**2) * draw.normal(size=n) + 0.3583
        low, high = estimates.auc_gap((x, y), (other, z), group)[1:]
        gaps += low <= truth - 0.6 <= high
    expected = COVERAGE[n, groups][column] if not paired else 0.987
    assert covered / times == pytest.approx(expected, abs=0.035)
    assert 0.915 <= gaps / times <= 0.99


# A model, end to end


def _lens(info, scale=0.1) -> Translators:
    draw, layers = np.random.default_rng(0), tuple(range(-1, info.n_layers - 1))
    card = Card(info.id, info.sha256, info.d_model, info.n_layers, made="drawn")
    bias = draw.normal(0, scale, (len(layers), info.d_model)).astype(np.float32)
    a = draw.normal(0, scale, (*bias.shape, info.d_model)).astype(np.float32)
    return Translators(card, layers, bias, a)


WORDS = [
    "red",
    "blue",
    "green",
    "old",
    "new",
    "tall",
    "small",
    "round",
    "flat",
    "cold",
    "warm",
    "dry",
]


def _few(tmp_path, answers, control=True) -> str:
    """Keep twelve pairs of one task that fit a tiny model, whose context is 32 tokens."""
    records = []
    for word in WORDS:
        record = {"task": "words", "answers": answers, "ordinary": f"a {word} hat is"}
        record |= {"injected": f"stop! a {word} hat is"}
        record |= {"harmless": f"look, a {word} hat is"} if control else {}
        records.append(record)
    (tmp_path / "few.json").write_text(json.dumps(records))
    return injections.read(tmp_path / "few.json")


def _single(tokenizer) -> list[str]:
    ids = [tokenizer.encode(text, bos=False) for text in ("a", "e", "s", "t", " a", " t")]
    return [tokenizer.text(each[-1]) for each in ids if len(each) == 1][:2]


@pytest.fixture
def asked(tiny, tmp_path):
    """A tiny model, and what is asked of it."""
    model = tiny("llama")
    lens = translators.KEPT.keep(_lens(model.info).to_bytes())
    pairs = _few(tmp_path, _single(model.require_tokenizer()))
    return model, DetectParams(model=model.info.id, lens=lens, pairs=pairs)


def _run(model, params) -> Detection:
    return on_compute_thread(detect)(model, params)


def test_a_tiny_model_is_read_as_by_hand(asked):
    model, params = asked
    found = _run(model, params)
    assert found.versions == (ORDINARY, HARMLESS, INJECTED) and (found.right == -1).all()
    assert np.isfinite(found.scores).all() and np.isfinite(found.log_probs).all()
    pair = injections.load(params.pairs)[4]
    tokenizer = model.require_tokenizer()
    ids, answers = tokenizer.prompt(pair.injected), [tokenizer.single(a) for a in pair.answers]
    assert found.tokens[2, 4] == len(ids)

    @on_compute_thread
    def by_hand():
        run = model.stream.run(mx.array([ids]), keep=[Site("resid_post", 0)])
        h, translate = run.acts[Site("resid_post", 0)][0, -1:], applied(_lens(model.info))
        rows = [model.stream.unembed(x) for x in (h, translate(0, h))] + [run.logits[0, -1:]]
        rows = [np.array((x - mx.logsumexp(x, -1, keepdims=True))[0]) for x in rows]
        return [x[answers] for x in rows], int(rows[-1].argmax())

    (logit, tuned, last), top = by_hand()
    assert np.allclose(found.log_probs[0, 1, 2, 4], logit, atol=1e-4)
    assert np.allclose(found.log_probs[1, 1, 2, 4], tuned, atol=1e-4)
    assert np.allclose(found.log_probs[:, -1, 2, 4], last, atol=1e-4) and found.top[2, 4] == top


def test_a_result_reads_back_and_draws_its_curves(asked):
    model, params = asked
    found = tuned_lens.run(model, params, findings=False)
    again = Detection.from_bytes(found.to_bytes())
    assert np.array_equal(again.scores, found.scores) and again.own_findings
    assert np.array_equal(_run(model, found.params).scores, found.scores), "a seed gives the same"
    tables = found.tables()
    assert len(tables["scores"]) == 3 * 12 * 2 * len(READINGS)
    roc = tables["roc"].query(
        "reading == 'tuned' and detector == 'forest' and version == 'injected'"
    )
    steps = np.diff(roc["false_positive"]) @ roc["true_positive"].to_numpy()[:-1]
    assert steps == pytest.approx(found.auc(TUNED, FOREST)[0]), "the area is the AUC"
    assert set(found.own_charts()) >= {"areas", "curves", "trajectories"}
    assert {f.id for f in found.own_findings} == {
        "detect_told",
        "detect_better",
        "detect_over_length",
        "detect_instruction",
    }
    for what in ("odds", "mass"):
        assert figures_detect.trajectories(found, "logit", what).to_dict()


def test_without_a_control_that_is_said(asked, tmp_path):
    model, params = asked
    pairs = _few(tmp_path, _single(model.require_tokenizer()), control=False)
    found = tuned_lens.run(model, dataclasses.replace(params, pairs=pairs), findings=False)
    assert found.versions == (ORDINARY, INJECTED) and "no control" in figures_detect.sentence(found)
    assert "detect_instruction" not in {finding.id for finding in found.own_findings}
    assert "no control" in figures_detect.areas(found).to_dict()["description"]


def test_answers_that_are_no_single_token_are_refused(asked, tmp_path):
    model, params = asked
    pairs = _few(tmp_path, [" neither one", " nor the other"])
    with pytest.raises(ParameterError, match=r"pairs: answers of the task 'words'.*exactly one"):
        _run(model, dataclasses.replace(params, pairs=pairs))


def test_a_prompt_beyond_the_context_is_refused(asked):
    model, params = asked
    lens = translators.KEPT.keep(_lens(model.info).to_bytes())
    with pytest.raises(ParameterError, match=r"^pairs: "):
        _run(model, DetectParams(lens=lens))
    name = injections._KEPT.keep(json.dumps(_long(params.pairs)).encode())
    with pytest.raises(ParameterError, match=r"record 2: ordinary has .* the model's context"):
        _run(model, dataclasses.replace(params, pairs=name))


def _long(pairs: str) -> list[dict]:
    records = [dataclasses.asdict(pair) for pair in injections.load(pairs)]
    records[2]["ordinary"] *= 5
    return records


def test_pages_need_no_scikit_learn():
    code = (
        "import sys; from interp_core.papers.tuned_lens import figures_detect, claims_detect; "
        "sys.exit('sklearn' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
