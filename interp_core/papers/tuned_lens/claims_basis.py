"""The paper's claims of causal fidelity and of alignment, beside what was measured."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate, jackknife, ratios
from interp_core.papers.tuned_lens.basis import RANDOM, Basis, correlation
from interp_core.papers.tuned_lens.evaluation import LOGIT, TUNED
from interp_core.results import Finding


def claims(result: Basis) -> list[Finding]:
    """Return every claim with its measurement; none for a lens without translators there."""
    if not result.translated.any():
        return []
    return [*_faithful(result), _aligned(result), _beyond_random(result)]


def _on(result: Basis) -> str:
    return f" ({result.params.text})"


def _faithful(result: Basis) -> list[Finding]:
    row = result.middle
    if not result.translated[row]:
        return []
    tuned, logit = (correlation(result.fidelity(lens)[row]) for lens in (TUNED, LOGIT))
    return [
        Finding.measured(
            f"fidelity_{result.params.text}",
            f"What matters more to the tuned lens matters more to the model{_on(result)}",
            "Spearman's correlation 0.89, layer 18 of Pythia 410M",
            Estimate.of_ends(tuned, len(result.positions), "documents"),
            f"(rank correlation over {result.params.vectors} vectors)",
            holds=bool(tuned[1] > 0),
            criterion=f"above 0 at layer {result.layers[row]}, with its interval (folds of documents); "
            f"logit lens: {logit[0]:.2f} [{logit[1]:.2f}, {logit[2]:.2f}]",
        )
    ]


def _aligned(result: Basis) -> Finding:
    rows = np.flatnonzero(result.translated)
    own = {lens: result.mean_alignment(lens, lens)[rows] for lens in (TUNED, LOGIT)}
    same = {lens: result.mean_alignment(lens, TUNED)[rows] for lens in (TUNED, LOGIT)}
    above = jackknife(own[TUNED] - own[LOGIT])[:, 1] > 0
    shared = jackknife(same[TUNED] - same[LOGIT])[:, 1] > 0
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


def _beyond_random(result: Basis) -> Finding:
    rows = np.flatnonzero(result.translated)
    tuned, drawn = (result.on_model[result.at(name)][rows].mean(1) for name in (TUNED, RANDOM))
    beyond = ratios(tuned - drawn, result.positions)[:, 1] > 0
    times = tuned.sum(-1) / np.maximum(drawn.sum(-1), 1e-12)
    return Finding.measured(
        f"beyond_random_{result.params.text}",
        f"Its causal vectors matter more to the model than random directions{_on(result)}",
        "no figure given; the bar is ours",
        Estimate(float(beyond.sum()), len(result.positions), "documents"),
        f"of {len(rows)} layers",
        holds=bool(beyond.all()),
        criterion="mean influence on the model higher at each layer, the interval of each difference clear of "
        f"0 ({times.min():,.0f} to {times.max():,.0f} times)",
    )
