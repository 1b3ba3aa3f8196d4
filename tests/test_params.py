"""Parameters: whatever is accepted survives a link, and whatever is not is refused in one line."""

from __future__ import annotations

import dataclasses
import itertools
import random
from urllib.parse import parse_qs

import pytest

from interp_core import links
from interp_core.fields import fields_of
from interp_core.papers.logit_lens import PRESETS, Params
from interp_core.papers.logit_lens.params import LensView
from interp_core.params import MAX_CHARACTERS, ParameterError, resolve, show_span
from interp_core.query import from_texts, link, to_query
from interp_core.question import question_of
from interp_core.registry import PAPERS

TEXTS = [
    "The Eiffel Tower is located in the city of",
    " leading and trailing ",
    "a+b=c",
    "100%",
    "%41",
    "a&b=c;d#e?f/g:h",
    "שלום עולם",
    "مرحبا",
    "👩‍👩‍👧 🇫🇷",
    "é",
    "\x00\x01",
    "line\nline\r\n\ttab",
    "<script>alert('x')</script>",
    '"\\',
    "\u202e\ufeff",
    "true",
    "0:5",
    "None",
    "?",
    "://",
    "/",
    "http://example.org/?prompt=x&top_k=3",
    "x" * MAX_CHARACTERS,
    "漢字" * 50,
]
SPANS = [(0, None, 1), (0, 1, 1), (3, None, 2), (2, 30, 4), (7, 8, 1), (0, 1000, 999)]
MODELS = ["gpt2", "SmolLM2-135M-Instruct", "pythia-70m"]
STREAMS = ["resid_post", "resid_mid", "attn_out", "mlp_out"]


def random_params(seed: int) -> Params:
    pick = random.Random(seed)
    return Params(
        prompt=pick.choice(TEXTS),
        model=pick.choice(MODELS),
        layers=pick.choice(SPANS),
        positions=pick.choice(SPANS),
        top_k=pick.randint(1, 100),
        stream=pick.choice(STREAMS),
        chat=pick.random() < 0.5,
        skip_first=pick.randint(0, 64),
        bos=pick.choice([True, False, "auto"]),
        watch=tuple(text[:200] for text in pick.sample(TEXTS, pick.randint(0, 8))),
    )


def params_of(address: str) -> Params:
    """Return the parameters that a link to the lens describes."""
    params, _ = links.parse(address)
    assert isinstance(params, Params)
    return params


@pytest.mark.parametrize("seed", range(200))
def test_any_parameters_survive_a_link(seed):
    params = random_params(seed)
    for prefix in ("", "?", "/logit-lens?", "http://localhost:8501/logit-lens?"):
        assert params_of(prefix + to_query(params)) == params
    assert params_of(link(params)) == params
    assert to_query(params_of(to_query(params))) == to_query(params)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives_a_link(text):
    params = Params(prompt=text, watch=(text[:200], " b", text[:200]))
    assert params_of(to_query(params)) == params
    assert to_query(params).isascii() and "\n" not in to_query(params)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_a_link(name):
    assert params_of(to_query(PRESETS[name])) == PRESETS[name]


def test_only_what_differs_from_the_defaults_is_in_a_link():
    assert to_query(Params()) == ""
    assert to_query(Params(top_k=3)) == "top_k=3"
    assert to_query(Params(layers="2:8:3", chat=True)) == "layers=2%3A8%3A3&chat=true"
    assert to_query(Params(watch=(" a", " b"))) == "watch=+a&watch=+b"
    assert links.parse("watch=")[0].watch == ()


@pytest.mark.parametrize(
    ("address", "prompt"),
    [
        ("prompt=What+is+this%3F", "What is this?"),
        ("http://localhost:8501/logit-lens?prompt=What+is+this?", "What is this?"),
        ("/logit-lens?prompt=What+is+this?&top_k=3", "What is this?"),
        ("/logit-lens?top_k=3&prompt=a?b?c", "a?b?c"),
        ("prompt=see+http://example.org/", "see http://example.org/"),
    ],
)
def test_links_written_by_hand(address, prompt):
    """Browsers and people leave ``?``, ``:`` and ``/`` of a query as they are (RFC 3986, 3.4)."""
    assert params_of(address).prompt == prompt


@pytest.mark.parametrize("model", ["a/b c+d", "/a folder/x&y=z", "~/\u05e9"])
def test_any_model_survives_as_text(model):
    """A link may name listed models only; flags name any."""
    query = to_query(Params(model=model))
    assert from_texts(Params, parse_qs(query)).model == model


def test_view_keys_do_not_touch_what_is_computed():
    address = "view_colour=kl&top_k=4&view_layer=&view_figure=layers"
    assert links.parse(address) == (Params(top_k=4), LensView(colour="kl", figure="layers"))
    assert params_of(address) == Params(top_k=4)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("2:30:4", (2, 30, 4)),
        ("2:", (2, None, 1)),
        (":5", (0, 5, 1)),
        ("::2", (0, None, 2)),
        ("7", (7, 8, 1)),
        ("all", (0, None, 1)),
        ("", (0, None, 1)),
        (None, (0, None, 1)),
        (3, (3, 4, 1)),
        (slice(None, 5), (0, 5, 1)),
        (slice(1, None, 2), (1, None, 2)),
        ([1, 2], (1, 2, 1)),
        ((1, None, 3), (1, None, 3)),
        ("1,9,2", (1, 9, 2)),
    ],
)
def test_spans_are_read(text, span):
    assert Params(layers=text).layers == span
    assert Params(layers=show_span(span)).layers == span


BAD = {
    "surrogate": ({"prompt": "ab\ud800"}, "prompt", r"lone surrogate at character 2.*valid"),
    "surrogate watched": (
        {"watch": ("\udfff",)},
        "watch",
        "udfff' is not accepted; .*valid string",
    ),
    "empty": ({"prompt": ""}, "prompt", "'' is not accepted; accepted: text"),
    "white": ({"prompt": " \n\t\u3000"}, "prompt", "not empty or only white space"),
    "long": ({"prompt": "x" * 20_001}, "prompt", "20001 characters; accepted: up to 20000"),
    "not text": ({"prompt": 7}, "prompt", "7 is not accepted.*string"),
    "k 0": ({"top_k": 0}, "top_k", "0 is not accepted.*greater than or equal to 1"),
    "k 101": ({"top_k": "101"}, "top_k", "'101' is not accepted.*less than or equal to 100"),
    "k 1.5": ({"top_k": "1.5"}, "top_k", "'1.5' is not accepted.*integer"),
    "k nan": ({"top_k": float("nan")}, "top_k", "nan is not accepted"),
    "skip": ({"skip_first": -1}, "skip_first", "-1 is not accepted.*greater than or equal to 0"),
    "skip 65": ({"skip_first": 65}, "skip_first", "65.*less than or equal to 64"),
    "stream": ({"stream": "q"}, "stream", "'q' is not accepted.*'resid_post'.*'mlp_out'"),
    "chat": ({"chat": "perhaps"}, "chat", "'perhaps' is not accepted.*boolean"),
    "bos": ({"bos": "perhaps"}, "bos", "'perhaps' is not accepted"),
    "model": ({"model": ""}, "model", "'' is not accepted.*at least 1 character"),
    "model long": ({"model": "m" * 501}, "model", r"\.\.\. is not accepted.*at most 500"),
    "watch blank": ({"watch": ("",)}, "watch", "'' is not accepted.*at least 1 character"),
    "watch nine": ({"watch": tuple("abcdefghi")}, "watch", "at most 8 items"),
    "reversed": ({"layers": "5:2"}, "layers", r"\(5, 2, 1\)|5:2.*accepted: start:stop:stride"),
    "empty span": ({"layers": "2:2"}, "layers", "accepted: start:stop:stride"),
    "letters": ({"layers": "a:b"}, "layers", "'a' is not accepted.*integer"),
    "stride 0": ({"positions": "1:2:0"}, "positions", "accepted: start:stop:stride"),
    "negative": ({"positions": "-3"}, "positions", "accepted: start:stop:stride"),
    "negative start": ({"positions": "-3:-1"}, "positions", "accepted: start:stop:stride"),
    "four": ({"layers": "1:2:3:4"}, "layers", "'1:2:3:4' is not accepted"),
    "true": ({"layers": True}, "layers", "True is not accepted"),
    "stride 0 slice": ({"layers": (1, 2, 0)}, "layers", "accepted: start:stop:stride"),
    "huge": ({"layers": "9" * 5000}, "layers", r"\.\.\. is not accepted"),
    "unknown": ({"colour": "red"}, "colour", "'red' is not accepted"),
}


def one_line(error: Exception, name: str) -> str:
    message = str(error)
    assert message.startswith(f"{name}: "), message
    assert len(message.splitlines()) == 1 and message.isprintable()
    assert len(message) < 400, message
    return message


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_accepted_is_named(case):
    given, name, message = BAD[case]
    with pytest.raises(ParameterError, match=message) as raised:
        Params(**given)
    one_line(raised.value, name)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("top_k=0", "top_k"),
        ("top_k=5&top_k=101", "top_k"),
        ("layers=5:2", "layers"),
        ("prompt=", "prompt"),
        ("prompt=%20", "prompt"),
        ("prompt=%ff", "link"),
        ("chat=", "chat"),
        ("prompt=%ED%A0%80", "link"),
        ("colour=red", "colour"),
        ("Prompt=a", "Prompt"),
        ("&".join(f"watch={i}" for i in range(101)), "link"),
        ("survey=1", "survey"),
        ("__class__=x", "__class__"),
        ("top_k=%0A", "top_k"),
        ("x%1b]0;owned%07=1", r"x\x1b]0;owned\x07"),
        ("%1b[2J" + "y" * 20_000 + "=1", r"\x1b[2J" + "y" * 50 + "..."),
        ("\u202edrowssap=1", r"\u202edrowssap"),
        ("top_k=%1b[2J" + "9" * 20_000, "top_k"),
        ("model=" + "m" * 20_000, "model"),
        ("layers=" + "9" * 4000 + ":", "layers"),
        ("layers=0::1000000001", "layers"),
    ],
)
def test_bad_links_are_refused(query, name):
    with pytest.raises(ParameterError) as raised:
        params_of(query)
    one_line(raised.value, name)


def test_unknown_keys_list_what_is_accepted():
    with pytest.raises(
        ParameterError, match="model, prompt, layers, positions, stream, watch, top_k"
    ):
        params_of("colour=red")
    with pytest.raises(ParameterError, match="no such parameter"):
        from_texts(Params, {"<script>": ["x"]})


@pytest.mark.parametrize(
    "address",
    [
        "http://[",
        "http://[" + "\x1b" * 5000,
        "/\x1b]0;owned\x07" + "x" * 20_000,
        "model=%1b]0;owned%07" + "x" * 400,
        "/nonsense?top_k=3",
        "http://localhost:8501/",
        "/../etc/passwd",
        "/logit-lens?model=/etc/passwd",
        "model=../here",
        "model=org/unlisted",
        "model=~",
        "model=.",
    ],
)
def test_links_name_papers_and_listed_models_only(address):
    with pytest.raises(ParameterError) as raised:
        links.parse(address)
    assert "accepted" in str(raised.value)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 700


@pytest.mark.parametrize(
    "address",
    [
        "prompt=and",
        "?prompt=and",
        "/logit-lens?prompt=and",
        "http://x/logit-lens?prompt=and",
    ],
)
@pytest.mark.parametrize("rest", ["", "/or"])
def test_a_link_leads_to_its_paper(address, rest):
    params = params_of(address + rest)
    assert params == Params(prompt="and" + rest)
    assert question_of(params)[0].name == "logit-lens"


@pytest.mark.parametrize("name", ["GPT2", "Gpt2", "gpt2"])
def test_a_model_goes_by_its_listed_name_whatever_its_case(name):
    assert params_of(f"model={name}") == Params(model="gpt2")
    assert links.listed(Params(model="/a/Folder")) == Params(model="/a/Folder")


def test_parameters_are_values():
    params = Params(watch=[" a"], layers="1:3")
    assert params == Params(watch=(" a",), layers=(1, 3, 1)) and params != Params()
    assert hash(params) == hash(Params(watch=(" a",), layers=slice(1, 3)))
    for field in dataclasses.fields(Params):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(params, field.name, "x")
    with pytest.raises(ParameterError):
        dataclasses.replace(params, top_k=0)


def test_every_field_of_every_question_is_described():
    for paper in PAPERS.values():
        for question in paper.questions:
            described = fields_of(question.params)
            assert list(described) == [field.name for field in dataclasses.fields(question.params)]
            for field in described.values():
                assert len(field.help) > 5 and field.label, field.name


def test_resolve_is_range():
    for size, start, stop, stride in itertools.product(
        (1, 7, 30), (0, 2), (None, 1, 5, 30), (1, 2, 40)
    ):
        end = size if stop is None else stop
        if start >= end:
            continue
        span = (start, stop, stride)
        if end > size:
            with pytest.raises(ParameterError, match=rf"^layers: .*this has {size}, so accepted"):
                resolve(span, size, "layers")
            continue
        assert resolve(span, size, "layers") == list(range(start, end, stride))
        kept = resolve(span, size, "layers", keep_last=True)
        assert kept[-1] == end - 1 and min(kept) >= start
        assert kept == sorted(kept) and {b - a for a, b in itertools.pairwise(kept)} <= {stride}
        assert len(kept) == len(range(start, end, stride))


def test_a_start_past_the_end_is_refused():
    with pytest.raises(ParameterError, match=r"positions: 7:.*this has 7"):
        resolve((7, None, 1), 7, "positions")
