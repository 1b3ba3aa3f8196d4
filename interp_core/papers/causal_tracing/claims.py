"""The paper's claims beside what was measured, for a model of any depth."""

from __future__ import annotations

from typing import Any

import numpy as np

from interp_core import bootstrap
from interp_core.papers.causal_tracing.average import Average
from interp_core.papers.causal_tracing.scores import EditScores
from interp_core.results import Finding

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


def _estimate(a: Average, value: float, draws: np.ndarray) -> dict[str, Any]:
    low, high = (float(x) for x in bootstrap.interval(draws))
    return {"ours": float(value), "ci": (low, high), "n": len(a.prompts), "of": "facts"}


def _blocks(a: Average, start: float, stop: float) -> np.ndarray:
    """Return which traced layers lie between two depths."""
    depth = a.provenance.model.n_layers
    return (a.layers >= round(start * depth)) & (a.layers < round(stop * depth))


def _total(a: Average) -> Finding:
    draws = (a.counts @ a.total) / a.counts.sum(1)
    return Finding(
        "total_effect",
        "Corrupting the subject takes away the answer: average total effect at least 0.15",
        "0.186 (GPT-2 XL)",
        unit="probability" if a.params.metric == "probability" else a.params.metric,
        holds=bool(a.total.mean() >= 0.15),
        **_estimate(a, a.total.mean(), draws),
    )


def _mlp_over_attention(a: Average) -> Finding:
    mlp, attn = a.row("mlp_out", "last_subject"), a.row("attn_out", "last_subject")
    ratio = a.aie[mlp].max() / a.aie[attn].max()
    draws = a.draws[:, *mlp].max(-1) / a.draws[:, *attn].max(-1)
    return Finding(
        "mlp_over_attention",
        "At the last subject token MLPs matter at least twice as much as attention "
        f"(largest AIE {a.aie[mlp].max():.3f} against {a.aie[attn].max():.3f})",
        "0.066 against 0.016, 4 times (GPT-2 XL)",
        unit="times",
        holds=bool(ratio >= 2),
        **_estimate(a, ratio, draws),
    )


def _peak(a: Average, row: tuple[int, int]) -> dict[str, Any]:
    draws = a.layers[np.nan_to_num(a.draws[:, *row], nan=-np.inf).argmax(-1)]
    return _estimate(a, a.layers[a.aie[row].argmax()], draws)


def _early_peak(a: Average) -> Finding:
    row = a.row("mlp_out", "last_subject")
    layer = int(a.layers[a.aie[row].argmax()])
    end = round(_EARLY * a.provenance.model.n_layers)
    return Finding(
        "early_mlp_site",
        f"The MLPs' effect at the last subject token peaks early (before block {end}; restored "
        f"over {a.params.window} blocks at a time)",
        "block 17 of 48 for MLPs, 15 for states (GPT-2 XL)",
        unit="(block)",
        holds=layer < end,
        **_peak(a, row),
    )


def _late_peak(a: Average) -> Finding:
    row = a.row("attn_out", "last")
    layer = a.aie[row].argmax()
    depth = a.provenance.model.n_layers
    first, end = (round(x * depth) for x in _LATE)
    return Finding(
        "late_attention_site",
        f"Attention's effect at the last token peaks late (blocks {first} to {end - 1})",
        "a late site of attention, right before the prediction",
        unit="(block)",
        holds=bool(_blocks(a, *_LATE)[layer]),
        **_peak(a, row),
    )


def _attention_over_mlp(a: Average) -> Finding:
    attn, mlp = a.row("attn_out", "last"), a.row("mlp_out", "last")
    layer = a.aie[attn].argmax()
    draws = a.draws[:, *attn, layer] - a.draws[:, *mlp, layer]
    return Finding(
        "late_attention_over_mlp",
        f"At the last token and that peak (block {a.layers[layer]}) attention's effect exceeds "
        "the MLPs'",
        "attention is important at the last token",
        unit="probability",
        holds=bool(bootstrap.interval(draws)[0] > 0),
        **_estimate(a, a.aie[attn][layer] - a.aie[mlp][layer], draws),
    )


def _hidden_peak(a: Average) -> Finding:
    row = a.row("resid_post", "last_subject")
    depth = a.provenance.model.n_layers
    middle = _blocks(a, 1 / 4, 2 / 3)
    return Finding(
        "middle_site",
        "The state at the last subject token matters most in the middle blocks "
        f"({round(depth / 4)} to {round(2 * depth / 3) - 1}; largest AIE {a.aie[row].max():.3f})",
        "0.087 at block 15 of 48 (GPT-2 XL)",
        unit="(block)",
        holds=bool(middle[a.aie[row].argmax()]),
        **_peak(a, row),
    )


def _leads(a: Average, other: str) -> Finding:
    blocks = _blocks(a, 0, _SITE)
    last, first = a.row("resid_post", "last_subject"), a.row("resid_post", other)
    lead = (a.aie[last] - a.aie[first])[blocks]
    least = int(np.nan_to_num(lead, nan=np.inf).argmin())
    draws = (a.draws[:, *last] - a.draws[:, *first])[:, blocks][:, least]
    words = other.replace("_", " ")
    return Finding(
        f"last_over_{other}",
        f"The state at the last subject token matters more than at the {words} token in every "
        f"block to {a.layers[blocks][-1]} (smallest lead: block {a.layers[blocks][least]})",
        "the early site is the last subject token",
        unit="probability",
        holds=bool(lead[least] > 0),
        **_estimate(a, lead[least], draws),
    )


def _severed(a: Average) -> Finding:
    whole, mlp, attn = (
        a.row(kind, "last_subject") for kind in ("resid_post", "sever_mlp", "sever_attn")
    )
    early = _blocks(a, 0, _EARLY)
    gap = (a.aie[attn] - a.aie[mlp])[early].mean()
    draws = (a.draws[:, *attn] - a.draws[:, *mlp])[:, early].mean(-1)
    return Finding(
        "severed_mlp",
        "Early states need the MLPs after them: with these held at their corrupted values the "
        "effect is lower than with attention held so (mean over the early blocks; whole "
        f"{a.aie[whole][early].mean():.3f}, attention held {a.aie[attn][early].mean():.3f}, "
        f"MLPs held {a.aie[mlp][early].mean():.3f})",
        "a large drop without MLPs, little without attention (figure 3)",
        unit="probability",
        holds=bool(bootstrap.interval(draws)[0] > 0),
        **_estimate(a, gap, draws),
    )


def of_edits(e: EditScores) -> list[Finding]:
    """Return the claims on editing."""
    common: dict[str, Any] = {"n": len(e.prompts), "of": "facts"}
    after, before = e.prefers[:, 1], e.prefers[:, 0]
    drop = before[:, 2] - after[:, 2]
    change = e.loss[:, 1] - e.loss[:, 0]
    at = f"edit of block {e.layer}"
    return [
        Finding(
            "efficacy",
            f"The new object becomes likelier than the old ({at}; at least 95%)",
            "100% (GPT-2 XL, CounterFact)",
            ours=float(after[:, 0].mean()),
            unit="share",
            ci=e.interval(after[:, 0]),
            holds=bool(after[:, 0].mean() >= 0.95),
            **common,
        ),
        Finding(
            "paraphrase",
            "In paraphrases, too, the new object becomes likelier than the old (at least 80%)",
            "96.4% (GPT-2 XL, CounterFact)",
            ours=float(after[:, 1].mean()),
            unit="share",
            ci=e.interval(after[:, 1]),
            holds=bool(after[:, 1].mean() >= 0.8),
            **common,
        ),
        Finding(
            "neighbourhood",
            "For other subjects the old answer stays likelier than the new object: the share of "
            "prompts where it does falls by at most 10 points "
            f"({before[:, 2].mean():.0%} before, {after[:, 2].mean():.0%} after)",
            "78.1% before, 75.4% after (GPT-2 XL, CounterFact)",
            ours=float(drop.mean()),
            unit="share",
            ci=e.interval(drop),
            holds=bool(drop.mean() <= 0.1),
            **common,
        ),
        Finding(
            "unrelated_text",
            "The loss on unrelated text changes by less than 0.02",
            "fluency is kept",
            ours=float(change.mean()),
            unit="nats a token",
            ci=e.interval(change),
            holds=bool(abs(change.mean()) < 0.02),
            **common,
        ),
        Finding(
            "key_to_value",
            "The edited matrix sends k* to v* (relative gap below 0.001), by a change of rank "
            f"{int(e.rank.max())}",
            "by equation 2",
            ours=float(e.key_gap.max()),
            unit="at most",
            ci=None,
            holds=bool(e.key_gap.max() < 1e-3 and e.rank.max() == 1),
            **common,
        ),
    ]
