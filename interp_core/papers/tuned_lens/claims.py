"""The paper's claims beside what was measured of a lens on held-out text."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate, jackknife, ratios
from interp_core.findings import Finding
from interp_core.papers.tuned_lens.evaluation import BIAS_ONLY, LOGIT, TUNED, Evaluation
from interp_core.papers.tuned_lens.transfer import Transfer

_TWO_THIRDS, _MIDDLE = 2 / 3, 1 / 2
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Depths between which KL is compared; they were fixed before anything was measured."""


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


def _count(result: Evaluation, holds: np.ndarray) -> Estimate:
    return Estimate(float(holds.sum()), len(result.positions), "documents")


def _rows(result: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Return [layer, document] sums of KL through the logit lens, and through the tuned one."""
    at = [result.lenses.index(lens) for lens in (LOGIT, TUNED)]
    return result.kl[at[0]], result.kl[at[1]]


def _lower(result: Evaluation) -> Finding:
    logit, tuned = _rows(result)
    rows = _trained(result)
    gap = ratios((logit - tuned)[rows], result.positions)
    below = gap[:, 1] > 0
    return Finding.measured(
        f"lower_{result.params.text}",
        f"The tuned lens is closer to the output than the logit lens at every layer{_on(result)}",
        "at every layer, Pythia 70M to 12B and GPT-NeoX-20B",
        _count(result, below),
        f"of {len(rows)} layers",
        holds=bool(below.all()),
        criterion="KL lower at each layer, the interval of each difference clear of 0",
    )


def _halved(result: Evaluation) -> Finding:
    logit, tuned = _rows(result)
    rows = [row for row in _trained(result) if row <= result.row(_TWO_THIRDS)]
    # Half of the logit lens's less the tuned one's is linear in both, so its interval is simple.
    gap = ratios((0.5 * logit - tuned)[rows], result.positions)
    halved = gap[:, 1] > 0
    return Finding.measured(
        f"halved_{result.params.text}",
        f"The tuned lens at least halves the divergence in the first two thirds of the layers{_on(result)}",
        "no figure given; the bar is ours",
        _count(result, halved),
        f"of {len(rows)} layers",
        holds=bool(halved.all()),
        criterion="KL at most half at each layer, the whole interval",
    )


def _falls(result: Evaluation) -> list[Finding]:
    logit, tuned = _rows(result)
    if len(result.layers) < 2 * len(_QUARTERS):
        return []
    return [
        _fall(
            result,
            TUNED,
            tuned,
            "KL falls with depth through the tuned lens",
            "smooth, at every model",
            expected=True,
        ),
        _fall(
            result,
            LOGIT,
            logit,
            "KL does not fall steadily through the logit lens",
            "erratic on several models",
            expected=False,
        ),
    ]


def _fall(
    result: Evaluation, lens: str, sums: np.ndarray, claim: str, paper: str, *, expected: bool
) -> Finding:
    """Compare KL [layer, document] between the quarters of the model, and with what is expected."""
    # From block 0 to the last that has a translator: the output's KL is 0 by definition.
    rows = [1 + round(depth * (len(result.layers) - 3)) for depth in _QUARTERS]
    steps = ratios(sums[rows[1:]] - sums[rows[:-1]], result.positions)
    falls, rises = steps[:, 2] < 0, steps[:, 1] > 0
    names = ", ".join(str(result.layers[row]) for row in rows)
    return Finding.measured(
        f"falls_{lens}_{result.params.text}",
        f"{claim}{_on(result)}",
        paper,
        _count(result, falls if expected else rises),
        f"of {len(steps)} steps {'fall' if expected else 'rise'}",
        holds=bool(falls.all()) if expected else bool(rises.any()),
        criterion=f"between layers {names} "
        + ("each step's interval lies below 0" if expected else "a step's interval lies above 0"),
    )


def _unbiased(result: Evaluation) -> Finding:
    row = result.row(_MIDDLE)
    at = [result.lenses.index(lens) for lens in (LOGIT, TUNED)]
    share = jackknife(result.marginal[at[1], row] / result.marginal[at[0], row])
    logit, tuned = result.marginal[at, row, 0] / np.log(2)
    return Finding.measured(
        f"unbiased_{result.params.text}",
        f"The tuned lens is far less biased than the logit lens{_on(result)}",
        "KL of the marginals 4 to 5 bits for the logit lens at most layers of GPT-Neo 2.7B, about 0 tuned",
        Estimate.of_ends(share, len(result.positions), "documents"),
        f"of the logit lens's KL of the marginals: {tuned:.1f} bits of {logit:.1f}",
        holds=share[2] < 0.25,
        criterion=f"under a quarter at layer {result.layers[row]}, the whole interval (folds of documents)",
    )


def _depth(result: Evaluation) -> Finding:
    at = [result.lenses.index(lens) for lens in (LOGIT, TUNED)]
    gap = ratios(result.depth[at[0]] - result.depth[at[1]], result.positions)
    return Finding.measured(
        f"depth_{result.params.text}",
        f"Predictions settle earlier through the tuned lens{_on(result)}",
        "prediction depths are smaller",
        Estimate.of_ends(gap, len(result.positions), "documents"),
        "layers earlier",
        holds=gap[1] > 0,
        criterion="mean prediction depth lower, the whole interval of the difference",
    )


def _between(result: Evaluation) -> Finding:
    logit, tuned = _rows(result)
    bias, rows = result.kl[result.lenses.index(BIAS_ONLY)], _trained(result)
    above, below = (
        ratios(gap[rows], result.positions)[:, 1] > 0 for gap in (bias - tuned, logit - bias)
    )
    share = ((logit - bias)[rows].sum(1) / (logit - tuned)[rows].sum(1)).mean()
    return Finding.measured(
        f"between_{result.params.text}",
        f"A lens of biases alone lies between the logit lens and the tuned lens{_on(result)}",
        "no figure given; the bar is ours",
        _count(result, above & below),
        f"of {len(rows)} layers",
        holds=bool((above & below).all()),
        criterion="KL lower than the logit lens's and higher than the tuned lens's at each layer, the intervals of "
        f"both differences clear of 0 ({share:.0%} of the tuned lens's gain, mean over layers)",
    )


def neighbours(result: Transfer) -> Finding | None:
    """Return whether translators read near layers better than far ones."""
    far = 10
    if (result.layers >= 0).sum() <= far or result.layers[0] != -1:
        return None
    near, away = result.at_distance(1), result.at_distance(far)
    own = np.diagonal(result.kl[1:, 1:]).sum() / (result.positions.sum() * (len(result.layers) - 1))
    return Finding.measured(
        "transfer",
        f"A translator reads a neighbouring layer nearly as well as that layer's own{_on(result)}",
        "small penalties between neighbours",
        Estimate.of_ends(near, len(result.positions), "documents"),
        "nats",
        holds=near[2] < own / 10,
        criterion=f"mean penalty one layer away, with its interval, under a tenth of the mean KL ({own:.2f} nats; "
        f"{far} layers away: {away[0]:.2f} [{away[1]:.2f}, {away[2]:.2f}])",
    )
