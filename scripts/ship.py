"""Ship a lens or a dictionary that was trained here: ``python scripts/ship.py NAME``.

``python -m interp_core tuned-lens train`` and ``sparse-autoencoder train`` train them and say their names. A lens ships
as the model's, or, where it is one of biases alone, as that; a dictionary as the model's own.
"""

from __future__ import annotations

import argparse
import re

from interp_core.papers.sparse_autoencoder import dictionary
from interp_core.papers.sparse_autoencoder.dictionary import Dictionary
from interp_core.papers.tuned_lens import translators
from interp_core.papers.tuned_lens.translators import SHIPS, SHIPS_BIAS, Translators


def place(made: Translators | Dictionary) -> tuple[str, str]:
    """Return what a lens or a dictionary ships as, and its file's name.

    Raises:
        ValueError: When its card names no model that a file can be named after, or no weights.
    """
    card = made.card
    if not re.fullmatch(r"[A-Za-z0-9._-]+", card.model):
        raise ValueError(f"{card.model!r:.60} names no file; accepted: letters, digits, . _ and -")
    if not re.fullmatch("[0-9a-f]{64}", card.model_sha256):
        raise ValueError("it does not say which weights it is of; accepted: one trained here")
    kind = SHIPS_BIAS if isinstance(made, Translators) and made.weight is None else SHIPS
    return kind, f"{card.model}{kind.removeprefix(SHIPS)}.safetensors"


def main() -> None:
    """Copy what has that name beside the others of its kind, and write it into their index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="in the cache")
    name = parser.parse_args().name
    shelf = next((m.SHELF for m in (translators, dictionary) if name in m.KEPT.names()), None)
    if shelf is None:
        parser.error(f"{name:.60} is neither a lens nor a dictionary on this machine")
    made = shelf.kept.load(name)
    try:
        kind, file = place(made)
    except ValueError as error:
        parser.error(str(error))
    shelf.ship(made.card.model_sha256, kind, file, made.to_bytes())


if __name__ == "__main__":
    main()
