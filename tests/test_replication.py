"""Claims of all papers, on two models, and measured again."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from interp_core import cli, replication
from interp_core.findings import Finding
from interp_core.models.info import DEFAULT, UNTRAINED
from interp_core.models.info import SECOND as OTHER
from interp_core.params import ParameterError
from interp_core.registry import PAPERS
from interp_core.replication import Again, findings, named

EVERY = replication.every()


@pytest.mark.parametrize("paper", PAPERS.values(), ids=list(PAPERS))
def test_every_headline_ships_and_every_claim_says_how_it_was_decided(paper):
    found = [claim.first for claim in EVERY if claim.paper is paper]
    assert len(found) >= 4
    for finding in found:
        assert finding.measure and (finding.criterion or finding.check), finding.id
        assert finding.n > 0 and finding.of not in ("positions", "heads"), finding.id
        low, high = finding.ci or (finding.ours, finding.ours)
        assert low - 0.01 <= finding.ours <= high + 0.01, (
            finding.id
        )  # resamples near -1 or 1 differ


SECOND = [paper for paper in PAPERS.values() if paper.second]


@pytest.mark.parametrize("paper", SECOND, ids=[paper.name for paper in SECOND])
def test_claims_ship_for_a_second_model(paper):
    assert len(SECOND) >= 5
    own, other = (set(findings(paper, model)) for model in (DEFAULT, OTHER))
    assert other and len(other & own) >= len(other) / 2


def test_claims_that_hold_of_untrained_weights_are_told_apart():
    lens, heads, tracing = (
        findings(PAPERS[name], UNTRAINED)
        for name in ("logit-lens", "induction-heads", "causal-tracing")
    )
    # The architecture's, not learnt.
    assert lens["agreement_late"].holds and lens["kl_monotone"].holds
    assert tracing["early_mlp_site"].holds and tracing["severed_mlp"].holds
    assert tracing["late_attention_site"].holds is False and tracing["total_effect"].holds is False
    assert heads["induction_heads"].holds is False and heads["copy_loss"].holds is False
    assert all(c.untrained is None for c in EVERY if "efficacy" in c.name)


OURS = (
    "by definition",
    "no figure",
    "no such",
    "not claimed",
    "not compared",
    "not given",
    "assumed",
)
"""How a claim's paper is told that does not make it."""


def test_claims_say_what_is_measured_what_decides_and_where_the_paper_says_it():
    for claim in EVERY:
        finding = claim.first
        assert finding.paper and finding.measure and finding.n and finding.of, claim.name
        assert re.search(r"\(bars?: ", finding.criterion) or finding.check, claim.name
        assert finding.place or finding.paper.startswith(OURS), claim.name


def test_intervals_hold_their_values():
    for claim in EVERY:
        for finding in filter(None, (claim.first, claim.second, claim.untrained)):
            low, high = finding.ci or (finding.ours, finding.ours)
            assert low <= finding.ours <= high, claim.name


def test_claims_have_names_of_their_own():
    names = [claim.name for claim in EVERY]
    assert len(set(names)) == len(names)
    for paper in PAPERS.values():
        for asked in paper.measured_on.values():
            ids = [f.id for params in asked for f in replication.stored(params).own_findings]
            assert len(set(ids)) == len(ids), sorted(ids)


def test_a_claim_is_named_with_its_paper_or_alone():
    assert named("causal-tracing/efficacy").first == named("efficacy").first
    with pytest.raises(ParameterError, match="'efficacious' is not accepted; accepted: logit-lens"):
        named("efficacious")


@pytest.fixture(scope="module")
def measured(model):
    """The heads of the default model, measured again."""
    return replication._measured(named("copy_loss").params)


def test_a_claim_is_the_same_within_its_tolerance(measured, monkeypatch, capsys):
    claim = named("induction-heads/copy_loss")
    monkeypatch.setattr(replication, "_measured", lambda _: measured)
    assert cli.main(["reproduce", claim.name]) == 0
    assert capsys.readouterr().out.startswith(f"same: {claim.name}: ")
    moved = dataclasses.replace(claim.first, ours=claim.first.ours + 2 * claim.first.tolerance)
    moved = dataclasses.replace(claim, first=moved)
    monkeypatch.setattr(replication, "claims", lambda paper: iter([moved][: paper is claim.paper]))
    assert cli.main(["reproduce", "--all"]) == 1
    assert capsys.readouterr().out.startswith(f"differs: {claim.name}: ")


def test_a_model_that_is_not_there_is_said():
    (found,) = replication.again([named("copy_loss")], model="/no/such/model")
    assert found.answer == "not measured" and "/no/such/model" in found.why


def test_nothing_is_kept_of_what_is_measured_again(measured):
    kept = replication.stored(measured.params)
    assert kept.provenance != measured.provenance
    np.testing.assert_allclose(kept.scores, measured.scores, atol=1e-3)


def test_what_cannot_be_measured_says_why(monkeypatch):
    def refuse(*_, **__):
        raise ParameterError("tokens: accepted: at most 64")

    monkeypatch.setattr(replication, "run", refuse)
    (found,) = replication.again([named("copy_loss")])
    assert (found.answer, found.now) == ("not measured", None)
    assert str(found).endswith("copy_loss: tokens: accepted: at most 64")


def test_a_claim_without_an_interval_has_a_tolerance():
    finding = Finding("a", "A", "B", 20.0, "layers", None, True, 1, "runs")
    assert finding.tolerance == 1
    assert dataclasses.replace(finding, ours=3.0).tolerance == 1
    assert dataclasses.replace(finding, ours=0.4, unit="nats").tolerance == pytest.approx(0.02)
    assert isinstance(Again(EVERY[0], "same", finding).__str__(), str)


@pytest.mark.parametrize("words", [[], ["efficacy", "--all"], ["no-such-claim"]])
def test_what_is_asked_wrongly_is_refused_in_a_line(words, capsys):
    assert cli.main(["reproduce", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
