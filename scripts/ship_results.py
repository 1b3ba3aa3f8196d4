"""Compute the default view's and every preset's result on the default model, and put it where the package ships it.

Run after a change that alters numbers: ``python scripts/ship_results.py``.
"""

from __future__ import annotations

import shutil
from types import ModuleType

from interp_core import load_model, store
from interp_core.models.language_model import LanguageModel
from interp_core.papers import PAPERS
from interp_core.paths import SHIPPED


def ship(module: ModuleType, model: LanguageModel) -> None:
    """Ship one paper's default view, its presets, and what its findings were measured from."""
    wanted = [module.Params(), *module.PRESETS.values()]
    results = [module.run(model, params, findings=False) for params in wanted]
    for result in [*results, *module.surveys(model)]:
        store.put(result, SHIPPED / "results" / result.paper)


def main() -> None:
    """Replace everything that ships."""
    model = load_model()
    shutil.rmtree(SHIPPED / "results", ignore_errors=True)
    for paper in PAPERS.values():
        if paper.built:
            ship(paper.module, model)


if __name__ == "__main__":
    main()
