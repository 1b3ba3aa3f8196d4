"""Facts, subjects and parameters of causal tracing, and averages over facts."""

from __future__ import annotations

import dataclasses
import json
import os
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import CONVERTED

from interp_core.fields import fields_of
from interp_core.papers import causal_tracing
from interp_core.papers.causal_tracing import (
    PAPER,
    AverageParams,
    EditParams,
    Params,
    ScoresParams,
    facts,
)
from interp_core.papers.causal_tracing.compute.subject import guess, locate
from interp_core.papers.causal_tracing.facts import Fact
from interp_core.papers.causal_tracing.params import MAX_TOKENS
from interp_core.params import ParameterError
from interp_core.tokens import Tokenizer

KNOWN_FACTS = Path(os.environ.get("KNOWN_FACTS", "known_facts.json"))
RECORD = {"subject": "Bob", "attribute": "Oz", "prompt": "Bob is in"}
REWRITE = {
    "requested_rewrite": {
        "prompt": "{} is in",
        "subject": "Bob",
        "relation_id": "P1",
        "target_true": {"str": "Oz"},
        "target_new": {"str": "Ur"},
    },
    "paraphrase_prompts": ["Where is Bob? In"],
    "neighborhood_prompts": ["Tim is in"],
}


def refusal(call, *args, **kwargs) -> str:
    """Return the one line with which something is refused."""
    with pytest.raises(ParameterError) as raised:
        call(*args, **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def written(folder: Path, records) -> Path:
    file = folder / "facts.json"
    file.write_text(records if isinstance(records, str) else json.dumps(records))
    return file


def test_a_file_of_known_facts(tmp_path):
    other = {**RECORD, "subject": "Tim", "prompt": "Tim and Tim is", "relation_id": "P2"}
    name = facts.read(written(tmp_path, [RECORD, other]))
    first, second = facts.load(name)
    assert first == Fact("Bob", "Oz", "{} is in", "{} is in")
    assert second == Fact("Tim", "Oz", "{} and Tim is", "P2")
    assert (first.prompt, second.prompt) == (RECORD["prompt"], other["prompt"])
    assert facts.read(written(tmp_path, json.dumps([RECORD, other], indent=4))) == name
    assert facts.read(written(tmp_path, [other, RECORD])) != name
    assert facts.read(written(tmp_path, [RECORD])) != name
    assert AverageParams(facts=name).facts == ScoresParams(facts=name).facts == name


def test_a_file_of_counterfact(tmp_path):
    (fact,) = facts.load(facts.read(written(tmp_path, [REWRITE])))
    assert fact == Fact("Bob", "Oz", "{} is in", "P1", "Ur", ("Where is Bob? In",), ("Tim is in",))
    assert facts.rewrites((fact,)) == (fact,)
    assert facts.rewrites((dataclasses.replace(fact, neighbours=()),)) == ()


BAD_FILES = {
    "not JSON": ("{", "facts.json is not JSON"),
    "deep": ("[" * 100_000, "facts.json"),
    "not a list": (RECORD, "list"),
    "empty": ([], "at least one"),
    "a number": ([1], "record 0"),
    "a text": (["requested_rewrite"], "record 0"),
    "no subject": ([RECORD, {"prompt": "x", "attribute": "y"}], "record 1 lacks the key 'subject'"),
    "no attribute": ([{"prompt": "x", "subject": "x"}], "record 0 lacks the key 'attribute'"),
    "no target": (
        [{"requested_rewrite": {"subject": "x"}}],
        "record 0 lacks the key 'target_true'",
    ),
    "elsewhere": ([RECORD, {**RECORD, "subject": "Tim"}], "record 1: the subject 'Tim' is not in"),
    "subject empty": ([{**RECORD, "subject": ""}], "record 0"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named(tmp_path, case):
    content, message = BAD_FILES[case]
    said = refusal(facts.read, written(tmp_path, content))
    assert said.startswith("facts: ") and message in said


NOT_TEXTS = {
    "attribute": [{**RECORD, "attribute": 5}],
    "surrogate": '[{"subject": "Bob", "prompt": "Bob is", "attribute": "\\ud800"}]',
    "target": [{**REWRITE, "requested_rewrite": {**REWRITE["requested_rewrite"], "prompt": 5}}],
    "no place": [{**REWRITE, "requested_rewrite": {**REWRITE["requested_rewrite"], "prompt": "x"}}],
    "paraphrases": [{**REWRITE, "paraphrase_prompts": "Where"}],
}


@pytest.mark.parametrize("case", NOT_TEXTS)
def test_records_that_are_not_texts_are_refused_when_read(tmp_path, case):
    assert "record 0" in refusal(facts.read, written(tmp_path, NOT_TEXTS[case]))


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    for path in (tmp_path, tmp_path / "none.json"):
        assert f"facts: {path.name} cannot be read" in refusal(facts.read, path)
    file = written(tmp_path, [RECORD] * 3)
    file_name = facts.read(file)
    monkeypatch.setattr(facts, "MAX_RECORDS", 2)
    assert refusal(facts.read, file) == "facts: 3 records; accepted: up to 2"
    monkeypatch.setattr(facts, "MAX_BYTES", 10)
    assert "facts.json is over" in refusal(facts.read, file)
    assert "'0123456789abcdef' is not on this machine" in refusal(facts.load, "0123456789abcdef")
    assert len(facts.load(file_name)) == 3


@pytest.mark.skipif(not KNOWN_FACTS.exists(), reason="KNOWN_FACTS names no known_facts.json")
def test_the_released_facts():
    records = json.loads(KNOWN_FACTS.read_text())
    loaded = facts.load(facts.read(KNOWN_FACTS))
    assert [fact.prompt for fact in loaded] == [record["prompt"] for record in records]
    assert [fact.attribute for fact in loaded] == [record["attribute"] for record in records]
    complete = facts.rewrites(loaded)
    assert len(complete) > 100
    check_rewrites(loaded, complete)


def check_rewrites(given, complete) -> None:
    said = {(fact.prompt, fact.relation, fact.attribute) for fact in given}
    objects = {(fact.relation, fact.attribute) for fact in given}
    for fact in complete:
        assert fact.new_object != fact.attribute and (fact.relation, fact.new_object) in objects
        assert fact.neighbours and fact.prompt not in fact.neighbours
        about = fact.relation, fact.attribute
        assert all((text, *about) in said for text in fact.neighbours)


def test_the_shipped_facts():
    shipped = facts.load("shipped")
    assert len(shipped) >= 120 and len({fact.relation for fact in shipped}) >= 12
    assert len({(fact.prompt, fact.subject) for fact in shipped}) == len(shipped)
    for fact in shipped:
        assert fact.template.count("{}") == 1 and fact.subject in fact.prompt
        assert fact.attribute.lower() not in fact.prompt.lower(), fact
        assert fact.prompt == fact.prompt.strip() and fact.attribute == fact.attribute.strip()
        assert fact.paraphrases and all(fact.subject in text for text in fact.paraphrases)
    # Any beginning of the set has as many relations as it can.
    count = len({fact.relation for fact in shipped})
    assert len({fact.relation for fact in shipped[:count]}) == count
    complete = facts.rewrites(shipped)
    assert len(complete) >= 24
    check_rewrites(shipped, complete)


def test_subjects_that_spell_their_answer():
    spelt = {"Vietnam": "Vietnamese", "Saudi Arabia": "Arabic", "The Indian Ocean": "India"}
    other = {"Rio de Janeiro": "Brazil", "Roman Empire": "Oman", "The Odessa opera": "Odes"}
    given = [Fact(subject, answer, "{} is", "r") for subject, answer in {**spelt, **other}.items()]
    assert [facts.spells(fact) for fact in given] == [True, True, True, False, False, True]
    assert facts.given_away(tuple(given)) == pytest.approx(4 / 6)
    assert not facts.spells(Fact("Bob", "", "{} is", "r"))


@pytest.mark.skipif(not (CONVERTED / "tokenizer.json").exists(), reason="no default model here")
def test_every_shipped_fact_can_be_located():
    tokenizer = Tokenizer(CONVERTED)
    model = SimpleNamespace(info=SimpleNamespace(context=2048), require_tokenizer=lambda: tokenizer)
    for fact in facts.load("shipped"):
        params = Params(prompt=fact.prompt, subject=fact.subject, answer=fact.attribute)
        located = locate(model, params)
        text = "".join(tokenizer.text(located.ids[i]) for i in located.subject)
        assert text.strip() == fact.subject
        assert "".join(map(tokenizer.text, located.answer)) == f" {fact.attribute}"
        assert located.ids[0] == tokenizer.special["<|endoftext|>"]


GUESSED = {
    "A plane that lands in South Africa is on the continent of": "South Africa",
    "Louis Armstrong was a great musician who played the": "Louis Armstrong",
    "The capital of the United States of America is": "United States of America",
    "Madrid is the capital of": "Madrid",
    "the boss of Audi is": "Audi",
}


def test_subjects_are_guessed():
    assert {prompt: guess(prompt) for prompt in GUESSED} == GUESSED
    assert guess("The Eiffel Tower is located in the city of") == "The Eiffel Tower"
    assert refusal(guess, "nothing here").startswith("subject: ")


BOB = {"prompt": "Bob is in the", "subject": "Bob"}


def located(model, **changes):
    return locate(model, Params(**{**BOB, **changes}))


def test_subjects_are_found_as_tokens(tiny):
    model = tiny("llama")
    text = lambda found: "".join(model.tokenizer.text(found.ids[i]) for i in found.subject)
    assert located(model).subject == range(1, 4) and text(located(model)) == "Bob"
    assert text(located(model, subject=" in ")).strip() == "in"
    assert text(located(model, subject="is in the")).strip() == "is in the"
    assert text(located(model, prompt="to Bob, Bob", subject="Bob")).strip() == "Bob"
    café = located(model, prompt="a café is", subject="café")
    assert text(café).strip().startswith("caf") and len(café.subject) in (5, 6)
    assert located(model, start="none").subject == range(3)
    assert located(model, start="<|im_end|>").ids[0] == 2
    assert located(model, start="none").ids == located(model).ids[1:]
    assert located(model, subject="").subject == located(model).subject
    assert located(model, answer="a").answer == (263,)
    assert located(model, answer=" a").answer == (263,)
    assert located(model, answer="").answer == ()


BAD_SUBJECTS = {
    "not there": ({"subject": "Tim"}, "subject: 'Tim' is not in the prompt"),
    "case": ({"subject": "bob"}, "subject: 'bob' is not in the prompt"),
    "inside": ({"subject": "he"}, "subject: 'he' ends inside the token"),
    "edge": ({"subject": "Bob is i"}, "subject: 'Bob is i' ends inside the token 'in'"),
    "one token": ({"prompt": "a", "subject": "a"}, "prompt: it has 1 tokens; accepted: 2 to 31"),
    "long": ({"prompt": "Bob" * 11}, "prompt: it has 33 tokens; accepted: 2 to 31"),
    "start": ({"start": "zzz"}, "start: 'zzz' is not accepted; accepted: auto, none, <|endoftext"),
    "no subject": ({"prompt": "it is in", "subject": ""}, "subject: none could be guessed"),
}


@pytest.mark.parametrize("case", BAD_SUBJECTS)
def test_bad_subjects_are_named(tiny, case):
    changes, message = BAD_SUBJECTS[case]
    assert message in refusal(located, tiny("llama"), **changes)
    params = Params(**{**BOB, "window": 2, **changes})
    assert message in refusal(causal_tracing.run, tiny("llama"), params, findings=False)


def test_long_prompts_are_refused_by_a_model_of_any_context(tiny):
    tokenizer = tiny("llama").tokenizer
    model = SimpleNamespace(info=SimpleNamespace(context=9999), require_tokenizer=lambda: tokenizer)
    prompt = "a" * MAX_TOKENS
    assert f"accepted: 2 to {MAX_TOKENS - 1}" in refusal(located, model, prompt=prompt, subject="a")
    assert len(located(model, prompt=prompt, subject="a", start="none").ids) == MAX_TOKENS


BAD_PARAMS = {
    "prompt": ["", " ", "\ud800", 5],
    "noise": [0, -1, float("nan"), float("inf"), "x", 1001],
    "noise_unit": ["sd"],
    "samples": [0, -1, 101, 1.5],
    "window": [0, -3, 201],
    "kinds": [(), "", "logits", ("resid_post", "x"), 5, "resid_post,"],
    "metric": ["loss"],
    "corruption": ["zero"],
    "layers": ["3:1", "x", "-1:2"],
    "facts": ["/etc/passwd", "../0123456789abcdef", "facts.json", "shipped\n", "0123456789ABCDEF"],
    "limit": [0],
    "seed": [-1, 2**32],
    "layer": [-1, "x"],
    "watch": [("",), ("x",) * 13],
    "covariance": ["none"],
}


@pytest.mark.parametrize("name", BAD_PARAMS)
def test_bad_parameters_are_named(name):
    classes = [q.params for q in PAPER.questions if name in fields_of(q.params)]
    assert classes
    for cls, value in product(classes, BAD_PARAMS[name]):
        assert refusal(cls, **{name: value}).startswith(f"{name}: "), (cls, value)


def test_the_released_code_s_words_for_kinds():
    words = Params(kinds="hidden,mlp,attn,head").kinds
    assert words == ("resid_post", "mlp_out", "attn_out", "z")
    assert Params(kinds=("mlp", "mlp_out", "hidden")).kinds == ("mlp_out", "resid_post")
    assert Params(kinds=["sever_mlp"]).kinds == ("sever_mlp",)


BAD_TRACES = {
    "window": ({"window": 4}, "window: 4 is not accepted; this model has 3 layers"),
    "layers": ({"layers": "0:9"}, "layers: 0:9 is not accepted; this has 3"),
    "positions": ({"positions": "0:99"}, "positions: 0:99"),
    "swap": ({"corruption": "swap"}, "swap: it is empty"),
    "swap's length": ({"corruption": "swap", "swap": "Robert"}, "swap: the prompt has"),
    "swap's own": ({"corruption": "swap", "swap": "Bob"}, "swap: it is the same prompt"),
    "foil": ({"metric": "logit_difference"}, "foil: it is empty"),
}
BAD_FOR_MODEL = {
    **{
        case: (Params(**{**BOB, "window": 2, **changes}), said)
        for case, (changes, said) in BAD_TRACES.items()
    },
    "facts": (
        AverageParams(facts="0123456789abcdef", window=2),
        "facts: '0123456789abcdef' is not on",
    ),
    "facts to edit": (
        ScoresParams(facts="0123456789abcdef"),
        "facts: '0123456789abcdef' is not on",
    ),
    "layer": (EditParams(layer=3, new_object="x", **BOB), "layer: 3 is not accepted"),
    "layer of scores": (ScoresParams(layer=3), "layer: 3 is not accepted"),
    "new_object": (EditParams(layer=1, new_object="", **BOB), "new_object: it is empty"),
}


@pytest.mark.parametrize("case", BAD_FOR_MODEL)
def test_parameters_that_do_not_fit_the_model_are_named(tiny, case):
    params, message = BAD_FOR_MODEL[case]
    assert refusal(causal_tracing.run, tiny("llama"), params, findings=False).startswith(message)


def test_a_subject_of_one_token_is_first_and_last(tiny):
    traced = lambda **given: causal_tracing.run(
        tiny("llama"), Params(window=1, kinds="hidden", **given), findings=False
    )
    result = traced(prompt="a X is the", subject="X", start="none")
    # The space before it is a token of its own here, outside the subject.
    position = result.subject[0]
    assert result.subject == (position, position + 1)
    assert result.classes(position) == ["first_subject", "last_subject"]
    assert result.classes(position + 1) == ["first_subsequent"]
    assert result.classes(position - 1) == []
    assert result.classes(len(result.tokens) - 1) == ["last"]
    end = traced(prompt="the cat of X", subject="X")
    assert end.classes(end.subject[0]) == ["first_subject", "last_subject", "last"]
