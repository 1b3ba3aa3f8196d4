"""The paper's claims beside what was measured of a lens on held-out text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interp_core.estimates import Estimate, jackknife, picked, ratios
from interp_core.findings import OURS, THEIRS, Bar, Finding, at_least, at_most, every
from interp_core.papers.tuned_lens.evaluation import BIAS_ONLY, LOGIT, TUNED, Evaluation
from interp_core.papers.tuned_lens.transfer import Transfer

_TWO_THIRDS, _MIDDLE = 2 / 3, 1 / 2
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Depths between which KL is compared; they were fixed before anything was measured."""
ABOVE = at_least(0)


def claims(result: Evaluation) -> list[Finding]:
    """Return every claim with its measurement, over documents; none for a lens of some layers."""
    if len(_trained(result)) < len(result.layers) - 1:
        return []
    found = [_lower(result), _halved(result), *_falls(result), _unbiased(result), _depth(result)]
    return [*found, _between(result)] if _all_layers_beside(result) else found


def _all_layers_beside(result: Evaluation) -> bool:
    """Return whether a lens of biases alone stands beside it, with a bias at each of its layers."""
    if BIAS_ONLY not in result.lenses:
        return False
    logit, bias = (result.kl[result.lenses.index(lens)] for lens in (LOGIT, BIAS_ONLY))
    return bool((logit != bias)[_trained(result)].any(1).all())


def _on(result: Evaluation | Transfer) -> str:
    return f" ({result.params.text})"


def _trained(result: Evaluation) -> np.ndarray:
    """Return the rows of the layers that have a translator."""
    return np.flatnonzero(np.isfinite(result.translators[:, 0]))


def hold(verdicts: Sequence[bool | None], n: int) -> Estimate:
    """Return at how many layers a claim holds, measured over ``n`` documents."""
    return Estimate(float(sum(each is True for each in verdicts)), n, "documents")


def _over(result: Evaluation | Transfer, ends: np.ndarray) -> Estimate:
    return Estimate.of_ends(ends, len(result.positions), "documents")


def _rows(result: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Return [layer, document] sums of KL through the logit lens, and through the tuned one."""
    at = [result.lenses.index(lens) for lens in (LOGIT, TUNED)]
    return result.kl[at[0]], result.kl[at[1]]


def _lower(result: Evaluation) -> Finding:
    logit, tuned = _rows(result)
    rows = _trained(result)
    below = ABOVE.of_ends(ratios((logit - tuned)[rows], result.positions))
    return Finding.measured(
        f"lower_{result.params.text}",
        f"The tuned lens is closer to the output than the logit lens at every layer{_on(result)}",
        "at every layer, Pythia 70M to 12B and GPT-NeoX-20B",
        hold(below, len(result.positions)),
        f"of {len(rows)} layers",
        holds=every(below),
        measure="layers at which KL through the logit lens less that through the tuned lens is above 0",
        criterion=f"every layer (bar: {THEIRS})",
        place="paper's section 3",
    )


def _halved(result: Evaluation) -> Finding:
    logit, tuned = _rows(result)
    rows = [row for row in _trained(result) if row <= result.row(_TWO_THIRDS)]
    # Half of the logit lens's less the tuned one's is linear in both, so its interval is simple.
    halved = ABOVE.of_ends(ratios((0.5 * logit - tuned)[rows], result.positions))
    return Finding.measured(
        f"halved_{result.params.text}",
        f"The tuned lens at least halves the divergence in the first two thirds of the layers{_on(result)}",
        "no figure given",
        hold(halved, len(result.positions)),
        f"of {len(rows)} layers",
        holds=every(halved),
        measure="layers at which half of the KL through the logit lens less that through the tuned lens is above 0",
        criterion=f"every layer (bar: {OURS})",
    )


def _falls(result: Evaluation) -> list[Finding]:
    logit, tuned = _rows(result)
    if len(result.layers) < 2 * len(_QUARTERS):
        return []
    falls, not_steadily = (
        "KL falls with depth through the tuned lens",
        "KL does not fall steadily through the logit lens",
    )
    return [
        _step(result, TUNED, tuned, falls, "smooth, at every model", at_most(0)),
        _step(result, LOGIT, logit, not_steadily, "erratic on several models", ABOVE),
    ]


def _step(
    result: Evaluation, lens: str, sums: np.ndarray, claim: str, paper: str, bar: Bar
) -> Finding:
    """Hold the largest step of KL [layer, document] between quarters of the model against a bar."""
    # From block 0 to the last that has a translator: the output's KL is 0 by definition.
    rows = [1 + round(depth * (len(result.layers) - 3)) for depth in _QUARTERS]
    steps = np.diff((sums[rows] / result.positions).T, axis=1)
    names = ", ".join(str(result.layers[row]) for row in rows)
    return Finding.measured(
        f"falls_{lens}_{result.params.text}",
        f"{claim}{_on(result)}",
        paper,
        _over(result, picked(steps)),
        "nats",
        bar=bar,
        measure=f"largest step of KL between layers {names}, which is picked on one half of the documents and read "
        "on the other",
        place="paper's section 3",
    )


def _unbiased(result: Evaluation) -> Finding:
    row = result.row(_MIDDLE)
    at = [result.lenses.index(lens) for lens in (LOGIT, TUNED)]
    share = jackknife(result.marginal[at[1], row] / result.marginal[at[0], row])
    logit, tuned = result.marginal[at, row, 0]
    return Finding.measured(
        f"unbiased_{result.params.text}",
        f"The tuned lens is far less biased than the logit lens{_on(result)}",
        "KL of the marginals 4 to 5 bits for the logit lens at most layers of GPT-Neo 2.7B, about 0 tuned",
        _over(result, share),
        "share",
        bar=at_most(0.25),
        measure="KL between the mean output and the mean readout through the tuned lens, over that through the logit "
        f"lens, at layer {result.layers[row]} (interval over folds of documents)",
        criterion=f"{tuned:.2f} nats of {logit:.2f} ({tuned / np.log(2):.1f} bits of {logit / np.log(2):.1f})",
        place="paper's section 3",
    )


def _depth(result: Evaluation) -> Finding:
    at = [result.lenses.index(lens) for lens in (LOGIT, TUNED)]
    gap = ratios(result.depth[at[0]] - result.depth[at[1]], result.positions)
    return Finding.measured(
        f"depth_{result.params.text}",
        f"Predictions settle earlier through the tuned lens{_on(result)}",
        "prediction depths are smaller",
        _over(result, gap),
        "layers",
        holds=every(ABOVE.of_ends(gap)),
        measure="mean prediction depth through the logit lens less that through the tuned lens",
        criterion=ABOVE.words("layers"),
        place="paper's section 5",
    )


def _between(result: Evaluation) -> Finding:
    logit, tuned = _rows(result)
    bias, rows = result.kl[result.lenses.index(BIAS_ONLY)], _trained(result)
    above, below = (
        ABOVE.of_ends(ratios(gap[rows], result.positions)) for gap in (bias - tuned, logit - bias)
    )
    both = [every(pair) for pair in zip(above, below, strict=True)]
    share = ((logit - bias)[rows].sum(1) / (logit - tuned)[rows].sum(1)).mean()
    return Finding.measured(
        f"between_{result.params.text}",
        f"A lens of biases alone lies between the logit lens and the tuned lens{_on(result)}",
        "no figure given",
        hold(both, len(result.positions)),
        f"of {len(rows)} layers",
        holds=every(both),
        measure="layers at which KL is lower than the logit lens's and higher than the tuned lens's",
        criterion=f"every layer (bar: {OURS}); {share:.0%} of the tuned lens's gain, "
        "mean over layers",
    )


def neighbours(result: Transfer) -> Finding | None:
    """Return whether translators read near layers better than far ones."""
    far = 10
    if (result.layers >= 0).sum() <= far or result.layers[0] != -1:
        return None
    near, away = (result.at_distance(distance)[0] for distance in (1, far))
    return Finding.measured(
        f"transfer_{result.params.text}",
        f"A translator reads a neighbouring layer nearly as well as that layer's own{_on(result)}",
        "small penalties between neighbours",
        _over(result, result.relative(1)),
        "share",
        bar=at_most(0.1),
        measure="mean penalty in KL of a translator one block away, over the mean KL of the blocks' own",
        criterion=f"{near:.2f} nats; {far} blocks away {away:.2f}",
        place="paper's section 3",
    )
