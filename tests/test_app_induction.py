"""Induction heads in the app, as a browser sees it."""

from __future__ import annotations

import re

import pytest
from browsing import address_has, click_cell, figure, open_, says
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

HEADS = "/induction-heads"


def test_the_grid_is_there_at_once_and_a_click_opens_a_head(page, app):
    open_(page, app + HEADS)
    says(page, "Prefix matching of every head")
    expect(
        page.get_by_text(re.compile(r"of 270 heads have a prefix-matching score above 0.5: L18H6"))
    ).to_be_visible()
    expect(page.get_by_text("holds").first).to_be_visible()
    click_cell(page, "0.91")
    address_has(page, "layer=18")
    address_has(page, "head=6")
    address_has(page, "question=attention")
    expect(page.get_by_text("L18H6: Prefix matching on this text")).to_be_visible()
    says(page, "What L18H6 looks at")
    marks = sorted(figure(page).locator("text").all_text_contents())
    again = page.context.new_page()
    open_(again, page.evaluate("location.href"))
    says(again, "What L18H6 looks at")
    assert sorted(figure(again).locator("text").all_text_contents()) == marks
    again.close()


def test_a_text_without_repeats_or_too_short_is_told(page, app):
    page.goto(app + f"{HEADS}?question=attention&text=a")
    expect(page.get_by_text("too few to hold a repeat", exact=False)).to_be_visible()
    open_(
        page, app + f"{HEADS}?question=attention&text=Seven+grey+cats+slept+outside&layer=17&head=3"
    )
    expect(page.get_by_text(re.compile("L17H3: No token stands twice"))).to_be_visible()


def test_an_ablation_has_a_link(page, app):
    open_(page, app + f"{HEADS}?question=ablation")
    says(page, "Loss by position")
    expect(
        page.get_by_text(re.compile(r"the last repetition.s loss rises by \d")).first
    ).to_be_visible()
    page.goto(app + f"{HEADS}?question=ablation&ablate=L16H0&seeds=2&controls=1")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile("Without L16H0 the last"))).to_be_visible()
    address_has(page, "ablate=L16H0")


def test_the_training_slider_moves_the_panels(page, app):
    open_(page, app + f"{HEADS}?question=training")
    expect(page.get_by_text(re.compile("phase change")).first).to_be_visible()
    page.locator('input[aria-label="Training step"]').focus()
    page.keyboard.press("Home")
    address_has(page, "view_step=0")
    expect(page.get_by_text("after 0 steps", exact=False).first).to_be_visible()
    expect(page.get_by_text("Rings: step 0.", exact=False).first).to_be_visible()


def test_training_streams_its_curves_and_can_be_cancelled(page, app):
    page.goto(app + f"{HEADS}?question=training&toys=2&steps=4000&seed=7")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile(r"training .* \d+ of \d+: \d+ s"))).to_be_visible()
    expect(figure(page)).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Partial result: cancelled at step")).to_be_visible(timeout=20_000)
    expect(figure(page)).to_be_visible()


def test_a_link_out_of_bounds_is_named(page, app):
    page.goto(app + f"{HEADS}?seeds=0")
    expect(page.get_by_text("seeds", exact=False).first).to_be_visible()
    expect(page.get_by_text("This link is not accepted", exact=False)).to_be_visible()
