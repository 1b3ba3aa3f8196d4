"""The report as a browser sees it: whichever made it, every figure is drawn, fits, and can be read."""

from __future__ import annotations

import contextlib

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, TimeoutError, expect
from test_reports import PAGES

DRAWN = """() => [...document.querySelectorAll(".lensbook-chart")].every(c => c.querySelector("svg.marks"))"""
FITS = """() => {
    const frames = [...document.querySelectorAll(".lensbook-scroll, .lensbook-table, main table")];
    const wide = frames.filter(frame => frame.scrollWidth > frame.clientWidth + 1);
    const page = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
    const cut = [...document.querySelectorAll("svg.marks")].flatMap(svg => {
        const edge = svg.getBoundingClientRect();
        return [...svg.querySelectorAll("text")].filter(text => {
            const box = text.getBoundingClientRect();
            return box.width && (box.left < edge.left - 1 || box.right > edge.right + 1);
        });
    });
    return [...page, ...wide.map(f => f.closest("[id]")?.id), ...cut.map(t => t.textContent)];
}"""
# Charts are images with a name; their parts answer to the pointer, and have no roles of their own.
CONTEXT = {"exclude": [["svg.marks"]]}
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}


@pytest.fixture
def opened(browser, site):
    """Open a page of the site, on which nothing may be said to the console or asked of another host."""
    contexts, said = [], []

    def open_(path, **given) -> Page:
        context = browser.new_context(**given)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url))
        page.goto((site / path).with_suffix(".html").as_uri())
        page.wait_for_function(DRAWN, timeout=60_000)
        return page

    yield open_
    local = ("file:", "blob:", "data:")
    assert [each for each in said if not each.startswith(local)] == []
    for context in contexts:
        context.close()


def unreadable(page: Page, rules: dict) -> list[tuple[str, str]]:
    options = {"runOnly": rules, "preload": False}
    found = Axe().run(page, context=CONTEXT, options=options).response["violations"]
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found]


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_figures_fit_however_wide_the_page_is_and_all_can_be_read_in_both_modes(opened, path):
    page = opened(path, viewport={"width": 1440, "height": 900}, color_scheme="dark")
    for width in (1440, 768, 420):
        page.set_viewport_size({"width": width, "height": 900})
        with contextlib.suppress(TimeoutError):
            page.wait_for_function(f"() => ({FITS})().length === 0", timeout=10_000)
        assert page.evaluate(FITS) == [], width
    assert unreadable(page, RULES) == []
    page.evaluate("document.body.classList.replace('quarto-dark', 'quarto-light')")
    assert unreadable(page, COLOURS) == []


def test_a_picture_is_saved_beside_its_data(opened):
    page = opened("papers/logit_lens", accept_downloads=True)
    data = page.locator(".lensbook-data").first
    expect(data).to_contain_text("Figure: SVGPNG")
    expect(data).to_contain_text("CSV · JSON")
    with page.expect_download() as saved:
        data.get_by_role("button", name="SVG").click()
    assert saved.value.path().read_text(encoding="utf-8").startswith("<svg")


def test_a_slider_moves_a_figure_from_layer_to_layer(opened):
    page = opened("papers/logit_lens")
    chart = page.locator("#chart-slider")
    slider = chart.get_by_role("slider")
    slider.fill("-1")
    first = chart.locator("svg.marks").text_content()
    slider.fill("29")
    expect(chart.locator("svg.marks")).to_contain_text("·Paris")
    assert chart.locator("svg.marks").text_content() != first


def test_a_head_is_picked_and_a_token_is_lit(opened):
    page = opened("papers/induction_heads", viewport={"width": 1440, "height": 900})
    chart = page.locator("#chart-picker")
    bars, cells = (chart.locator("g.mark-rect.role-mark").nth(i).locator("path") for i in (0, 1))
    before = cells.count()
    bars.nth(7).click()
    expect(cells).not_to_have_count(before)
    assert cells.evaluate_all("all => all.every(cell => cell.getAttribute('opacity') === '1')")
    cells.nth(3).hover()
    expect(chart.locator("path[opacity='0.25']").first).to_be_visible()


def test_contents_are_a_menu_on_a_phone_and_a_column_elsewhere(opened):
    page = opened("papers/tuned_lens", viewport={"width": 420, "height": 900})
    menu = page.locator(".lensbook-contents")
    menu.locator("summary").click()
    menu.get_by_role("link", name="Limits").click()
    expect(page).to_have_url(page.url.partition("#")[0] + "#limits")
    expect(menu.get_by_role("link", name="Limits")).to_be_hidden()
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(menu).to_be_hidden()
    expect(page.locator("#TOC")).to_be_visible()
