"""The paper's claims on detecting injected instructions, beside what was measured."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate
from interp_core.findings import Finding, at_least
from interp_core.papers.tuned_lens.detection import (
    DETECTORS,
    FOREST,
    HARMLESS,
    INJECTED,
    LENGTH,
    LOGIT,
    TUNED,
    Detection,
)


def claims(result: Detection) -> list[Finding]:
    """Return every claim with its measurement, over pairs, by the detector that was fixed before."""
    found = [_told(result), _better(result), _over_length(result)]
    return [*found, _instruction(result)] if HARMLESS in result.versions else found


def _told(result: Detection) -> Finding:
    area = result.auc(TUNED, FOREST)
    return Finding.measured(
        "detect_told",
        "By the tuned lens's trajectories injected instructions can be told from ordinary prompts better than by chance",
        "malicious inputs with high accuracy; AUC near 1 on most tasks (Pythia 12B)",
        _over_pairs(result, area),
        "AUC",
        bar=at_least(0.5),
        measure=f"AUC of the {DETECTORS[FOREST]}, injected prompts against ordinary ones",
        place="paper's section 5",
    )


def _gap(
    result: Detection,
    id: str,
    claim: str,
    other: tuple[str, str],
    less: str,
    paper: str = "no such control",
    criterion: str = "",
    place: str = "",
) -> Finding:
    """Return a claim on the AUC through the tuned lens less that of another reading and version."""
    gap = result.gap((TUNED, INJECTED), other)
    measure = f"AUC of the {DETECTORS[FOREST]} {less}"
    made = _over_pairs(result, gap)
    return Finding.measured(
        id,
        claim,
        paper,
        made,
        "difference of AUCs",
        bar=at_least(0),
        criterion=criterion,
        measure=measure,
        place=place,
    )


def _better(result: Detection) -> Finding:
    return _gap(
        result,
        "detect_better",
        "The tuned lens's trajectories tell injected instructions better than the logit lens's",
        (LOGIT, INJECTED),
        "on the tuned lens's trajectories less that on the logit lens's",
        "higher AUC through the tuned lens on most tasks (Pythia 12B)",
        place="paper's section 5",
    )


def _over_length(result: Detection) -> Finding:
    return _gap(
        result,
        "detect_over_length",
        "The tuned lens's trajectories tell more than the prompt's length does",
        (LENGTH, INJECTED),
        "on the tuned lens's trajectories less that on the number of tokens",
    )


def _instruction(result: Detection) -> Finding:
    clear, others = result.other_gaps
    many = f"all {others}" if clear == others else f"{clear} of the {others}"
    return _gap(
        result,
        "detect_instruction",
        "An injected instruction is easier to detect than a harmless sentence in its place",
        (TUNED, HARMLESS),
        "for injected prompts less that for prompts with a harmless sentence, through the tuned lens",
        criterion=f"clearly above 0 in {many} other combinations of lens and detector",
    )


def _over_pairs(result: Detection, ends: np.ndarray) -> Estimate:
    return Estimate.of_ends(ends, len(result.tasks), "pairs")
