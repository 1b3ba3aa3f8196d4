"""Take code out of what the site's search shows. Quarto runs this after it has rendered."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path

CODE = re.compile(r"<pre\b[^>]*>(.*?)</pre>|<summary\b[^>]*>(.*?)</summary>", re.DOTALL)
TAG = re.compile(r"<[^>]+>")


def without_code(site: Path) -> None:
    """Drop from the entries of `search.json` the code of the page that each is of, and the labels of its folds."""
    index = site / "search.json"
    if not index.exists():
        return
    entries = json.loads(index.read_text(encoding="utf-8"))
    for entry in entries:
        page = (site / entry["href"].partition("#")[0]).read_text(encoding="utf-8")
        text = html.unescape(entry["text"])
        pieces = {html.unescape(TAG.sub("", code or label)) for code, label in CODE.findall(page)}
        for piece in sorted(pieces, key=len, reverse=True):
            # A short one may be a word of the prose.
            text = text.replace(piece, "") if "\n" in piece or len(piece) > 30 else text
        entry["text"] = html.escape(re.sub(r"\n\s*\n+", "\n", text).strip())
    index.write_text(json.dumps(entries, ensure_ascii=False, indent=2), encoding="utf-8")


if __name__ == "__main__":
    without_code(Path(os.environ["QUARTO_PROJECT_OUTPUT_DIR"]))
