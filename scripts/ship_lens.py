"""Ship a lens that was trained here: ``python scripts/ship_lens.py NAME`` (or ``NAME --bias``).

``python -m interp_core tuned-lens train`` trains it and says its name.
"""

from __future__ import annotations

import argparse
import json

from interp_core.artifacts import digest
from interp_core.papers.tuned_lens.translators import INDEX, KEPT, SHIPS, SHIPS_BIAS
from interp_core.paths import SHIPPED


def main() -> None:
    """Copy the lens beside the others, and write it into their index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the lens in the cache")
    parser.add_argument("--bias", action="store_true", help="ship it as the lens of biases alone")
    options = parser.parse_args()
    lens = KEPT.load(options.name)
    content = lens.to_bytes()
    kind = SHIPS_BIAS if options.bias else SHIPS
    file = f"{lens.card.model}{kind.removeprefix(SHIPS)}.safetensors"
    (SHIPPED / "lenses" / file).write_bytes(content)
    index = SHIPPED / INDEX
    entries = json.loads(index.read_text())
    entries.setdefault(lens.card.model_sha256, {})[kind] = {"file": file, "name": digest(content)}
    index.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
