"""The tuned lens in the app, as a browser sees it."""

from __future__ import annotations

import re

import pytest
from browsing import address_has, figure, open_, says
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TUNED = "/tuned-lens"


def test_both_lenses_are_there_at_once(page, app):
    open_(page, app + TUNED)
    says(page, "Tuned lens: top next token")
    expect(page.get_by_text(re.compile("The tuned lens has it on top from layer"))).to_be_visible()
    expect(page.get_by_text("closer to the output than the logit lens").first).to_be_visible()
    expect(page.get_by_text("Logit lens: top next token")).to_be_visible()
    page.get_by_role("radio", name="Difference").or_(
        page.get_by_role("button", name="Difference")
    ).first.click()
    address_has(page, "view_figure=difference")
    expect(page.get_by_text("KL to the output: tuned lens less logit lens")).to_be_visible()
    again = page.context.new_page()
    open_(again, page.evaluate("location.href"))
    expect(again.get_by_text("KL to the output: tuned lens less logit lens")).to_be_visible()
    again.close()


def test_the_lens_is_switched(page, app):
    open_(page, app + f"{TUNED}?prompt=The+capital+of+Japan+is&layers=20:30:3")
    says(page, "·Tokyo")
    marks = figure(page).text_content()
    page.get_by_label("Lens", exact=True).click()
    page.get_by_text("biases alone, that ships").click()
    address_has(page, "lens=shipped-bias")
    page.wait_for_function(
        "old => document.querySelector('svg.marks')?.textContent != old", arg=marks
    )
    says(page, "·Tokyo")


def test_a_few_steps_of_training_stream_and_make_a_lens(page, app):
    small = "corpus=code&steps=4&layers=27:29&batch=1&context=32&vocabulary=256"
    page.goto(app + f"{TUNED}?question=train&{small}")
    page.get_by_role("button", name="Run", exact=True).click()
    said = page.get_by_text(re.compile(r"After 4 steps of 30 positions, 120 in all"))
    expect(said).to_be_visible(timeout=120_000)
    said = page.get_by_text(re.compile("The lens is saved as")).text_content()
    name = re.search(r"saved as ([0-9a-f]{16})", said)[1]
    open_(page, app + f"{TUNED}?lens={name}&layers=25:30:2")
    expect(page.get_by_text(re.compile("2 layers, 4 steps on 120 tokens of code"))).to_be_visible()


def test_training_is_cancelled(page, app):
    page.goto(
        app + f"{TUNED}?question=train&corpus=code&steps=4000&layers=0:30:10&batch=1&context=32"
    )
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile(r"training .*tokens a second.* of 4,?000"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Partial result: cancelled at step")).to_be_visible(timeout=20_000)
    expect(figure(page)).to_be_visible()


def test_a_lens_that_is_not_here_is_told(page, app):
    page.goto(app + f"{TUNED}?lens=0123456789abcdef")
    expect(page.get_by_text("is not on this machine", exact=False).first).to_be_visible()
