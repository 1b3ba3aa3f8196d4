"""Ship a lens that was trained here: ``python scripts/ship_lens.py NAME``.

``python -m interp_core tuned-lens train`` trains it and says its name. It ships as the model's lens,
or, where it is one of biases alone, as that.
"""

from __future__ import annotations

import argparse
import re

from interp_core.papers.tuned_lens.translators import KEPT, SHELF, SHIPS, SHIPS_BIAS, Translators


def place(lens: Translators) -> tuple[str, str]:
    """Return what a lens ships as, and its file's name.

    Raises:
        ValueError: When its card names no model that a file can be named after, or no weights.
    """
    card = lens.card
    if not re.fullmatch(r"[A-Za-z0-9._-]+", card.model):
        raise ValueError(f"{card.model!r:.60} names no file; accepted: letters, digits, . _ and -")
    if not re.fullmatch("[0-9a-f]{64}", card.model_sha256):
        raise ValueError("it does not say which weights it is of; accepted: a lens trained here")
    kind = SHIPS_BIAS if lens.weight is None else SHIPS
    return kind, f"{card.model}{kind.removeprefix(SHIPS)}.safetensors"


def main() -> None:
    """Copy the lens beside the others, and write it into their index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the lens in the cache")
    lens = KEPT.load(parser.parse_args().name)
    try:
        kind, file = place(lens)
    except ValueError as error:
        parser.error(str(error))
    SHELF.ship(lens.card.model_sha256, kind, file, lens.to_bytes())


if __name__ == "__main__":
    main()
