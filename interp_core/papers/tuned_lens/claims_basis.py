"""The paper's claims of causal fidelity and of alignment, beside what was measured."""

from __future__ import annotations

import numpy as np

from interp_core.findings import OURS, THEIRS, Finding, at_least, every
from interp_core.papers.tuned_lens.basis import Basis, correlation
from interp_core.papers.tuned_lens.claims import ABOVE, hold
from interp_core.papers.tuned_lens.evaluation import LOGIT, TUNED

_ABOVE = at_least(0)


def claims(result: Basis) -> list[Finding]:
    """Return every claim with its measurement; none for a lens without translators there."""
    if not result.translated.any():
        return []
    return [_faithful(result), _aligned(result)]


def _on(result: Basis) -> str:
    return f" ({result.params.text})"


def _faithful(result: Basis) -> Finding:
    rows = np.flatnonzero(result.translated)
    found = {lens: correlation(result.fidelity(lens)) for lens in (TUNED, LOGIT)}
    above = _ABOVE.of_ends(found[TUNED][rows])
    (tuned, *ends), logit = found[TUNED][result.middle], found[LOGIT][result.middle, 0]
    return Finding.measured(
        f"fidelity_{result.params.text}",
        f"What matters more to the tuned lens matters more to the model{_on(result)}",
        "Spearman's correlation 0.89, layer 18 of Pythia 410M",
        hold(above, len(result.positions)),
        f"of {len(rows)} layers",
        holds=every(above),
        measure=f"layers at which the rank correlation of {result.params.vectors} ablations' changes, of the lens and of "
        "the model, is above 0 (intervals over folds of documents)",
        criterion=f"every layer (bar: {OURS}); at layer {result.layers[result.middle]}: {tuned:.2f} "
        f"[{ends[0]:.2f}, {ends[1]:.2f}], logit lens {logit:.2f}",
        place="paper's section 4",
    )


def _aligned(result: Basis) -> Finding:
    rows = np.flatnonzero(result.translated)
    above, shared = (ABOVE.of_ends(result.alignment_gap(basis)[rows]) for basis in (LOGIT, TUNED))
    return Finding.measured(
        f"aligned_{result.params.text}",
        f"The model responds in the direction that the tuned lens says, more than the logit lens{_on(result)}",
        "at every layer, Pythia 160M",
        hold(above, len(result.positions)),
        f"of {len(rows)} layers",
        holds=every(above),
        measure="layers at which mean alignment through the tuned lens less that through the logit lens, each on its own "
        "vectors, is above 0 (intervals over folds of documents)",
        criterion=f"every layer (bar: {THEIRS}); both lenses on the tuned lens's vectors: "
        f"{sum(each is True for each in shared)} of {len(rows)}",
        place="paper's section 4",
    )
