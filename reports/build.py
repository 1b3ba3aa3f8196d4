"""Build the report: with Quarto where it is installed, else as a preview.

Usage: python reports/build.py [--preview] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPORTS = Path(__file__).resolve().parent


def main(arguments: list[str] | None = None) -> int:
    """Build the site, say where it is, and return the exit status."""
    parser = argparse.ArgumentParser(description="Build the report as a static site.")
    parser.add_argument(
        "--preview", action="store_true", help="build the preview even where Quarto is installed"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=REPORTS / "_site",
        metavar="FOLDER",
        help="emptied first (default: reports/_site)",
    )
    choice = parser.parse_args(arguments)
    site = choice.output.resolve()
    _let_pages_import_the_project()
    quarto = None if choice.preview else shutil.which("quarto")
    status = _with_quarto(quarto, site) if quarto else _with_preview(site)
    if status == 0:
        print(f"The site is at {site / 'index.html'}")
    return status


def _let_pages_import_the_project() -> None:
    path = [str(REPORTS.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in path if entry)
    # Quarto runs the cells with the first and its scripts with the Python it finds on PATH.
    os.environ["QUARTO_PYTHON"] = sys.executable
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )


def _with_quarto(quarto: str, site: Path) -> int:
    print(f"Rendering the report with {quarto}", flush=True)
    command = [quarto, "render", str(REPORTS), "--output-dir", str(site)]
    return subprocess.run(command, check=False).returncode


def _with_preview(site: Path) -> int:
    print("Building the preview (Quarto is not used)", flush=True)
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
