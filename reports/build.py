"""Build the report: with Quarto where it is installed, else as a preview.

Usage: python reports/build.py [--preview] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPORTS = Path(__file__).resolve().parent
SITE = REPORTS / "_site"


def main(arguments: list[str] | None = None) -> int:
    """Build the site, say where it is, and return the exit status."""
    parser = argparse.ArgumentParser(description="Build the report as a static site.")
    parser.add_argument(
        "--preview", action="store_true", help="build the preview even where Quarto is installed"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=SITE,
        metavar="FOLDER",
        help="emptied first, where a build made it (default: reports/_site)",
    )
    choice = parser.parse_args(arguments)
    site, start = choice.output.resolve(), time.perf_counter()
    if _holds_something_else(site):
        print(f"{site} holds what no build made; name another folder, or empty it", file=sys.stderr)
        return 2
    _let_pages_import_the_project()
    quarto = None if choice.preview else _quarto()
    renderer = f"Quarto {_version(quarto)}" if quarto else "the preview, without Quarto"
    print(f"Building the report with {renderer}", flush=True)
    shutil.rmtree(site, ignore_errors=True)
    status = _with_quarto(quarto, site) if quarto else _with_preview(site)
    if status == 0:
        size = sum(file.stat().st_size for file in site.rglob("*") if file.is_file())
        print(f"The site is at {site / 'index.html'}")
        print(f"Built by {renderer}, in {time.perf_counter() - start:.0f} s; {size / 1e6:.1f} MB")
    return status


def _holds_something_else(site: Path) -> bool:
    made = (site / "index.html").is_file() and (site / "site_libs").is_dir()
    return site.exists() and not made and (not site.is_dir() or any(site.iterdir()))


def _quarto() -> str | None:
    return shutil.which(os.environ.get("LENSBOOK_QUARTO") or "quarto")


def _version(quarto: str) -> str:
    said = subprocess.run([quarto, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.strip()


def _let_pages_import_the_project() -> None:
    path = [str(REPORTS.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in path if entry)
    # Quarto runs the cells with the first and its scripts with the Python it finds on PATH.
    os.environ["QUARTO_PYTHON"] = sys.executable
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )


def _with_quarto(quarto: str, site: Path) -> int:
    # Quarto empties and fills the project's own folder; others it takes for a part of the project.
    status = subprocess.run([quarto, "render", str(REPORTS)], check=False).returncode
    if status == 0 and site != SITE:
        shutil.copytree(SITE, site)
    return status


def _with_preview(site: Path) -> int:
    try:
        import preview
        import qmd
    except ModuleNotFoundError as error:
        print(
            f"{error}; install what the preview needs: pip install -r reports/requirements.txt",
            file=sys.stderr,
        )
        return 1
    try:
        preview.build(target=site)
    except qmd.PageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
