"""Back and forward in the browser: the address always wins."""

from __future__ import annotations

import re

import pytest
from browsing import figure, number, open_, says
from playwright.sync_api import Page, expect
from test_app import FIRST

pytestmark = pytest.mark.browser

EIFFEL = "The Eiffel Tower is located in the city of"
ABSENT = f"{FIRST}?model=gpt2"
"""A page on a model that is not on this machine: it computes nothing."""
PATTERN = "red blue green red blue green red blue"


def address(page: Page) -> str:
    return page.evaluate("location.pathname + location.search")


def at(page: Page, place: str) -> None:
    """Wait until the browser is at an address, and has stayed there for a moment."""
    page.wait_for_function("place => location.href.endsWith(place)", arg=place, timeout=60_000)
    page.wait_for_timeout(700)
    assert address(page).endswith(place)


def prompt(page: Page, text: str) -> None:
    expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value(text)


def go(page: Page, way: str) -> None:
    """Press back or forward; the app changes the page itself, so no load is waited for."""
    page.evaluate(f"history.{way}()")


def walk(page: Page, steps: list) -> None:
    """Do each step, then go back to the first state and forward to the last, looking at each."""
    seen = []
    for step, look in steps:
        step()
        look()
        page.wait_for_timeout(700)
        seen.append((address(page), look))
    assert len({place for place, _ in seen}) == len(seen), "a step left no trace in the address"
    for way, states in (("back", seen[-2::-1]), ("forward", seen[1:])):
        for place, look in states:
            go(page, way)
            at(page, place)
            look()
            expect(page.get_by_test_id("stException")).to_have_count(0)


def test_back_and_forward_over_five_steps_of_one_page(page, app):
    slider = page.get_by_role("slider", name="Every n-th of the layers")
    support = page.get_by_test_id("stButtonGroup")

    def every(n: int) -> None:
        expect(slider).to_have_value(str(n))

    def press() -> None:
        slider.focus()
        page.keyboard.press("ArrowRight")

    walk(
        page,
        [
            (lambda: open_(page, app + FIRST), lambda: (prompt(page, EIFFEL), every(1))),
            (
                lambda: page.get_by_text("A pattern", exact=True).click(),
                lambda: (prompt(page, PATTERN), says(page, "·green")),
            ),
            (
                lambda: support.get_by_text("Direct logit attribution").click(),
                lambda: expect(
                    page.get_by_text("Direct logit attribution to").first
                ).to_be_visible(),
            ),
            (press, lambda: (prompt(page, PATTERN), every(2))),
            (
                lambda: page.get_by_text("A fact", exact=True).click(),
                lambda: (prompt(page, EIFFEL), every(1)),
            ),
            (
                lambda: page.get_by_text("A sum", exact=True).click(),
                lambda: prompt(page, re.compile("Two plus three")),
            ),
        ],
    )


def test_back_and_forward_across_pages(page, app):
    sidebar = page.get_by_test_id("stSidebar")

    def visit(name: str) -> None:
        sidebar.get_by_role("link", name=name).click()

    def is_head() -> None:
        expect(page.get_by_text(re.compile("L18H6: Prefix matching on this text"))).to_be_visible()

    walk(
        page,
        [
            (lambda: open_(page, app + FIRST), lambda: prompt(page, EIFFEL)),
            (
                lambda: page.get_by_text("A pattern", exact=True).click(),
                lambda: prompt(page, PATTERN),
            ),
            (
                lambda: visit("Causal Tracing"),
                lambda: prompt(page, re.compile("^A plane that lands")),
            ),
            (
                lambda: page.get_by_text("A landmark", exact=True).click(),
                lambda: prompt(page, EIFFEL),
            ),
            (
                lambda: visit("Induction Heads"),
                lambda: expect(
                    page.get_by_text("heads have a prefix-matching score", exact=False)
                ).to_be_visible(),
            ),
            (lambda: page.get_by_text("A text", exact=True).click(), is_head),
        ],
    )
    visit("Logit Lens")  # nothing is lost: the page is as it was left
    prompt(page, PATTERN)


def test_back_forgets_a_cell_that_was_clicked(page, app):
    open_(page, app + FIRST)
    layer = number(page, "Layer")
    expect(layer).to_have_value("")
    figure(page).get_by_text("·strugg", exact=True).first.click(force=True)
    page.wait_for_function("location.href.includes('view_layer=')")
    expect(layer).not_to_have_value("")
    go(page, "back")
    at(page, FIRST)
    expect(layer).to_have_value("")


def test_back_to_a_prompt_that_was_typed(page, app):
    page.goto(app + ABSENT)
    prompt(page, EIFFEL)
    for text in ("gold", "silver"):
        page.get_by_role("textbox", name="Prompt").fill(text)
        page.keyboard.press("Control+Enter")
        at(page, f"model=gpt2&prompt={text}")
    go(page, "back")
    at(page, "model=gpt2&prompt=gold")
    prompt(page, "gold")
    go(page, "back")
    at(page, ABSENT)
    prompt(page, EIFFEL)


def test_keys_that_are_pressed_quickly_all_count(page, app):
    page.goto(app + ABSENT)
    page.get_by_text("More", exact=True).click()
    slider = page.get_by_role("slider", name="Top tokens")
    expect(slider).to_have_value("10")
    expect(page.get_by_role("button", name="Fetch gpt2")).to_be_visible()
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
    at(page, "top_k=18")
    expect(slider).to_have_value("18")
