"""The paper's claims on edits beside what was measured."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate, means, share
from interp_core.findings import Bar, Finding, at_least, at_most
from interp_core.papers.causal_tracing.scores import SWEPT, EditScores

_LIKELIER, _MOST = at_least(0.8), at_least(0.5)


def of_edits(e: EditScores) -> list[Finding]:
    """Return the claims on editing, on facts by which the edited block was not picked."""
    kept = e.held_out
    others = f", facts after the first {SWEPT}, by which the block was picked"
    of = f"block {e.layer}" + others * bool(kept.start)
    return [
        *_prefers(e.prefers[kept, 1], of),
        *_says(e.top[kept, 1], of),
        _neighbourhood(e.prefers[kept, :, 2], of),
        _unrelated(e.loss[kept, 1] - e.loss[kept, 0], of),
        _key_to_value(e),
    ]


def _share(
    id: str,
    claim: str,
    paper: str,
    hits: np.ndarray,
    bar: Bar,
    of: str,
    measure: str,
    place: str = "",
) -> Finding:
    """Return a claim on a share of prompts; ``hits`` [fact] is each fact's own."""
    made = share(hits, "facts")
    return Finding.measured(
        id, claim, paper, made, "share", bar=bar, criterion=of, measure=measure, place=place
    )


def _prefers(after: np.ndarray, of: str) -> list[Finding]:
    """Return CounterFact's scores, which compare two probabilities; ``after`` is [fact, role]."""
    return [
        _share(
            "efficacy",
            "The target object becomes likelier than the old answer",
            "100% (GPT-2 XL, CounterFact)",
            after[:, 0],
            _LIKELIER,
            of,
            "share of edits after which P(new object) > P(old answer)",
            "table 4",
        ),
        _share(
            "paraphrase",
            "In paraphrases, too, the target object becomes likelier than the old answer",
            "96.4% (GPT-2 XL, CounterFact)",
            after[:, 1],
            _LIKELIER,
            of,
            "share of a fact's paraphrases where P(new object) > P(old answer), mean over facts",
            "table 4",
        ),
    ]


def _says(after: np.ndarray, of: str) -> list[Finding]:
    """Return what the edited model says; ``after`` is [fact, role]."""
    return [
        _share(
            "efficacy_top",
            "After most edits the model's next token is that of the target object",
            "not given",
            after[:, 0],
            _MOST,
            of,
            "share of edits after which the likeliest next token is the new object's first",
        ),
        _share(
            "paraphrase_top",
            "In most paraphrases, too, the model's next token is that of the target object",
            "not given",
            after[:, 1],
            _MOST,
            of,
            "share of a fact's paraphrases where the likeliest next token is the new object's first, mean over facts",
        ),
    ]


def _neighbourhood(keeps: np.ndarray, of: str) -> Finding:
    """Return whether other subjects keep their answer; ``keeps`` is [fact, before/after]."""
    before, after = keeps.mean(0)
    return Finding.measured(
        "neighbourhood",
        "For other subjects the old answer stays likelier than the target object",
        "78.1% before, 75.4% after (GPT-2 XL, CounterFact)",
        Estimate.of_ends(means(keeps[:, 0] - keeps[:, 1]), len(keeps), "facts"),
        "share",
        bar=at_most(0.1),
        criterion=f"{before:.0%} before, {after:.0%} after; {of}",
        measure="fall of the share of a fact's neighbours where P(old answer) > P(new object), before less "
        "after, mean over facts",
        place="table 4",
    )


def _unrelated(change: np.ndarray, of: str) -> Finding:
    return Finding.measured(
        "unrelated_text",
        "Unrelated text keeps its loss",
        "fluency is kept",
        Estimate.of_ends(means(change), len(change), "facts"),
        "nats a token",
        bar=Bar(-0.02, 0.02),
        criterion=of,
        measure="change of the mean loss on passages of the project's own, mean over edits",
        place="table 4, by other measures",
    )


def _key_to_value(e: EditScores) -> Finding:
    gap = Estimate(float(e.key_gap.max()), len(e.prompts), "facts")
    return Finding.measured(
        "key_to_value",
        "The edited matrix sends k* to v* by a change of rank 1",
        "by equation 2",
        gap,
        "at most",
        holds=gap.value < 1e-3 and e.rank.max() == 1,
        criterion=f"below 0.001, and rank 1 (here {int(e.rank.max())})",
        measure="largest |W' k* - v*| / |v*| over edits",
        place="equation 2",
        check=True,
    )
