"""Parameters as they are declared: once, and read by flags, links, controls, tables and refusals."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from interp_core import links
from interp_core.fields import When, fields_of, param
from interp_core.papers import causal_tracing, induction_heads, logit_lens
from interp_core.papers.logit_lens.params import LensView
from interp_core.params import (
    Blocks,
    HeadNumber,
    Layer,
    Layers,
    OnModel,
    ParameterError,
    Positions,
    Range,
    Text,
    TokenText,
    View,
    computed_by,
    fit,
    parameters,
    reads,
)
from interp_core.question import kept_by, question_of, read_by, stored
from interp_core.registry import PAPERS

QUESTIONS = [question for paper in PAPERS.values() for question in paper.questions]
by_name = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)


@parameters
class Every:
    """One field of every kind, with every sort of bound."""

    base: ClassVar[str] = "/every"

    switch: bool = param(False, "Switch", "on or off")
    one: Literal["a", "b"] = param("a", "One", "of two", names={"a": "the first"})
    three: bool | Literal["auto"] = param("auto", "Three", "choices of two types")
    some: tuple[Literal["x", "y"], ...] = param(("x",), "Some", "of two")
    words: Annotated[tuple[TokenText, ...], Field(max_length=3)] = param((), "Words", "few")
    count: int = param(5, "Count", "closed", ge=1, le=9, slider=(2, 4))
    open_count: int = param(5, "Open count", "open", gt=1, lt=9)
    share: float = param(0.5, "Share", "open", gt=0, lt=1)
    free: int = param(0, "Free", "without bounds")
    text: Text = param("t", "Text", "not empty", max_length=40)
    spaced: str = param("", "Spaced", "where text is measured", when=When("switch", (True,)))
    span: Range = param((0, None, 1), "Span", "start:stop:stride")
    layer: Layer | None = param(None, "Layer", "of the model")
    head: HeadNumber = param(0, "Head", "in the layer")
    blocks: Blocks = param(1, "Blocks", "of the model")
    layers: Layers = param((0, None, 1), "Layers", "of the model")
    positions: Positions = param((0, None, 1), "Positions", "of the prompt")
    resume: bool = param(True, "Resume", "how, not what", identity=False)
    by_x: int = param(1, "By x", "read with x", when=When("some", ("x",)), ge=0, le=9)
    in_layer: Layer = param(0, "In layer", "read with one=b", when=When("one", ("b",)))


FIELDS = fields_of(Every)


@pytest.mark.parametrize(
    ("name", "kind", "choices"),
    [
        ("switch", "flag", (True, False)),
        ("one", "choice", ("a", "b")),
        ("three", "choice", ("auto", True, False)),
        ("some", "choices", ("x", "y")),
        ("words", "texts", ()),
        ("count", "number", ()),
        ("share", "number", ()),
        ("text", "text", ()),
        ("span", "span", ()),
        ("layer", "number", ()),
        ("layers", "span", ()),
        ("positions", "span", ()),
    ],
)
def test_kinds(name, kind, choices):
    assert (FIELDS[name].kind, FIELDS[name].choices) == (kind, choices)


@pytest.mark.parametrize(
    ("name", "low", "high", "integer"),
    [
        ("count", 1, 9, True),
        ("open_count", 2, 8, True),
        ("share", 0, 1, False),
        ("free", None, None, True),
        ("layer", 0, 1000, True),
        ("blocks", 1, 200, True),
        ("by_x", 0, 9, True),
        ("text", None, None, False),
    ],
)
def test_bounds(name, low, high, integer):
    field = FIELDS[name]
    assert (field.low, field.high, field.integer) == (low, high, integer)
    if integer and low is not None:
        for value in (low, high):
            assert getattr(Every(**{name: value}), name) == value
        for value in (low - 1, high + 1):
            with pytest.raises(ParameterError, match=f"^{name}: {value} is not accepted"):
                Every(**{name: value})


def test_what_a_field_says_of_itself():
    assert [name for name, field in FIELDS.items() if field.optional] == ["layer"]
    assert [(name, field.most) for name, field in FIELDS.items() if field.most is not None] == [
        ("words", 3),
        ("text", 40),
    ]
    sizes = {name: (f.size.of, f.size.inclusive) for name, f in FIELDS.items() if f.size}
    assert sizes == {
        "layer": ("n_layers", False),
        "head": ("n_heads", False),
        "blocks": ("n_layers", True),
        "layers": ("n_layers", False),
        "positions": ("n_tokens", False),
        "in_layer": ("n_layers", False),
    }
    count, one = FIELDS["count"], FIELDS["one"]
    assert (count.label, count.help, count.default) == ("Count", "closed", 5)
    assert count.shown.slider == (2, 4) and not count.shown.fold and count.shown.control
    assert (one.named("a"), one.named("b")) == ("the first", "b")
    assert FIELDS["open_count"].flag == "--open-count"


def test_defaults_are_those_of_the_value_itself():
    params = Every()
    assert {name: field.default for name, field in FIELDS.items()} == vars_of(params)


def vars_of(params) -> dict:
    return {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}


def test_an_optional_parameter_is_emptied_by_a_link():
    address = "/logit-lens?view_layer=&view_position=3"
    assert links.parse(address)[1] == LensView(layer=None, position=3)
    trace = causal_tracing.EditParams(layer=3)
    assert links.parse(trace.base + "&layer=3")[0] == trace
    assert links.parse(trace.base + "&layer=")[0] == causal_tracing.EditParams()


# Where a parameter is read


@pytest.mark.parametrize(
    ("given", "name", "line"),
    [
        (
            {"spaced": "a"},
            "spaced",
            "spaced: it is read only with switch=True; accepted: ''",
        ),
        ({"some": ("y",), "by_x": 3}, "by_x", "by_x: it is read only with some=x; accepted: 1"),
        ({"in_layer": 2}, "in_layer", "in_layer: it is read only with one=b; accepted: 0"),
    ],
)
def test_what_is_not_read_is_refused(given, name, line):
    with pytest.raises(ParameterError) as raised:
        Every(**given)
    assert str(raised.value) == line
    given[name] = FIELDS[name].default
    assert not reads(Every(**given), name)


def test_what_is_read_is_accepted():
    params = Every(switch=True, spaced="a", some=("y", "x"), by_x=3, one="b", in_layer=2)
    assert all(reads(params, name) for name in FIELDS)
    with pytest.raises(ParameterError, match="only with switch=True"):
        dataclasses.replace(params, switch=False)


def test_a_condition_says_all_its_values():
    assert str(causal_tracing.params.BY_NOISE) == "corruption=gaussian or uniform"
    for corruption, read in (("gaussian", True), ("uniform", True), ("swap", False)):
        swap = {} if read else {"swap": "North Korea"}
        params = causal_tracing.Params(corruption=corruption, **swap)
        assert reads(params, "noise") is reads(params, "samples") is read
    with pytest.raises(ParameterError, match=r"^noise: .*corruption=gaussian or uniform"):
        causal_tracing.Params(corruption="swap", swap="North Korea", noise=2)


@by_name
def test_conditions_are_on_parameters_there_are(question):
    fields = fields_of(question.params)
    for field in fields.values():
        if when := field.shown.when:
            on = fields[when.name]
            assert set(when.values) <= set(on.choices) or not on.choices, field.name


@by_name
def test_sliders_lie_within_bounds_and_hold_the_default(question):
    for cls in (question.params, question.view):
        for field in fields_of(cls).values():
            if field.kind == "number" and field.shown.slider:
                low, high, *step = field.shown.slider
                assert field.low is None or field.low <= low < high, field.name
                assert field.high is None or high <= field.high, field.name
                assert field.default is None or low <= field.default <= high, field.name
                assert all(each > 0 for each in step)


@by_name
def test_words_are_for_choices_there_are(question):
    for cls in (question.params, question.view):
        for field in fields_of(cls).values():
            if field.choices:
                words = field.shown.names.keys()
                assert not words or words & set(field.choices), field.name


# What only the model knows

SIZES = SimpleNamespace(n_layers=4, n_heads=2, n_tokens=7)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"layer": 3, "head": 1, "blocks": 4, "layers": "0:4", "positions": "6"},
        {"one": "b", "in_layer": 3},
    ],
)
def test_what_fits(given):
    fit(Every(**given), SIZES)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"layer": 4},
            "layer: 4 is not accepted; this model has 4 layers, so accepted: 0 to 3",
        ),
        ({"head": 2}, "head: 2 is not accepted; this model has 2 heads, so accepted: 0 to 1"),
        (
            {"blocks": 5},
            "blocks: 5 is not accepted; this model has 4 layers, so accepted: 1 to 4",
        ),
        (
            {"layers": "2:5"},
            "layers: 2:5 is not accepted; this has 4, so accepted: 0 <= start < stop <= 4",
        ),
        (
            {"positions": "7:"},
            "positions: 7: is not accepted; this has 7, so accepted: 0 <= start < stop <= 7",
        ),
        (
            {"one": "b", "in_layer": 4},
            "in_layer: 4 is not accepted; this model has 4 layers, so accepted: 0 to 3",
        ),
    ],
)
def test_what_does_not_fit(given, line):
    with pytest.raises(ParameterError) as raised:
        fit(Every(**given), SIZES)
    assert str(raised.value) == line


def test_what_is_not_known_or_not_read_is_not_checked():
    beyond = Every(layer=999, layers="0:999", positions="999:")
    fit(beyond, SimpleNamespace(n_layers=0))
    with pytest.raises(ParameterError, match=r"^positions"):
        fit(beyond, SimpleNamespace(n_tokens=7))
    two = SimpleNamespace(n_layers=0, n_heads=0, n_tokens=0)
    fit(Every(one="b", in_layer=999), two)


def test_a_question_is_checked_before_it_is_computed(tiny, monkeypatch):
    model = tiny("llama")
    asked = [
        logit_lens.Params(prompt="a", layers="0:99"),
        causal_tracing.Params(prompt="a cat is", subject="cat", window=99),
        causal_tracing.EditParams(prompt="a cat is", subject="cat", layer=99),
        induction_heads.CircuitsParams(layer=0, head=99),
        induction_heads.AttentionParams(layer=99, head=0),
    ]
    for params in asked:
        paper, question = question_of(params)
        blank = dataclasses.replace(question, compute=lambda *_: pytest.fail("it was computed"))
        monkeypatch.setattr("interp_core.question.question_of", lambda _, each=blank: (None, each))
        with pytest.raises(ParameterError, match="99"):
            paper.run(model, params)
        monkeypatch.undo()


def test_evidence_that_does_not_fit_a_model_is_left_out(tiny):
    """The sequences of ``heads`` are longer than this model's context."""
    params = induction_heads.AttentionParams(text="a cat and a cat", layer=0, head=0)
    found = induction_heads.run(tiny("llama"), params)
    assert found.tables() and "heads" not in found.evidence


# What decides what is computed


@by_name
def test_parameters_that_only_redraw_are_not_computed_by(question):
    params, fields = question.params(), fields_of(question.params)
    decide = computed_by(params)
    assert set(decide) == {name for name, field in fields.items() if field.shown.identity}
    assert "model" not in decide


def test_kept_by_sets_back_what_only_redraws_and_leaves_the_model():
    given = induction_heads.Params(model="gpt2", threshold=0.9, seeds=3)
    assert kept_by(given) == induction_heads.Params(model="gpt2", seeds=3)
    given = logit_lens.Params(prompt="a", skip_first=5, top_k=3)
    assert kept_by(given) == logit_lens.Params(prompt="a", top_k=3)
    assert kept_by(kept_by(given)) == kept_by(given)
    assert kept_by(induction_heads.TrainingParams(resume=False)) == induction_heads.TrainingParams()


def test_read_by_reads_the_same_numbers_anew():
    kept = stored(induction_heads.Params())
    assert read_by(kept, kept.params) is kept
    strict = induction_heads.Params(threshold=0.9)
    read = read_by(kept, strict)
    assert read.params == strict and read.provenance == kept.provenance
    assert read.summary != kept.summary and kept.params == induction_heads.Params()
    found = stored(strict)
    assert (found.params, found.summary) == (strict, read.summary)


# How a result is shown


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("view_colour=red", "view_colour: 'red' is not accepted; "),
        ("view_color=kl", "view_color: no such parameter; accepted: view_figure, view_colour"),
        ("view_=x", "view_: no such parameter; accepted: view_figure"),
        ("view_layer=-2", "view_layer: '-2' is not accepted; "),
        ("view_layer=x", "view_layer: 'x' is not accepted; "),
        ("view_figure=grid", "view_figure: 'grid' is not accepted; accepted: top, trajectories"),
        ("view_figure=" + "x" * 61, "view_figure: 'xxx"),
        ("view_%1b[2J=1", r"view_\x1b[2J: no such parameter"),
        ("colour=kl", "colour: no such parameter"),
        ("view_top_k=3", "view_top_k: no such parameter"),
    ],
)
def test_unknown_views_are_refused(query, line):
    with pytest.raises(ParameterError) as raised:
        links.parse(f"/logit-lens?{query}")
    message = str(raised.value)
    assert message.startswith(line) and message.isprintable() and len(message) < 400


def test_a_view_has_what_figures_read():
    for question in QUESTIONS:
        names = fields_of(question.view)
        for figure in question.figures:
            own = fields_of(question.params) if figure.opens else names
            if figure.opens:
                paper, _ = question_of(question.params())
                own = fields_of(paper[figure.opens].params)
            assert set(figure.reads) <= names.keys(), figure.name
            assert set(figure.picks) <= own.keys(), figure.name


def test_a_question_without_a_view_of_its_own_takes_a_figure_alone():
    address = "/logit-lens?question=prompts&view_figure="
    assert links.parse(address)[1] == View()
    with pytest.raises(
        ParameterError, match=r"^view_step: no such parameter; accepted: view_figure"
    ):
        links.parse("/logit-lens?question=prompts&view_step=3")


def test_the_first_field_of_what_is_asked_of_a_model_is_the_model():
    for question in QUESTIONS:
        names = list(fields_of(question.params))
        assert ("model" in names) == issubclass(question.params, OnModel)
