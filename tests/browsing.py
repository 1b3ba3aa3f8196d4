"""What browser tests share: the app as it is served, and what they do on a page of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright, expect

ROOT = Path(__file__).parents[1]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

expect.set_options(timeout=60_000)  # a machine that is busy with other tests answers slowly


def launch(playwright: Playwright) -> Browser:
    """Start Chromium: the one that is named, or on the path, or Playwright's own."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    return playwright.chromium.launch(executable_path=path, args=FLAGS)


def serve(cache: Path, **environment: str) -> tuple[subprocess.Popen, str]:
    """Start the app with a cache of its own; return its process and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app/app.py"]
    options = ["--server.port", str(port), "--server.headless", "true"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, **environment, "LENSBOOK_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://localhost:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
            return process, address
        except OSError:
            time.sleep(0.25)
    process.kill()
    raise RuntimeError("the app did not start within 30 seconds")


def open_(page: Page, address: str) -> Page:
    page.goto(address)
    figure(page).wait_for()
    return page


def figure(page: Page):
    return page.locator("svg.marks").first


def says(page: Page, text: str) -> None:
    """Wait until the main figure holds a token."""
    expect(figure(page)).to_contain_text(text)


def click_cell(page: Page, text: str) -> None:
    """Press the mouse over the centre of the first cell that holds a text, as a reader does."""
    cell = figure(page).locator(".mark-text.role-mark").get_by_text(text, exact=True).first
    cell.scroll_into_view_if_needed()
    box = cell.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def number(page: Page, name: str):
    """The box of a number, which stands beside the detail."""
    return page.get_by_test_id("stMain").get_by_role("spinbutton", name=name)


def type_prompt(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Prompt").fill(text)
    page.keyboard.press("Control+Enter")


def address_has(page: Page, text: str) -> None:
    page.wait_for_function("text => location.href.includes(text)", arg=text, timeout=60_000)
