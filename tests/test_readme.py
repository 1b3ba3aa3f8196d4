"""What the README says was found is what the shipped results hold."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from interp_core.papers import causal_tracing

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("readme", ROOT / "scripts" / "readme.py")
readme = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(readme)
TEXT = (ROOT / "README.md").read_text()


@pytest.fixture(autouse=True)
def only_what_ships(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path))


def test_the_readme_holds_the_measured_numbers():
    assert readme.rendered(TEXT) == TEXT


def test_a_number_that_was_edited_by_hand_is_put_right():
    assert "0.48 [0.41, 0.54]" in TEXT
    assert readme.rendered(TEXT.replace("0.48 [0.41, 0.54]", "0.49 [0.41, 0.54]")) == TEXT


def test_a_verdict_that_changed_asks_for_another_sentence():
    found = readme.Found(causal_tracing.ScoresParams())
    assert found("efficacy").holds
    with pytest.raises(ValueError, match="efficacy: the text says"):
        found("efficacy", holds=False)


def test_what_does_not_ship_is_said():
    with pytest.raises(ValueError, match="does not ship"):
        readme.Found(replace(causal_tracing.ScoresParams(), seed=9))
