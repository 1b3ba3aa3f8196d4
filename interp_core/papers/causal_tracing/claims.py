"""The paper's claims on tracing beside what was measured, for a model of any depth."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate, picked
from interp_core.findings import Bar, Finding, at_least, at_most
from interp_core.papers.causal_tracing.average import Average
from interp_core.papers.causal_tracing.params import ALONE, Kind

_EARLY, _MIDDLE, _SITE, _LATE = 13 / 30, (1 / 4, 2 / 3), 19 / 30, (17 / 30, 25 / 30)
"""Depths, as shares of the blocks: where the early site ends, what the middle is, up to where the last
subject token leads, and between which the late site lies."""
_ALONE = at_least(0.25)
"""What of a window's effect one block has to have for the site not to be the window's."""


def of_average(a: Average) -> list[Finding]:
    """Return the claims that the traced kinds allow to be tested.

    A branch at its site alone allows none: it was traced to see what another window makes of it.
    """
    if a.params.metric != "probability":
        return []  # the paper's claims, and their bars, are about the answer's probability
    kinds, halves = set(a.params.kinds), len(a.prompts) > 1
    found = [] if kinds <= set(ALONE) else [_total(a)]
    if {"mlp_out", "attn_out"} <= kinds:
        found += [_mlp_over_attention(a), _early_peak(a), _late_peak(a)]
        found += [_attention_over_mlp(a), *_single_blocks(a)] if halves else []
        found += _single_attention(a)
    if "resid_post" in kinds:
        found.append(_hidden_peak(a))
        found += [_leads(a)] if halves and _blocks(a, 0, _SITE).any() else []
    if {"resid_post", "sever_mlp", "sever_attn"} <= kinds and _blocks(a, 0, _EARLY).any():
        found.append(_severed(a))
    return found


def _between(a: Average, start: float, stop: float) -> Bar:
    """Return a bar for layers that lie between two depths."""
    depth = a.provenance.model.n_layers
    return Bar(round(start * depth), round(stop * depth) - 1)


def _blocks(a: Average, start: float, stop: float) -> np.ndarray:
    """Return which traced layers lie between two depths."""
    bar = _between(a, start, stop)
    return (a.layers >= bar.low) & (a.layers <= bar.high)


def _unit(a: Average) -> str:
    return a.params.metric.replace("_", " ")


def _of_layers(a: Average) -> str:
    """Return the unit of a layer: depths of models compare as shares of theirs."""
    return f"(of {a.provenance.model.n_layers} layers)"


def _windows(a: Average) -> str:
    return f"MLPs and attention are restored over {a.params.window} blocks at a time"


def _total(a: Average) -> Finding:
    return Finding.measured(
        "total_effect",
        "Corrupting the subject takes away the answer",
        "0.186 (GPT-2 XL)",
        a.resample.mean(a.total),
        _unit(a),
        bar=at_least(0.15),
        measure=f"{_unit(a)} of the answer, clean less corrupted, mean over facts",
        place="section 2.2",
    )


def _mlp_over_attention(a: Average) -> Finding:
    mlp, attn = a.row("mlp_out", "last_subject"), a.row("attn_out", "last_subject")
    ratio = a.aie[mlp].max() / a.aie[attn].max()
    draws = a.draws[:, *mlp].max(-1) / a.draws[:, *attn].max(-1)
    return Finding.measured(
        "mlp_over_attention",
        "At the last subject token MLPs matter more than attention",
        "0.066 against 0.016, 4 times (GPT-2 XL)",
        a.resample.estimate(ratio, draws),
        "times",
        bar=at_least(2),
        criterion=f"here {a.aie[mlp].max():.3g} and {a.aie[attn].max():.3g}; {_windows(a)}",
        measure="largest AIE over layers of the MLPs by that of attention, at the last subject token; "
        "both layers are picked again in each resample of facts",
        place="section 2.2",
    )


def _peak(a: Average, row: tuple[int, int]) -> Estimate:
    """Return the layer of the largest AIE; it is found again in each resample of facts."""
    draws = a.layers[np.nan_to_num(a.draws[:, *row], nan=-np.inf).argmax(-1)]
    return a.resample.estimate(a.layers[a.aie[row].argmax()], draws)


def _early_peak(a: Average) -> Finding:
    return Finding.measured(
        "early_mlp_site",
        f"With a window of {a.params.window} blocks, the MLPs' effect at the last subject token peaks early",
        "around block 15 of 48 (GPT-2 XL)",
        _peak(a, a.row("mlp_out", "last_subject")),
        _of_layers(a),
        bar=at_most(_between(a, 0, _EARLY).high),
        measure="layer in the middle of the window with the largest AIE",
        place="section 2.2",
    )


def _late_peak(a: Average) -> Finding:
    return Finding.measured(
        "late_attention_site",
        "Attention's effect at the last token peaks late",
        "a late site of attention, right before the prediction",
        _peak(a, a.row("attn_out", "last")),
        _of_layers(a),
        bar=_between(a, *_LATE),
        criterion=_windows(a),
        measure="layer in the middle of the window with the largest AIE",
        place="section 2.2",
    )


def _attention_over_mlp(a: Average) -> Finding:
    attn, mlp = (a.effect[:, *a.row(kind, "last")] for kind in ("attn_out", "mlp_out"))
    lead = picked(attn - mlp, by=attn)
    return Finding.measured(
        "late_attention_over_mlp",
        "At that peak attention's effect on the last token exceeds the MLPs'",
        "attention is important at the last token",
        Estimate.of_ends(lead, len(a.prompts), "facts"),
        _unit(a),
        bar=at_least(0),
        criterion=_windows(a),
        measure="indirect effect of attention less that of the MLPs, mean over facts, at the layer where "
        "attention's is largest on the other half of the facts",
        place="section 2.2",
    )


def _hidden_peak(a: Average) -> Finding:
    row = a.row("resid_post", "last_subject")
    return Finding.measured(
        "middle_site",
        "The residual stream at the last subject token matters most in the middle layers",
        "0.087 at block 15 of 48 (GPT-2 XL)",
        _peak(a, row),
        _of_layers(a),
        bar=_between(a, *_MIDDLE),
        criterion=f"the largest AIE is {a.aie[row].max():.3g} here",
        measure="layer of the largest AIE",
        place="section 2.2",
    )


def _leads(a: Average) -> Finding:
    """Compare the last subject token with those beside it, on facts that have all three."""
    others = ("first_subject", "first_subsequent")
    blocks = _blocks(a, 0, _SITE)
    last, *beside = (
        a.effect[:, *a.row("resid_post", each)][:, blocks] for each in ("last_subject", *others)
    )
    have = (a.cells[:, [a.row("resid_post", each)[1] for each in others]] > 0).all(1)
    leads = np.concatenate([last - other for other in beside], axis=1)[have]
    return Finding.measured(
        "last_over_neighbours",
        "The residual stream matters more at the last subject token than at the first, and than at the "
        "token after the subject",
        "the early site is the last subject token",
        Estimate.of_ends(picked(leads, np.argmin), len(leads), "facts"),
        _unit(a),
        bar=at_least(0),
        measure=f"smallest lead in indirect effect over the two tokens and the layers to {a.layers[blocks][-1]}, "
        "mean over facts, where it is smallest on the other half of the facts",
        place="section 2.2",
    )


def _severed(a: Average) -> Finding:
    early = _blocks(a, 0, _EARLY)
    whole, mlp, attn = (
        a.effect[:, *a.row(kind, "last_subject")][:, early].mean(1)
        for kind in ("resid_post", "sever_mlp", "sever_attn")
    )
    return Finding.measured(
        "severed_mlp",
        "Early states act through the MLPs after them, more than through attention",
        "a large drop without MLPs, little without attention",
        a.resample.mean(attn - mlp),
        _unit(a),
        bar=at_least(0),
        criterion=f"whole {whole.mean():.3g}, attention severed {attn.mean():.3g}, MLPs severed {mlp.mean():.3g}",
        measure="indirect effect at the last subject token with attention severed less that with MLPs "
        f"severed, mean over the layers to {a.layers[early][-1]} and over facts",
        place="figure 3",
    )


def _share_of_window(a: Average, single: Average, kind: Kind, blocks: slice) -> Estimate:
    """Return the largest AIE of a single block as a share of the largest with a window; both are picked anew in resamples."""
    row, alone = (each.alone(kind) for each in (a, single))
    value = single.aie[alone][blocks].max() / a.aie[row].max()
    draws = single.draws[:, *alone, blocks].max(-1) / a.draws[:, *row].max(-1)
    return a.resample.estimate(value, draws)


def _single_attention(a: Average) -> list[Finding]:
    """Return what the late site is without a window, where single blocks were restored too."""
    single = a.windows("attn_last").get(1)
    if single is None or a.params.window == 1:
        return []
    row, alone = (each.aie[each.alone("attn_last")] for each in (a, single))
    return [
        Finding.measured(
            "single_attention",
            "The late site is there when the attention of single blocks is restored",
            "not claimed: windows of 10 blocks",
            _share_of_window(a, single, "attn_last", slice(None)),
            "share",
            bar=_ALONE,
            criterion=f"largest AIE of a single block's attention: {alone.max():.3g}, at block {a.layers[alone.argmax()]}; with a "
            f"window of {a.params.window}: {row.max():.3g}",
            measure="largest AIE of one block's attention at the last token, as a share of the largest with a "
            "window; both blocks are picked again in each resample of facts",
        )
    ]


def _single_blocks(a: Average) -> list[Finding]:
    """Return what the early site is without a window, where single blocks were restored too."""
    single = a.windows().get(1)
    if single is None or a.params.window == 1 or len(a.layers) < 2 or a.layers[0] != 0:
        return []
    row, alone = (each.alone("mlp_subject") for each in (a, single))
    early = max(2, int(_blocks(single, 0, _EARLY).sum()))
    whole, later = a.aie[row].max(), single.aie[alone][1:early]
    effect = single.effect[:, *alone]
    lead = picked(effect[:, :1] - effect[:, 1:], np.argmin)
    first = float(single.aie[alone][0])
    return [
        Finding.measured(
            "single_blocks",
            "The early site is there when single blocks after the first are restored",
            "not claimed: windows of 10 blocks",
            _share_of_window(a, single, "mlp_subject", slice(1, early)),
            "share",
            bar=_ALONE,
            criterion=f"largest AIE of a single MLP from block {a.layers[1]} to {a.layers[early - 1]}: {later.max():.3g}, at block "
            f"{a.layers[1:early][later.argmax()]}; with a window of {a.params.window}: {whole:.3g}",
            measure="largest AIE of one block's MLP, block 0 left out, as a share of the largest with a window; "
            "both blocks are picked again in each resample of facts",
        ),
        Finding.measured(
            "first_block",
            "Of single MLPs, the first block's brings back the most of the answer",
            "not claimed: windows of 10 blocks",
            Estimate.of_ends(lead, len(a.prompts), "facts"),
            _unit(a),
            bar=at_least(0),
            criterion=f"AIE of the first block's MLP alone: {first:.3g}; of a window of {a.params.window} around "
            f"it: {a.aie[row][0]:.3g}",
            measure="indirect effect of block 0's MLP at the last subject token less that of the later block "
            "whose is largest on the other half of the facts, mean over facts",
        ),
    ]
