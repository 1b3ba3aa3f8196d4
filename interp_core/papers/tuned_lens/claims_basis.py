"""The paper's claims of causal fidelity and of alignment, beside what was measured."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate
from interp_core.findings import Finding
from interp_core.papers.tuned_lens.basis import Basis, correlation
from interp_core.papers.tuned_lens.evaluation import LOGIT, TUNED


def claims(result: Basis) -> list[Finding]:
    """Return every claim with its measurement; none for a lens without translators there."""
    if not result.translated.any():
        return []
    return [_faithful(result), _aligned(result)]


def _on(result: Basis) -> str:
    return f" ({result.params.text})"


def _faithful(result: Basis) -> Finding:
    rows = np.flatnonzero(result.translated)
    above = result.faithful(TUNED)[rows]
    middle = {lens: correlation(result.fidelity(lens))[result.middle] for lens in (TUNED, LOGIT)}
    (tuned, *ends), logit = middle[TUNED], middle[LOGIT][0]
    return Finding.measured(
        f"fidelity_{result.params.text}",
        f"What matters more to the tuned lens matters more to the model{_on(result)}",
        "Spearman's correlation 0.89, layer 18 of Pythia 410M",
        Estimate(float(above.sum()), len(result.positions), "documents"),
        f"of {len(rows)} layers",
        holds=bool(above.all()),
        criterion=f"rank correlation of these {result.params.vectors} vectors above 0 at each layer, with its interval "
        f"(folds of documents); at layer {result.layers[result.middle]} {tuned:.2f} [{ends[0]:.2f}, {ends[1]:.2f}], logit "
        f"lens {logit:.2f}",
    )


def _aligned(result: Basis) -> Finding:
    rows = np.flatnonzero(result.translated)
    above, shared = (result.better_aligned(basis)[rows] for basis in (LOGIT, TUNED))
    return Finding.measured(
        f"aligned_{result.params.text}",
        f"The model responds in the direction that the tuned lens says, more than the logit lens{_on(result)}",
        "at every layer, Pythia 160M",
        Estimate(float(above.sum()), len(result.positions), "documents"),
        f"of {len(rows)} layers",
        holds=bool(above.all()),
        criterion="mean alignment higher at each layer, each lens on its own vectors, the interval of each "
        "difference clear of 0 (folds of documents); both lenses on the tuned lens's vectors: "
        f"{shared.sum()} of {len(rows)}",
    )
