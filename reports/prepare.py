"""Write the one script that draws every chart of the site. Quarto runs this before it renders."""

from __future__ import annotations

from pathlib import Path

import vl_convert

EXTENSION = Path(__file__).resolve().parent / "_extensions" / "lensbook" / "vega"


def write_bundle() -> Path:
    """Write Vega, Vega-Lite and Vega-Embed into the extension and return the file's path."""
    path = EXTENSION / "vega-bundle.js"
    script = vl_convert.javascript_bundle()
    # An unchanged file keeps its time, so that `quarto preview` does not reload for nothing.
    if not path.exists() or path.read_text(encoding="utf-8") != script:
        path.write_text(script, encoding="utf-8")
    return path


if __name__ == "__main__":
    write_bundle()
