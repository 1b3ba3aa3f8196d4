"""Compute the default view's and every preset's result on the default model, and put it where the package ships it.

Run after a change that alters numbers: ``python scripts/ship_results.py``.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from types import ModuleType

from interp_core import load_model, store
from interp_core.models import catalogue
from interp_core.models.language_model import LanguageModel
from interp_core.papers import PAPERS
from interp_core.paths import SHIPPED


def ship(module: ModuleType, model: LanguageModel) -> None:
    """Ship one paper's default view, its presets, and what its findings were measured from."""
    wanted = [module.Params(), *module.PRESETS.values()]
    results = [module.run(model, params, findings=False) for params in wanted]
    for result in [*results, *module.surveys(model)]:
        store.put(result, SHIPPED / "results" / result.paper)


def describe(model: LanguageModel) -> None:
    """Ship what is said of the default model before it is loaded, under which results are found."""
    known = dataclasses.replace(
        catalogue.models()[catalogue.DEFAULT],
        fingerprint=model.info.fingerprint,
        n_layers=model.info.n_layers,
        context=model.info.context,
    )
    text = json.dumps(dataclasses.asdict(known), indent=1)
    (SHIPPED / "default_model.json").write_text(text + "\n")


def main() -> None:
    """Replace everything that ships."""
    model = load_model()
    describe(model)
    shutil.rmtree(SHIPPED / "results", ignore_errors=True)
    for paper in PAPERS.values():
        if paper.built:
            ship(paper.module, model)


if __name__ == "__main__":
    main()
