"""Causal tracing in the app, as a browser sees it."""

from __future__ import annotations

import re

import pytest
from browsing import address_has, figure, open_, says
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TRACE = "/causal-tracing"
SMALL = f"{TRACE}?prompt=The+capital+of+Japan+is&subject=Japan&samples=1&kinds=mlp_out"
SLOW = f"{TRACE}?prompt=The+famous+old+city+of+Kyoto+is+a+city+in&subject=Kyoto&samples=20"


def test_the_default_trace_is_there_at_once_with_findings(page, app):
    open_(page, app + TRACE)
    says(page, "Africa*")
    expect(page.get_by_text("0.186 (GPT-2 XL)")).to_be_visible()
    expect(page.get_by_text("Where restoring brings back", exact=False).first).to_be_visible()


def test_a_trace_has_a_link_that_opens_the_same_trace(page, browser, app):
    open_(page, app + SMALL)
    says(page, "Japan*")
    page.get_by_role("slider", name="Window").focus()
    page.keyboard.press("ArrowRight")
    address_has(page, "window=11")
    expect(page.get_by_text(re.compile("11 layers")).first).to_be_visible()
    says(page, "Japan*")
    marks = figure(page).text_content()
    again = page.context.new_page()
    open_(again, page.evaluate("location.href"))
    says(again, "Japan*")
    expect(again.get_by_role("textbox", name="Subject")).to_have_value("Japan")
    assert figure(again).text_content() == marks
    again.close()


def test_a_trace_can_be_cancelled(page, app):
    page.goto(app + SLOW)
    expect(page.get_by_text("It takes about")).to_be_visible()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile(r"tracing \d+ of \d+: \d+ s"))).to_be_visible()
    says(page, "Kyoto*")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Partial result: cancelled at step")).to_be_visible(timeout=20_000)
    says(page, "Kyoto*")


def test_a_subject_that_is_not_there_is_named(page, app):
    page.goto(app + f"{TRACE}?subject=Mars")
    expect(page.get_by_text("is not in the prompt", exact=False)).to_be_visible()


def test_an_edit_is_seen_by_who_made_it_alone(page, browser, app):
    open_(
        page,
        app
        + f"{TRACE}?prompt=Our+tickets+for+the+Eiffel+Tower+were+the+best+part+of+our+weekend+in"
        "&subject=the+Eiffel+Tower&question=edit&new_object=Rome",
    )
    expect(page.get_by_text("What the model writes")).to_be_visible()
    expect(page.get_by_text("The loaded model stays as it is")).to_be_visible()
    other = browser.new_context().new_page()
    open_(
        other,
        app
        + "/logit-lens?prompt=Our+tickets+for+the+Eiffel+Tower+were+the+best+part+of+our+weekend+in",
    )
    says(other, "·Paris")
    other.context.close()
    page.get_by_text("Trace", exact=True).click()
    says(page, "Where restoring brings back")
    assert "question=edit" not in page.evaluate("location.href")
