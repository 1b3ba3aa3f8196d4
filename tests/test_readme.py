"""What the README says was found is what the shipped results hold."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from interp_core.replication import named

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("readme", ROOT / "scripts" / "readme.py")
readme = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(readme)
TEXT = (ROOT / "README.md").read_text()


@pytest.fixture(autouse=True)
def only_what_ships(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path))


def test_the_readme_holds_what_was_measured():
    assert readme.rendered(TEXT) == TEXT


def test_a_number_that_was_edited_by_hand_is_put_right():
    shown = named("causal-tracing/single_blocks").first.shown
    assert shown in TEXT
    assert readme.rendered(TEXT.replace(shown, "0.99 [0.98, 1]")) == TEXT


def test_what_was_found_is_short_and_of_every_paper():
    lines = readme.section().splitlines()
    assert len(lines) <= 27, "25 lines between two markers"
    assert list(readme.SHOWN) == list(readme.PAPERS)


def test_a_claim_that_does_not_ship_is_said(monkeypatch):
    monkeypatch.setitem(readme.SHOWN, "logit-lens", ("no_such_claim",))
    with pytest.raises(ValueError, match="logit-lens/no_such_claim does not ship"):
        readme.section()
