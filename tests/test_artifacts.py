"""Files of lenses: what is offered, what is kept, what ships, and what is refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from test_tuned_lens import _own_cache, a_lens, kept, refusal  # noqa: F401

from interp_core import torch_files
from interp_core.papers.tuned_lens import translators
from interp_core.papers.tuned_lens.translators import Card, Translators

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("ship", ROOT / "scripts" / "ship.py")
ship = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ship)


@pytest.fixture
def info(tiny):
    return tiny("llama").info


def changed(lens: Translators, **card) -> Translators:
    return dataclasses.replace(lens, card=dataclasses.replace(lens.card, **card))


# What is offered


def test_lenses_are_offered_by_their_headers_alone(info, monkeypatch):
    lens = a_lens(info, [0, 1])
    trained = changed(lens, steps=5, tokens=1234, corpus="prose")
    biases = changed(a_lens(info, [0], weight=False), steps=5, tokens=1234, corpus="prose")
    undigested = changed(lens, model_sha256="")
    offered = {kept(each): each.about for each in (lens, trained, biases, undigested)}
    assert offered[kept(biases)] == "biases alone, 5 steps on 1,234 tokens of prose"
    kept(changed(lens, model_sha256="0" * 64))
    kept(changed(undigested, n_layers=info.n_layers + 1))
    monkeypatch.setattr(Translators, "from_bytes", lambda _: pytest.fail("read whole"))
    monkeypatch.setattr(translators, "load", lambda _: pytest.fail("read whole"))
    assert translators.labelled(info.sha256, info.n_layers) == offered
    assert translators.labelled("", 0) == {}


# What is kept


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_a_lens_of_numbers_beyond_float16_stays_in_float32(info, part):
    lens = a_lens(info, [0, 1])
    value = getattr(lens, part).copy()
    value.flat[3] = -70_000
    large = dataclasses.replace(lens, **{part: value})
    rounded = large.rounded()
    assert rounded.weight.dtype == rounded.bias.dtype == np.float32
    back = Translators.from_bytes(rounded.to_bytes())
    assert np.array_equal(back.weight, large.weight) and np.array_equal(back.bias, large.bias)
    value.flat[3] = 65_504
    rounded = dataclasses.replace(lens, **{part: value}).rounded()
    assert rounded.weight.dtype == rounded.bias.dtype == np.float16
    assert Translators.from_bytes(rounded.to_bytes()).to_bytes() == rounded.to_bytes()


# What is refused


def a_file(card: object, **tensors) -> bytes:
    return save(
        {f"translators.{name}": np.zeros(shape, np.float32) for name, shape in tensors.items()},
        {"card": card if isinstance(card, str) else json.dumps(card)},
    )


@pytest.mark.parametrize("name", ["0001.bias", "01.bias", "١.bias", "-0.bias", "00.bias"])
def test_a_layer_has_one_name(name):
    card = {"model": "m", "model_sha256": "", "d_model": 2, "n_layers": 5}
    content = a_file(card, **{"1.bias": 2, "0.bias": 2, name: 2})
    with pytest.raises(ValueError, match="is no translator of a model of 5 layers"):
        Translators.from_bytes(content)


@pytest.mark.parametrize("field", ["made", "corpus", "model"])
def test_a_huge_card_is_refused(info, field):
    lens = changed(a_lens(info, [0]), **{field: "x" * 20_000})
    with pytest.raises(ValueError, match=r"its card has 20,\d{3} characters; accepted: 10,000"):
        Translators.from_bytes(lens.to_bytes())


def test_numbers_of_a_card_take_no_memory(info, tmp_path):
    lens = changed(a_lens(info, [0]), n_layers=10**9)
    assert Translators.from_bytes(lens.to_bytes()).layers == (0,)
    assert "1000000000 layers" in refusal(translators.load_lens, kept(lens), info)
    for card in ({"n_layers": -1}, {"d_model": 10**9}, {"d_model": 0}):
        with pytest.raises(ValueError, match=r"is no translator|has the shape"):
            Translators.from_bytes(changed(lens, **card).to_bytes())


def test_what_is_published_is_bounded_by_what_is_there(tmp_path, monkeypatch):
    config = {
        "lens_type": "linear_tuned_lens",
        "bias": True,
        "d_model": 2,
        "num_hidden_layers": 1_000_000,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    numbers = {"0.weight": np.zeros((2, 2), np.float32), "0.bias": np.zeros(2, np.float32)}
    monkeypatch.setattr(torch_files, "read", lambda _: numbers)
    assert "does not hold weight and bias of 1000000" in refusal(translators.read, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    assert translators.published(tmp_path).layers == (-1,)
    numbers["0.bias"] = np.array([0, np.nan], np.float32)
    assert "numbers that are not finite" in refusal(translators.read, tmp_path)


# What ships


def test_a_lens_ships_as_what_it_is(info):
    card = Card("SmolLM2-135M_x.1", "0" * 64, info.d_model, info.n_layers)
    for weight, kind in ((True, "shipped"), (False, "shipped-bias")):
        lens = dataclasses.replace(a_lens(info, [0], weight=weight), card=card)
        file = f"{card.model}{'' if weight else '-bias'}.safetensors"
        assert ship.place(lens) == (kind, file)


@pytest.mark.parametrize("model", ["../evil", "/etc/passwd", "a b", "", "é", "a\n"])
def test_a_lens_of_a_model_whose_name_is_a_path_does_not_ship(info, model):
    with pytest.raises(ValueError, match="names no file"):
        ship.place(changed(a_lens(info, [0]), model=model))
    with pytest.raises(ValueError, match="which weights it is of"):
        ship.place(changed(a_lens(info, [0]), model="a", model_sha256=""))
