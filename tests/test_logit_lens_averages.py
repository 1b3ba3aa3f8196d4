"""The logit lens over many prompts and over text: what is summed, and what decides claims."""

from __future__ import annotations

import numpy as np
import pytest

from interp_core.corpus import load
from interp_core.papers import logit_lens
from interp_core.papers.logit_lens import Averages, Params, PromptsParams
from interp_core.papers.logit_lens.compute import tokens
from interp_core.papers.logit_lens.prompts import CONTEXT, largest_rise, prompts, summarise
from interp_core.params import ParameterError

BLOCKS, POSITIONS = 12, 9


@pytest.fixture(scope="module")
def llama(tiny):
    return tiny("llama")


def averages(model, **asked) -> Averages:
    return logit_lens.run(model, PromptsParams(**asked), findings=False)


@pytest.fixture(scope="module")
def of_prompts(llama) -> Averages:
    return averages(llama)


def test_sums_are_those_of_each_prompt(llama, of_prompts):
    assert of_prompts.n_prompts == len(prompts()) == 60
    lengths = [len(llama.tokenizer.prompt(each["prompt"])) for each in prompts()]
    whole = [row for row, length in enumerate(lengths) if length <= llama.info.context]
    assert len(whole) >= 2 and max(lengths) > llama.info.context
    for row in (whole[0], whole[-1]):
        lens = logit_lens.run(llama, Params(prompt=prompts()[row]["prompt"]), findings=False)
        read = slice(1, None)
        assert of_prompts.positions[row] == lens.kl[:, read].shape[1]
        by_hand = {
            "kl": lens.kl,
            "entropy": lens.entropy,
            "agreement": lens.rank[:, :, 0] == 0,
            "input_share": lens.top_ids[:, :, 0] == np.array(lens.provenance.token_ids),
        }
        for name, cells in by_hand.items():
            sums = cells[:, read].sum(1)
            np.testing.assert_allclose(getattr(of_prompts, name)[row], sums, rtol=1e-4, atol=1e-3)
        assert of_prompts.crystallisation[row] == lens.crystallised[read][-1]


def test_tables_hold_means_over_positions_and_count_prompts(of_prompts):
    table = of_prompts.tables()["averages"].set_index(["statistic", "layer"])
    assert (table["n"] == of_prompts.n_prompts).all()
    means = of_prompts.kl.sum(0) / of_prompts.positions.sum()
    np.testing.assert_allclose(table.loc["kl", "value"], means)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    last = of_prompts.layers[-1]
    assert table.loc[("agreement", last), "value"] == 1
    assert table.loc[("kl", last), "value"] == pytest.approx(0, abs=1e-5)


def test_documents_are_read_as_the_tuned_lens_reads_them(llama):
    found = averages(llama, text="prose")
    tokenizer, length = llama.tokenizer, min(CONTEXT, llama.info.context)
    front = tokenizer.front("auto", auto="document")
    whole = [len(front) + len(tokenizer.encode(text, bos=False)) for text in load("prose")]
    assert found.positions.tolist() == [min(each, length) - 1 for each in whole]
    assert found.of == "documents" and found.summary["documents"] == len(whole)
    first = load("prose")[0]
    assert tokens(tokenizer, Params(prompt=first))  # the text is one that the tokenizer reads
    assert found.params.text == "prose"
    assert {finding.of for finding in found.own_findings} == {"documents"}
    assert all(f.id.endswith("_prose") and "(prose)" in f.claim for f in found.own_findings)


def test_a_result_comes_back_as_it_was(of_prompts):
    again = Averages.from_bytes(of_prompts.to_bytes())
    assert again.frames["averages"].equals(of_prompts.frames["averages"])
    assert again.own_findings == of_prompts.own_findings


def test_positions_that_leave_nothing_are_refused(llama):
    cells = [made_up(np.zeros(BLOCKS + 1), n) for n in range(3)]
    with pytest.raises(ParameterError, match="skip_first: fewer than two prompts"):
        summarise(PromptsParams(skip_first=POSITIONS), cells, None)


# Claims of made-up measurements


def made_up(kl: np.ndarray, seed: int, noise: float = 0.0, **changes) -> dict[str, np.ndarray]:
    """Return what is measured of a prompt whose KL [layer] is given, but for noise."""
    shape = (BLOCKS + 1, POSITIONS)
    drawn = np.random.default_rng(seed).normal(0, 1, shape)
    rank = np.zeros(shape, int)
    rank[:9] = 3  # settles in the last third
    is_input = np.zeros(shape, bool)
    is_input[0] = True
    return {
        "kl": kl[:, None] + noise * drawn,
        "entropy": np.ones(shape),
        "rank": rank,
        "is_input": is_input,
        "output_gap": np.zeros(POSITIONS),
        "attribution_gap": np.zeros(POSITIONS),
        **changes,
    }


def verdicts(cells, provenance, **asked) -> dict[str, bool | None]:
    found = summarise(PromptsParams(**asked), cells, provenance)
    return {finding.id: finding.holds for finding in found.own_findings}


FALLS = np.linspace(12, 0, BLOCKS + 1)
RISES = FALLS + np.where(np.arange(BLOCKS + 1) == 5, 3, 0)
FLAT = np.zeros(BLOCKS + 1)


def test_kl_that_falls_rises_or_stays(of_prompts):
    def monotone(kl: np.ndarray, seeds: range, noise: float) -> bool | None:
        cells = [made_up(kl, n, noise) for n in seeds]
        return verdicts(cells, of_prompts.provenance)["kl_monotone"]

    assert monotone(FALLS, range(30), 1) is True
    assert monotone(RISES, range(30), 1) is False
    flat = [monotone(FLAT, range(30 * n, 30 * n + 30), 1) for n in range(10)]
    assert flat.count(None) >= 8, "noise alone neither falls nor rises"


def test_one_prompt_decides_nothing(of_prompts):
    one = [made_up(RISES * 10 if n == 3 else FALLS, n, 0.1) for n in range(30)]
    assert verdicts(one, of_prompts.provenance)["kl_monotone"] is not False


def test_claims_that_hold_and_fail_as_they_are_planted(of_prompts):
    good = [made_up(FALLS, n, 0.1) for n in range(20)]
    found = verdicts(good, of_prompts.provenance)
    assert all(found.values()) and len(found) == 9
    assert set(verdicts(good, of_prompts.provenance, text="code")) == {
        f"{name}_code" for name in found if name != "crystallisation"
    }
    late = np.full((BLOCKS + 1, POSITIONS), 50)
    late[-1] = 0
    read = np.zeros((BLOCKS + 1, POSITIONS), bool)
    read[4] = True
    broken = {"output_gap": np.full(POSITIONS, 0.1), "attribution_gap": np.full(POSITIONS, 0.1)}
    bad = [made_up(RISES, n, 0.1, rank=late, is_input=read, **broken) for n in range(20)]
    found = verdicts(bad, of_prompts.provenance)
    assert found.pop("crystallisation") is True, "it settles at the end"
    assert set(found.values()) == {False}


def test_the_largest_rise_of_a_rank_is_read_on_the_other_half():
    rng = np.random.default_rng(0)

    def ranks(bump: int) -> list[np.ndarray]:
        level = np.array([100, 40, 30, 20 + bump, 10, 0])[:, None]
        return [level + rng.integers(0, 5, (6, 20)) for _ in range(24)]

    value, low, high = largest_rise(ranks(60), 0)
    assert low <= value <= high and value == pytest.approx(50, abs=3) and low > 40
    assert largest_rise(ranks(0), 0)[2] < 0
    falling = ranks(0)
    falling[2] = ranks(500)[0]
    assert largest_rise(falling, 0)[2] < 0, "a rise in one prompt is none of the median"
