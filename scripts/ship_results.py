"""Compute every result that ships, and put it where the package has it.

Run after a change that alters numbers, by ``make results``. Models other than the default one have to be
fetched before, and their lenses trained.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from typing import Any

from interp_core import load_model, store
from interp_core.models import catalogue
from interp_core.models.catalogue import KnownModel
from interp_core.params import OnModel
from interp_core.paths import SHIPPED
from interp_core.query import link
from interp_core.question import obtain
from interp_core.registry import PAPERS


def asked() -> dict[str, list[Any]]:
    """Return the parameters of every result that ships, by model."""
    found: dict[str, list[Any]] = {}
    for params in (params for paper in PAPERS.values() for params in paper.shipped):
        name = params.model if isinstance(params, OnModel) else catalogue.DEFAULT
        found.setdefault(name, []).append(params)
    return found


def main() -> None:
    """Replace everything that ships."""
    known, results = [], []
    for name, wanted in asked().items():
        model = load_model(name)
        known.append(asdict(KnownModel.of(model.info, catalogue.models()[name].size)))
        for params in wanted:
            print(link(params), file=sys.stderr, flush=True)
            results.append(obtain(model, params, fresh=True))
    (SHIPPED / catalogue.SHIPPED_MODELS).write_text(json.dumps(known, indent=1) + "\n")
    shutil.rmtree(SHIPPED / "results", ignore_errors=True)
    for result in results:
        store.put(result, SHIPPED / "results" / result.paper)


if __name__ == "__main__":
    main()
