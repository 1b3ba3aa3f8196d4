"""Ship a dictionary that was trained here: ``python scripts/ship_dictionary.py NAME``.

``python -m interp_core sparse-autoencoder train`` trains it and says its name. It ships as the model's own.
"""

from __future__ import annotations

import argparse
import re

from interp_core.papers.sparse_autoencoder.dictionary import KEPT, SHELF, SHIPS


def main() -> None:
    """Copy the dictionary beside the others, and write it into their index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the dictionary in the cache")
    found = KEPT.load(parser.parse_args().name)
    model = found.card.model
    if not re.fullmatch(r"[A-Za-z0-9._-]+", model) or not found.card.model_sha256:
        parser.error(f"{model!r:.60} names no file, or no weights; accepted: one trained here")
    SHELF.ship(found.card.model_sha256, SHIPS, f"{model}.safetensors", found.to_bytes())


if __name__ == "__main__":
    main()
