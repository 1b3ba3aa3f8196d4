"""The paper's claims beside what was measured, for a model of any depth."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate
from interp_core.findings import Finding
from interp_core.papers.causal_tracing.average import Average
from interp_core.papers.causal_tracing.scores import EditScores

_EARLY, _SITE, _LATE = 13 / 30, 19 / 30, (17 / 30, 25 / 30)
"""Depths, as shares of the blocks: where the early site ends, up to where the last subject token
leads, and between which the late site lies."""


def of_average(a: Average) -> list[Finding]:
    """Return the claims that the traced kinds allow to be tested."""
    if a.params.metric == "kl":
        return []  # the claims are about how likely the answer is
    kinds = set(a.params.kinds)
    found = [_total(a)]
    if {"mlp_out", "attn_out"} <= kinds:
        found += [_mlp_over_attention(a), _early_peak(a), _late_peak(a), _attention_over_mlp(a)]
    if "resid_post" in kinds:
        found += [_hidden_peak(a), _leads(a, "first_subject"), _leads(a, "first_subsequent")]
    if {"resid_post", "sever_mlp", "sever_attn"} <= kinds:
        found.append(_severed(a))
    return found


def _blocks(a: Average, start: float, stop: float) -> np.ndarray:
    """Return which traced layers lie between two depths."""
    depth = a.provenance.model.n_layers
    return (a.layers >= round(start * depth)) & (a.layers < round(stop * depth))


def _total(a: Average) -> Finding:
    return Finding.measured(
        "total_effect",
        "Corrupting the subject takes away the answer",
        "0.186 (GPT-2 XL)",
        a.resample.mean(a.total),
        "probability" if a.params.metric == "probability" else a.params.metric,
        holds=a.total.mean() >= 0.15,
        criterion="average total effect at least 0.15",
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
        holds=ratio >= 2,
        criterion=f"largest AIE at least twice as large (here {a.aie[mlp].max():.3f} and "
        f"{a.aie[attn].max():.3f})",
    )


def _peak(a: Average, row: tuple[int, int]) -> Estimate:
    draws = a.layers[np.nan_to_num(a.draws[:, *row], nan=-np.inf).argmax(-1)]
    return a.resample.estimate(a.layers[a.aie[row].argmax()], draws)


def _early_peak(a: Average) -> Finding:
    row = a.row("mlp_out", "last_subject")
    layer = int(a.layers[a.aie[row].argmax()])
    end = round(_EARLY * a.provenance.model.n_layers)
    return Finding.measured(
        "early_mlp_site",
        "The MLPs' effect at the last subject token peaks early",
        "block 17 of 48 for MLPs, 15 for states (GPT-2 XL)",
        _peak(a, row),
        "(layer)",
        holds=layer < end,
        criterion=f"largest AIE before layer {end}, restored over {a.params.window} layers at a time",
    )


def _late_peak(a: Average) -> Finding:
    row = a.row("attn_out", "last")
    layer = a.aie[row].argmax()
    depth = a.provenance.model.n_layers
    first, end = (round(x * depth) for x in _LATE)
    return Finding.measured(
        "late_attention_site",
        "Attention's effect at the last token peaks late",
        "a late site of attention, right before the prediction",
        _peak(a, row),
        "(layer)",
        holds=_blocks(a, *_LATE)[layer],
        criterion=f"largest AIE in layers {first} to {end - 1}",
    )


def _attention_over_mlp(a: Average) -> Finding:
    attn, mlp = a.row("attn_out", "last"), a.row("mlp_out", "last")
    layer = a.aie[attn].argmax()
    draws = a.draws[:, *attn, layer] - a.draws[:, *mlp, layer]
    lead = a.resample.estimate(a.aie[attn][layer] - a.aie[mlp][layer], draws)
    return Finding.measured(
        "late_attention_over_mlp",
        "At that peak attention's effect on the last token exceeds the MLPs'",
        "attention is important at the last token",
        lead,
        "probability",
        holds=lead.low > 0,
        criterion=f"AIE of attention less that of the MLPs at layer {a.layers[layer]}, its interval above 0",
    )


def _hidden_peak(a: Average) -> Finding:
    row = a.row("resid_post", "last_subject")
    depth = a.provenance.model.n_layers
    middle = _blocks(a, 1 / 4, 2 / 3)
    return Finding.measured(
        "middle_site",
        "The residual stream at the last subject token matters most in the middle layers",
        "0.087 at block 15 of 48 (GPT-2 XL)",
        _peak(a, row),
        "(layer)",
        holds=middle[a.aie[row].argmax()],
        criterion=f"largest AIE (here {a.aie[row].max():.3f}) in layers {round(depth / 4)} to "
        f"{round(2 * depth / 3) - 1}",
    )


def _leads(a: Average, other: str) -> Finding:
    blocks = _blocks(a, 0, _SITE)
    last, first = a.row("resid_post", "last_subject"), a.row("resid_post", other)
    lead = (a.aie[last] - a.aie[first])[blocks]
    least = int(np.nan_to_num(lead, nan=np.inf).argmin())
    draws = (a.draws[:, *last] - a.draws[:, *first])[:, blocks][:, least]
    words = other.replace("_", " ")
    return Finding.measured(
        f"last_over_{other}",
        f"The residual stream matters more at the last subject token than at the {words} token",
        "the early site is the last subject token",
        a.resample.estimate(lead[least], draws),
        "probability",
        holds=lead[least] > 0,
        criterion=f"larger AIE in every layer to {a.layers[blocks][-1]} (smallest lead: layer "
        f"{a.layers[blocks][least]})",
    )


def _severed(a: Average) -> Finding:
    whole, mlp, attn = (
        a.row(kind, "last_subject") for kind in ("resid_post", "sever_mlp", "sever_attn")
    )
    early = _blocks(a, 0, _EARLY)
    draws = (a.draws[:, *attn] - a.draws[:, *mlp])[:, early].mean(-1)
    gap = a.resample.estimate((a.aie[attn] - a.aie[mlp])[early].mean(), draws)
    return Finding.measured(
        "severed_mlp",
        "Early states act through the MLPs after them",
        "a large drop without MLPs, little without attention (figure 3)",
        gap,
        "probability",
        holds=gap.low > 0,
        criterion="AIE with attention severed less that with MLPs severed, mean over early layers, its "
        f"interval above 0 (whole {a.aie[whole][early].mean():.3f}, severed attention "
        f"{a.aie[attn][early].mean():.3f}, MLPs {a.aie[mlp][early].mean():.3f})",
    )


def of_edits(e: EditScores) -> list[Finding]:
    """Return the claims on editing."""
    after, before = e.prefers[:, 1], e.prefers[:, 0]
    efficacy, paraphrase = (e.resample.mean(after[:, role]) for role in (0, 1))
    drop = e.resample.mean(before[:, 2] - after[:, 2])
    change = e.resample.mean(e.loss[:, 1] - e.loss[:, 0])
    gap = Estimate(float(e.key_gap.max()), len(e.prompts), "facts")
    return [
        Finding.measured(
            "efficacy",
            "The target object becomes likelier than the old answer",
            "100% (GPT-2 XL, CounterFact)",
            efficacy,
            "share",
            holds=efficacy.value >= 0.95,
            criterion=f"in at least 95% of edits of layer {e.layer}",
        ),
        Finding.measured(
            "paraphrase",
            "In paraphrases, too, the target object becomes likelier than the old answer",
            "96.4% (GPT-2 XL, CounterFact)",
            paraphrase,
            "share",
            holds=paraphrase.value >= 0.8,
            criterion="in at least 80% of paraphrases",
        ),
        Finding.measured(
            "neighbourhood",
            "For other subjects the old answer stays likelier than the target object",
            "78.1% before, 75.4% after (GPT-2 XL, CounterFact)",
            drop,
            "share",
            holds=drop.value <= 0.1,
            criterion="the share of prompts where it does falls by at most 10 points "
            f"({before[:, 2].mean():.0%} before, {after[:, 2].mean():.0%} after)",
        ),
        Finding.measured(
            "unrelated_text",
            "Unrelated text keeps its loss",
            "fluency is kept",
            change,
            "nats a token",
            holds=abs(change.value) < 0.02,
            criterion="a change of less than 0.02",
        ),
        Finding.measured(
            "key_to_value",
            "The edited matrix sends k* to v* by a change of rank 1",
            "by equation 2",
            gap,
            "at most",
            holds=gap.value < 1e-3 and e.rank.max() == 1,
            criterion=f"relative gap below 0.001, rank 1 (here {int(e.rank.max())})",
        ),
    ]
