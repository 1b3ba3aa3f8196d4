"""Sparse autoencoders in the app, as a browser sees it."""

from __future__ import annotations

import re

import pytest
from browsing import address_has, figure, open_, says
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


SAE = "/sparse-autoencoder"


def test_a_text_s_features_and_a_link_to_one(page, app):
    open_(page, app + SAE)
    says(page, "Strongest features of the text: resid_post of layer 15")
    expect(page.get_by_text(re.compile("features are active at a token")).first).to_be_visible()
    expect(page.get_by_text(re.compile("What the features of"))).to_be_visible()
    page.get_by_role("radio", name="Ranked").or_(
        page.get_by_role("button", name="Ranked")
    ).first.click()
    address_has(page, "view_figure=ranked")
    again = page.context.new_page()
    open_(again, app + f"{SAE}?question=feature")
    expect(again.get_by_text(re.compile(r"Feature \d+ is active at")).first).to_be_visible()
    says(again, "Strongest (")
    again.close()


def test_another_text_is_read_by_the_one_layer_model(page, app):
    open_(page, app + f"{SAE}?model=one-layer&text=def+f(x):&top=6")
    says(page, "Strongest features of the text: mlp_post of layer 0")
    page.locator("svg.marks path[aria-roledescription='rect mark']").first.click()
    address_has(page, "question=feature")


def test_features_are_searched(page, app):
    page.goto(app + f"{SAE}?question=features&model=one-layer&windows=216&view_search=digit")
    expect(page.get_by_text(re.compile("One rule on the token")).first).to_be_visible()
    expect(page.locator("[data-testid=stDataFrame], table").first).to_be_visible()


def test_a_short_training_streams_and_its_dictionary_is_used(page, app):
    small = "model=one-layer&site=mlp_post&width=1&tokens=20000&activations=4000&k=8"
    page.goto(app + f"{SAE}?question=train&{small}")
    page.get_by_role("button", name="Run", exact=True).click()
    said = page.get_by_text(re.compile(r"The first is saved as")).first
    expect(said).to_be_visible(timeout=120_000)
    name = re.search(r"[0-9a-f]{16}", said.text_content())[0]
    open_(page, app + f"{SAE}?model=one-layer&sae={name}&text=import+os")
    expect(page.get_by_text(re.compile("8 features are active at a token")).first).to_be_visible()


def test_a_training_is_cancelled(page, app):
    page.goto(
        app + f"{SAE}?question=train&model=one-layer&site=mlp_post&width=4&activations=4000&k=8"
    )
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile(r"training .*tokens a second")).first).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Partial result: cancelled at step")).to_be_visible(timeout=20_000)
    expect(figure(page)).to_be_visible()


def test_a_feature_steers(page, app):
    page.goto(
        app
        + f"{SAE}?question=steer&model=one-layer&windows=216&feature=2149&prompt=The+&max_tokens=10"
    )
    says(page, "unsteered: perplexity")
    said = page.get_by_text(re.compile("times its peak .* at layer 0")).first
    expect(said).to_be_visible(timeout=120_000)


def test_a_dictionary_that_is_not_here_is_told(page, app):
    page.goto(app + f"{SAE}?sae=0123456789abcdef")
    expect(page.get_by_text("is not on this machine", exact=False).first).to_be_visible()


def test_a_dictionary_is_fetched_from_the_hub_and_read(page, app):
    open_(page, app + f"{SAE}?model=one-layer&text=import+os")
    page.get_by_role("button", name="Upload or fetch another").first.click()
    place = page.get_by_role("textbox", name="Or a folder of the Hugging Face hub")
    place.fill("owner/saes/none")
    page.get_by_role("button", name="Fetch", exact=True).click()
    expect(page.get_by_text("holds none of").first).to_be_visible()
    place.fill("owner/saes/small")
    page.get_by_role("button", name="Fetch", exact=True).click()
    page.wait_for_function("/sae=[0-9a-f]{16}/.test(location.href)")
    says(page, "Strongest features of the text: mlp_post of layer 0")


def test_a_dictionary_is_compared_with_itself(page, app):
    page.goto(app + f"{SAE}?question=compare&model=one-layer&windows=8")
    page.get_by_role("button", name="Run", exact=True).click()
    said = page.get_by_text(re.compile("beside itself, each latent left out")).first
    expect(said).to_be_visible(timeout=120_000)
    says(page, "Closest feature in the same dictionary")
