"""Shared fixtures: the default model, tiny checkpoints of every family, and a cache of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores, and the threads of one's products would spin against another's.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Tests keep their results and their list of models to themselves, but share converted models.
from interp_core.models.catalogue import DEFAULT
from interp_core.models.packaged import PACKAGED
from interp_core.paths import SHIPPED

CONVERTED = PACKAGED[DEFAULT].folder
HERE = [model.folder for model in PACKAGED.values() if model.folder.exists()]
CACHE = os.environ["LENSBOOK_CACHE"] = tempfile.mkdtemp(prefix="lensbook-tests-")
for folder in HERE:
    PACKAGED[folder.name].folder.symlink_to(folder)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Give browser tests to one worker, from the start; the others take files beside it.

    They wait more than they compute, and two browsers at a time would wait for each other.
    """
    items.sort(key=lambda item: item.get_closest_marker("browser") is None)
    for item in items:
        browser = item.get_closest_marker("browser") is not None
        group = "reports" if "site" in getattr(item, "fixturenames", ()) else item.path.name
        item.add_marker(pytest.mark.xdist_group("browser" if browser else group))


REFERENCE = Path(__file__).parent / "reference"
CHECKPOINTS = sorted(path.parent.name for path in REFERENCE.glob("*/config.json"))


REPORTS = Path(__file__).parents[1] / "reports"
APP = "https://app.example"
QUARTO = shutil.which(os.environ.get("LENSBOOK_QUARTO") or "quarto")


def build(*arguments: str, reports: Path = REPORTS) -> subprocess.CompletedProcess[str]:
    """Build the report, with links to an app that is somewhere."""
    command = [sys.executable, str(reports / "build.py"), *arguments]
    environment = {**os.environ, "LENSBOOK_APP_URL": APP + "/"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="session", params=["preview", *(["quarto"] if QUARTO else [])])
def site(request, tmp_path_factory) -> Path:
    """The report, built once by each renderer that is there; the folder has its name."""
    target = tmp_path_factory.mktemp("report") / request.param
    done = build(*(["--preview"] if request.param == "preview" else []), "--output", str(target))
    assert done.returncode == 0, done.stderr
    assert "MB" in done.stdout.splitlines()[-1]
    return target


@pytest.fixture(scope="session")
def model():
    """The default model."""
    from interp_core import load_model

    return load_model()


@pytest.fixture(scope="session")
def tiny():
    """Load a tiny reference checkpoint by name, once."""
    from interp_core import load_model

    loaded = {}

    def load(name: str):
        if name not in loaded:
            # Remembered where all tests look, whichever cache the one that asks first has.
            with mock.patch.dict(os.environ, {"LENSBOOK_CACHE": CACHE}):
                loaded[name] = load_model(REFERENCE / name)
        return loaded[name]

    return load


@pytest.fixture(scope="session")
def hub():
    """The address of a hub that has the one-layer model's dictionary, in SAELens's layout."""
    from fake_hub import serving

    from interp_core.papers.sparse_autoencoder.dictionary import Dictionary

    shipped = (SHIPPED / "dictionaries" / "one-layer.safetensors").read_bytes()
    files = Dictionary.from_bytes(shipped).to_saelens()
    with serving("owner/saes", {f"small/{n}": held for n, held in files.items()}) as address:
        yield address


@pytest.fixture(scope="session")
def app(tmp_path_factory, hub):
    """The app, with the default model at hand."""
    from browsing import serve

    cache = tmp_path_factory.mktemp("cache")
    (cache / "models").mkdir()
    (cache / "models" / CONVERTED.name).symlink_to(CONVERTED)
    process, address = serve(cache, HF_ENDPOINT=hub, HF_HOME=str(cache / "hub"))
    yield address
    process.terminate()
    assert process.wait(30) in (0, -15), "the app did not exit cleanly"


@pytest.fixture(scope="session")
def browser():
    """Chromium, or a loud reason why not."""
    from browsing import launch
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        try:
            running = launch(playwright)
        except Exception as error:
            pytest.skip(f"NO BROWSER: the app was not tested ({str(error).splitlines()[0]})")
        yield running
        running.close()


@pytest.fixture(scope="session")
def visitor(browser):
    """One reader's browser, which keeps what it once fetched of the app's own scripts."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(60_000)
    return context


@pytest.fixture
def page(visitor):
    """A new page of that browser: to the app a new session, of which it knows nothing."""
    opened = visitor.new_page()
    yield opened
    for left in visitor.pages:
        left.close()
    visitor.clear_cookies()
