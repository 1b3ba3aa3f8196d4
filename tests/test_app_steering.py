"""Steering in the app, as a browser sees it."""

from __future__ import annotations

import json
import re

import pytest
from browsing import address_has, open_, says
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

STEERING = "/steering"


def test_answers_stand_side_by_side_and_the_sweeps_that_ship_are_there(page, app):
    open_(page, app + STEERING)
    says(page, "unsteered: perplexity")
    says(page, "multiplier +2: perplexity")
    says(page, "multiplier -2: perplexity")
    page.get_by_role("radio", name="Every layer").or_(
        page.get_by_role("button", name="Every layer")
    ).first.click()
    address_has(page, "question=sweep")
    says(page, "p(matching answer) by steered layer")
    expect(
        page.get_by_text(re.compile("chosen on half of the held-out pairs")).first
    ).to_be_visible()
    again = page.context.new_page()
    open_(again, page.evaluate("location.href"))
    says(again, "p(matching answer) by steered layer")
    again.close()


def test_a_letter_vector_is_called_one(page, app):
    open_(page, app + f"{STEERING}?question=geometry&protocol=ab&view_figure=letters")
    expect(
        page.get_by_text(re.compile("Activations at the letter carry the letter")).first
    ).to_be_visible()


def test_a_link_answers_anew_and_streams(page, app):
    page.goto(app + f"{STEERING}?prompt=Tell+me+about+tea.&multiplier=3&max_tokens=20&layer=14")
    expect(page.get_by_text(re.compile("answering .* of 20")).first).to_be_visible()
    says(page, "multiplier +3: perplexity")
    said = page.get_by_text(re.compile(r"Steered at layer 14 by \+3")).first
    expect(said).to_be_visible(timeout=120_000)
    assert "multiplier=3" in page.evaluate("location.href")


def test_a_file_of_pairs_is_uploaded_and_steers(page, app, tmp_path):
    file = tmp_path / "mine.jsonl"
    with file.open("w") as opened:
        for i in range(4):
            record = {
                "question": f"What is number {i} like?",
                "answer_matching_behavior": f"Splendid, number {i} is a joy!",
                "answer_not_matching_behavior": f"Dull, number {i} bores me.",
            }
            opened.write(json.dumps(record) + "\n")
    open_(page, app + f"{STEERING}?question=save")
    page.get_by_text("More", exact=True).first.click()
    page.get_by_role("button", name=re.compile("Upload a file")).first.click()
    page.locator("input[type=file]").first.set_input_files(file)
    address_has(page, "pairs=")
    expect(
        page.get_by_text(re.compile("A vector of your pairs from 2 pairs")).first
    ).to_be_visible()
    address = page.evaluate("location.href")
    assert "mine" not in address
    assert re.search(r"pairs=[0-9a-f]{16}", address)


def test_a_sweep_is_cancelled(page, app):
    page.goto(app + f"{STEERING}?question=sweep&multipliers=-3&multipliers=3")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile("scoring pairs .* of 48")).first).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    stopped = page.get_by_text(re.compile("Cancelled|Partial result: cancelled")).first
    expect(stopped).to_be_visible(timeout=20_000)
