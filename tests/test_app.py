"""The app as a browser sees it."""

from __future__ import annotations

import re
from pathlib import Path

import altair as alt
import pytest
from browsing import address_has, click_cell, figure, number, open_, says, serve, type_prompt
from playwright.sync_api import Page, TimeoutError, expect

from interp_core import exports
from interp_core.plot import font
from interp_core.query import link
from interp_core.registry import PAPERS

FIRST = "/logit-lens"
JAPAN = f"{FIRST}?prompt=The+capital+of+Japan+is"
LONG = " ".join(f"{n} green bottles hang on the wall of house {n};" for n in range(60))

pytestmark = pytest.mark.browser


def test_first_visit_shows_shipped_results_without_a_model_or_another_host(browser, tmp_path):
    process, address = serve(tmp_path)
    try:
        page = browser.new_page()
        hosts = set()
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        open_(page, address + FIRST)
        says(page, "·Paris")
        expect(page.get_by_text("of 8,192 tokens")).to_be_visible()
        assert hosts == {address.split("/")[2]}
        type_prompt(page, "The capital of Japan is")
        expect(page.get_by_role("button", name="Fetch SmolLM2")).to_be_visible()
        page.close()
    finally:
        process.terminate()
        process.wait(30)


def test_home_opens_a_paper(page, app):
    page.goto(app)
    expect(page.get_by_role("link", name="Open")).to_have_count(6)
    page.get_by_role("link", name="Open").first.click()
    says(page, "·Paris")
    address_has(page, FIRST)


def test_controls_write_the_address_and_a_fresh_browser_reads_it(page, browser, app):
    open_(page, app + FIRST)
    type_prompt(page, "The capital of Japan is")
    says(page, "·Tokyo")
    address_has(page, "prompt=The+capital+of+Japan+is")
    page.get_by_role("slider", name="Every n-th of the layers").focus()
    page.keyboard.press("ArrowRight")
    address_has(page, "layers=0%3A%3A2")
    page.get_by_test_id("stButtonGroup").get_by_text("Direct logit attribution").click()
    address_has(page, "view_figure=attribution")
    drawn = re.compile("Direct logit attribution to")
    expect(page.get_by_text(drawn).first).to_be_visible()
    marks = figure(page).text_content()
    again = browser.new_context().new_page()
    open_(again, page.evaluate("location.href"))
    says(again, "·Tokyo")
    expect(again.get_by_text(drawn).first).to_be_visible()
    expect(again.get_by_role("textbox", name="Prompt")).to_have_value("The capital of Japan is")
    assert figure(again).text_content() == marks
    again.context.close()


def test_a_click_reads_the_cell_and_the_link_keeps_it(page, app):
    open_(page, app + JAPAN)
    says(page, "·Tokyo")
    click_cell(page, "·capital")
    address_has(page, "view_layer=")
    cell = [number(page, "Layer"), number(page, "Position")]
    for each in cell:
        expect(each).to_have_value(re.compile(r"-?\d+"))
    values = [each.input_value() for each in cell]
    link = page.evaluate("location.href")
    assert link.endswith(f"view_layer={values[0]}&view_position={values[1]}")
    again = open_(page, link)
    for name, value in zip(("Layer", "Position"), values, strict=True):
        expect(number(again, name)).to_have_value(value)


def test_two_browsers_each_get_their_own_answer(browser, app):
    prompts = {"The capital of Italy is": "·Rome", "The capital of Spain is": "·Madrid"}
    pages = [open_(browser.new_context().new_page(), app + FIRST) for _ in prompts]
    for page, prompt in zip(pages, prompts, strict=True):
        type_prompt(page, prompt)
    for page, answer in zip(pages, prompts.values(), strict=True):
        says(page, answer)
        page.context.close()


def test_a_long_run_shows_progress_and_can_be_cancelled(page, app):
    open_(page, app + FIRST)
    type_prompt(page, LONG)
    expect(page.get_by_text(re.compile(r"reading layers \d+ of \d+: \d+ s, about"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible(timeout=10_000)
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(LONG)
    type_prompt(page, "The capital of Japan is")
    says(page, "·Tokyo")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("   ", "Type a prompt."),
        (LONG * 3, "accepted: 1 to 1024"),
    ],
    ids=("empty", "long"),
)
def test_bad_prompts_get_one_message_and_stay(page, app, typed, message):
    open_(page, app + FIRST)
    type_prompt(page, typed)
    expect(page.get_by_test_id("stAlert")).to_contain_text(message)
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(typed)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("top_k=0", "top_k: '0' is not accepted"),
        ("model=/etc", "model: '/etc' is not accepted in a link"),
        ("nonsense=1", "nonsense: no such parameter"),
        ("layers=40:50", "layers: 40:50 is not accepted"),
    ],
)
def test_bad_links_get_one_message(page, app, query, message):
    page.goto(f"{app}{FIRST}?{query}")
    expect(page.get_by_test_id("stAlert").first).to_contain_text(message)
    assert page.get_by_test_id("stException").count() == 0


def test_a_link_to_a_model_that_is_not_here_fetches_nothing_by_itself(page, app):
    page.goto(f"{app}{FIRST}?model=gpt2")
    expect(page.get_by_role("button", name="Fetch gpt2 (0.5 GB)")).to_be_visible()


def test_markup_in_a_prompt_is_text(page, app):
    page.on("dialog", lambda dialog: pytest.fail("a prompt ran as a script"))
    open_(page, app + FIRST)
    type_prompt(page, "<script>alert(1)</script> <img src=x onerror=alert(1)> \u202eabc 🙂")
    expect(page.get_by_test_id("tokens")).to_contain_text("script")
    says(page, "script")
    assert page.locator("[data-testid=tokens] img, [data-testid=tokens] script").count() == 0


def downloaded(page: Page, name: str, folder: Path) -> Path:
    """Download a file. Streamlit may sweep it before it is fetched, as another session ends."""
    for patience in (20_000, 60_000):
        try:
            with page.expect_download(timeout=patience) as download:
                page.get_by_role("button", name=name).click()
            break
        except TimeoutError:
            if patience == 60_000:
                raise
    download.value.save_as(folder / name)
    return folder / name


def test_downloads_and_code(page, app, tmp_path):
    open_(page, app + JAPAN)
    says(page, "·Tokyo")
    page.get_by_text("Download data").click()
    assert " Tokyo" in downloaded(page, "grid.csv", tmp_path).read_text()
    page.get_by_text("Download figure").click()
    assert "·Tokyo" in downloaded(page, "grid.svg", tmp_path).read_text()
    page.get_by_text("Python", exact=True).click()
    expect(page.get_by_text("logit_lens.run(model, params)")).to_be_visible()


FITS = """() => {
    const frames = [...document.querySelectorAll("[class*=st-key-frame-]")];
    const inside = frames.map(frame => {
        const svg = frame.querySelector(".marks"), edge = svg?.getBoundingClientRect();
        const texts = [...svg?.querySelectorAll("text") ?? []].map(t => t.getBoundingClientRect());
        const titles = [...svg?.querySelectorAll(".role-title text") ?? []];
        return svg && frame.scrollWidth <= frame.clientWidth
            && titles.every(t => !t.textContent.includes("…"))
            && texts.every(t => t.left >= edge.left - 1 && t.right <= edge.right + 1);
    });
    const main = document.querySelector("[data-testid=stMain]");
    return frames.length && inside.every(Boolean) && main.scrollWidth <= main.clientWidth;
}"""


FIRSTS = [paper.questions[0].params() for paper in PAPERS.values()]


def test_figures_fit_the_page_however_wide_it_is(page, app):
    """Of every paper's first question; a test of plots has every figure, in the font that a page loads.

    From wide to narrow, so that a figure fits only once it was drawn for the new width.
    """
    misfits = []
    for asked in FIRSTS:
        page.set_viewport_size({"width": 1440, "height": 900})
        open_(page, app + link(asked))
        for width in (1440, 768, 420):
            page.set_viewport_size({"width": width, "height": 900})
            try:
                page.wait_for_function(FITS, timeout=30_000)
            except TimeoutError:
                misfits.append((link(asked), width))
    assert misfits == []


CELLS_OF = """chart => {
    const boxes = kind => [...chart.querySelectorAll(kind)].map(mark => mark.getBoundingClientRect());
    const tiles = boxes(".mark-rect.role-mark:not(.mark-rect ~ .mark-rect) path");
    return [...chart.querySelectorAll(".mark-text.role-mark text")].map(text => {
        const box = text.getBoundingClientRect(), x = (box.left + box.right) / 2;
        const y = (box.top + box.bottom) / 2;
        const tile = tiles.find(t => t.left < x && x < t.right && t.top < y && y < t.bottom);
        return [text.textContent, tile ? tile.width - box.width : null];
    });
}"""


@pytest.mark.parametrize("width", [1440, 768, 420])
def test_tokens_stand_whole_within_their_cells(page, app, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_(page, app + FIRST)
    says(page, "·Paris")
    page.wait_for_function(FITS)
    cells = figure(page).evaluate(CELLS_OF)
    assert len(cells) % 31 == 0 and (len(cells) == 31 * 10 or width == 420)
    assert not [text for text, _ in cells if "…" in text]
    assert all(room is not None and room > 4 for _, room in cells)
    frame = page.locator("[class*=st-key-frame-]").first
    assert frame.evaluate("element => element.scrollHeight <= element.clientHeight")


def test_figures_are_set_in_the_font_they_are_measured_in(page, app):
    open_(page, app + FIRST)
    says(page, "·Paris")
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    query = {"nodeId": root, "selector": "svg.marks text"}
    used = set()
    for node in session.send("DOM.querySelectorAll", query)["nodeIds"][::20]:
        fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
        used |= {(font["familyName"], font["isCustomFont"]) for font in fonts}
    assert used == {("SourceSans3VF", True)}
    text = "The capital of Japan is WWW iii"
    measured = page.evaluate(
        """([text, family]) => {
            const context = document.createElement("canvas").getContext("2d");
            context.font = `100px ${family}`;
            return context.measureText(text).width;
        }""",
        [text, font.STACK],
    )
    assert measured == pytest.approx(font.width(text, 100), rel=0.01)


def test_a_downloaded_page_draws_with_its_own_font(page, tmp_path):
    chart = alt.Chart(alt.Data(values=[{"token": "·Madrid"}])).mark_text().encode(text="token:N")
    file = tmp_path / "figure.html"
    file.write_bytes(exports.html(chart))
    page.goto(file.as_uri())
    says(page, "·Madrid")
    faces = page.evaluate("[...document.fonts].map(face => face.family + ' ' + face.status)")
    assert [face.replace('"', "") for face in faces] == [f"{font.FAMILY} loaded"] * 2
