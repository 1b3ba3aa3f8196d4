"""Make what the pages share: the script that draws every chart, and their pictures. Quarto runs this before it renders.

Pages that were executed are kept, by Quarto and by the preview, until what they were made of changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import vl_convert

from interp_core import exports
from interp_core.plot import font, theme
from interp_core.question import stored
from interp_core.registry import PAPERS

REPORTS = Path(__file__).resolve().parent
EXTENSION = REPORTS / "_extensions" / "lensbook" / "vega"
ICON = REPORTS.parent / "streamlit_app" / "icon.png"
CARDS = REPORTS / "cards"
"""Of each paper its main figure, which shows when a page is shared."""


FROZEN = REPORTS / "_freeze"
"""Pages as they were executed."""


def main() -> None:
    """Make all that is not there as it should be."""
    _thaw()
    write_bundle()
    CARDS.mkdir(exist_ok=True)
    shutil.copy(ICON, CARDS / "icon.png")
    for paper in PAPERS.values():
        question = paper.questions[0]
        result = stored(question.params())
        _write(CARDS / f"{paper.stem}.png", exports.png(question.main.draw(result), scale=0.75))


def write_bundle() -> Path:
    """Write Vega, Vega-Lite, Vega-Embed, the themes and the font of figures into the extension; return the file."""
    path = EXTENSION / "vega-bundle.js"
    faces = f"window.lensbookFaces = {json.dumps(font.faces())};"
    themes = {mode: theme.config(mode) for mode in ("light", "dark")}
    script = f"{vl_convert.javascript_bundle()}\n{faces}\nwindow.lensbookThemes = {json.dumps(themes)};\n"
    _write(path, script.encode())
    return path


def _thaw() -> None:
    """Drop the pages that were executed where the package, its data or what they link to is another."""
    digest = hashlib.sha256(os.environ.get("LENSBOOK_APP_URL", "").encode())
    package = REPORTS.parent / "interp_core"
    for file in sorted(file for file in package.rglob("*") if file.is_file()):
        if "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(package)).encode() + file.read_bytes())
    key = FROZEN / "key"
    if not key.exists() or key.read_text() != digest.hexdigest():
        shutil.rmtree(FROZEN, ignore_errors=True)
        FROZEN.mkdir()
        key.write_text(digest.hexdigest())


def _write(path: Path, data: bytes) -> None:
    # An unchanged file keeps its time, so that `quarto preview` does not reload for nothing.
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


if __name__ == "__main__":
    main()
