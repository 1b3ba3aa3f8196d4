"""Compute every result that ships on the default model, and put it where the package has it.

Run after a change that alters numbers, by ``make results``.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys

from interp_core import load_model, store
from interp_core.models import catalogue
from interp_core.models.language_model import LanguageModel
from interp_core.paths import SHIPPED
from interp_core.query import link
from interp_core.question import obtain
from interp_core.registry import BUILT
from interp_core.results import Result


def describe(model: LanguageModel) -> None:
    """Ship what is said of the default model before it is loaded, under which results are found."""
    known = dataclasses.replace(
        catalogue.models()[catalogue.DEFAULT],
        fingerprint=model.info.fingerprint,
        n_layers=model.info.n_layers,
        context=model.info.context,
        n_heads=model.info.n_heads,
    )
    text = json.dumps(dataclasses.asdict(known), indent=1)
    (SHIPPED / "default_model.json").write_text(text + "\n")


def compute(model: LanguageModel) -> list[Result]:
    """Return every result that ships."""
    results = []
    for params in (params for paper in BUILT.values() for params in paper.shipped):
        print(link(params), file=sys.stderr, flush=True)
        results.append(obtain(model, params, fresh=True))
    return results


def main() -> None:
    """Replace everything that ships."""
    model = load_model()
    results = compute(model)
    describe(model)
    shutil.rmtree(SHIPPED / "results", ignore_errors=True)
    for result in results:
        store.put(result, SHIPPED / "results" / result.paper)


if __name__ == "__main__":
    main()
