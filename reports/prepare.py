"""Write the one script that draws every chart of the site. Quarto runs this before it renders."""

from __future__ import annotations

import json
from pathlib import Path

import vl_convert

from interp_core.plot import font

EXTENSION = Path(__file__).resolve().parent / "_extensions" / "lensbook" / "vega"


def write_bundle() -> Path:
    """Write Vega, Vega-Lite, Vega-Embed and the figures' font into the extension; return the file."""
    path = EXTENSION / "vega-bundle.js"
    faces = f"window.lensbookFaces = {json.dumps(font.faces())};\n"
    script = f"{vl_convert.javascript_bundle()}\n{faces}"
    # An unchanged file keeps its time, so that `quarto preview` does not reload for nothing.
    if not path.exists() or path.read_text(encoding="utf-8") != script:
        path.write_text(script, encoding="utf-8")
    return path


if __name__ == "__main__":
    write_bundle()
