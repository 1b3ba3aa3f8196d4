"""Trainings from several seeds: what is abrupt, what is kept of each run, and which claims it bears out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_induction_training import PAPER, small, synthetic  # noqa: F401

from interp_core import exports
from interp_core.findings import Finding
from interp_core.papers.induction_heads import figures_seeds
from interp_core.papers.induction_heads.compute import seeds as compute_seeds
from interp_core.papers.induction_heads.compute import train
from interp_core.papers.induction_heads.dynamics import change
from interp_core.papers.induction_heads.seeds import Seeds, SeedsParams
from interp_core.papers.induction_heads.training import Training, TrainingParams
from interp_core.params import ParameterError
from interp_core.question import run
from interp_core.runtime import on_compute_thread

STEPS = np.arange(0, 1501, 25)
HIGH, LOW = math.log(64), 0.9


def falling(done: np.ndarray) -> np.ndarray:
    """Return a loss by how much of its fall is done, [checkpoint], 0 to 1."""
    return HIGH - (HIGH - LOW) * done


def logistic(middle: float, scale: float) -> np.ndarray:
    return falling(1 / (1 + np.exp(-(STEPS - middle) / scale)))


class TestAbrupt:
    """A plateau and then most of the fall within a tenth of training, and nothing else."""

    @pytest.mark.parametrize("tau", [25, 50, 100, 200, 350, 500])
    def test_exponentials_are_not(self, tau):
        assert not change(STEPS, falling(1 - np.exp(-STEPS / tau))).abrupt

    @pytest.mark.parametrize("offset", [1, 25, 100])
    def test_a_loss_linear_in_log_step_is_not(self, offset):
        done = np.log1p(STEPS / offset)
        assert not change(STEPS, falling(done / done[-1])).abrupt

    def test_a_line_and_a_slow_change_are_not(self):
        assert not change(STEPS, falling(STEPS / 1500)).abrupt
        assert not change(STEPS, logistic(750, 150)).abrupt

    @pytest.mark.parametrize("start", [0, 25, 100])
    def test_a_fall_without_a_plateau_is_not(self, start):
        assert not change(STEPS, falling(np.clip((STEPS - start) / 100, 0, 1))).abrupt

    def test_a_fall_half_of_which_came_before_is_not(self):
        early = 0.4 * np.clip(STEPS / 800, 0, 1)
        assert not change(STEPS, falling(early + 0.6 * (STEPS > 900))).abrupt

    @pytest.mark.parametrize("start", [150, 500, 1300])
    def test_a_plateau_and_a_fall_are(self, start):
        found = change(STEPS, falling(np.clip((STEPS - start) / 100, 0, 1)))
        assert found.abrupt and (found.start, found.end) == (start, start + 100)
        assert found.fall == found.whole == pytest.approx(HIGH - LOW) and found.before == 0

    def test_an_exponential_after_a_plateau_is(self):
        assert change(STEPS, falling(1 - np.exp(-np.maximum(STEPS - 500, 0) / 100))).abrupt

    def test_a_small_fall_is_not(self):
        assert not change(STEPS, HIGH - 1.4 * (STEPS > 700)).abrupt

    def test_few_checkpoints_are_enough(self):
        assert change(np.array([0, 20, 40, 50]), np.array([4, 4, 1, 1])).abrupt


def seeds_of(monkeypatch: pytest.MonkeyPatch, *each: Training) -> Seeds:
    """Return the result that trainings make, one for each seed."""
    by_seed = dict(enumerate(each, start=1))
    monkeypatch.setattr(compute_seeds, "obtain", lambda _, asked: by_seed[asked.seed])
    params = SeedsParams(toys=each[0].models, runs=len(each))
    return on_compute_thread(compute_seeds.compute)(params)


def findings(result: Seeds) -> dict[str, Finding]:
    return {finding.id: finding for finding in result.findings}


def shifted(by: float) -> dict[str, float]:
    return {name: middle + by for name, middle in PAPER.items()}


def paper_like(count: int = 5, **given: float) -> list[Training]:
    return [synthetic(shifted(25 * i), **given) for i in range(count)]


def test_the_papers_curves_hold_in_five_runs_and_are_undecided_in_four_of_five(monkeypatch):
    found = findings(seeds_of(monkeypatch, *paper_like()))
    assert len(found) == 5 and all(each.holds for each in found.values())
    assert {each.n for each in found.values()} == {5}
    assert found["phase_change_2"].ours == 1 and found["phase_change_2"].ci[0] > 0.5
    assert found["smeared_keys"].ours == pytest.approx(600, abs=30)
    odd = synthetic({"1": 800, "2": math.inf, "3": math.inf, "1-smeared": math.inf})
    less = findings(seeds_of(monkeypatch, *paper_like(4), odd))
    assert less["phase_change_2"].ours == less["one_layer"].ours == 0.8
    assert {less[name].holds for name in ("phase_change_2", "phase_change_3", "one_layer")} == {
        None
    }


def test_other_curves_do_not_hold(monkeypatch):
    slow = {"2": 750.0, "3": math.inf, "1-smeared": 900.0}
    found = findings(seeds_of(monkeypatch, *[synthetic(slow, width=400)] * 5))
    assert "one_layer" not in found
    assert {found[name].holds for name in ("phase_change_2", "phase_change_3")} == {False}
    assert found["smeared_keys"].holds is False
    learned = {"1": 800.0, "2": math.inf, "1-smeared": 200.0}
    assert findings(seeds_of(monkeypatch, *[synthetic(learned)] * 5))["one_layer"].holds is False


def test_smeared_keys_need_heads_and_not_only_a_lead(monkeypatch):
    headless = findings(seeds_of(monkeypatch, *paper_like(top=0.05)))
    assert headless["smeared_keys"].ours > 0 and headless["smeared_keys"].holds is False
    assert headless["phase_change_2"].holds is False and headless["one_layer"].holds


def test_heads_that_form_at_another_time_do_not_count(monkeypatch):
    runs = paper_like()
    for each in runs:
        each.prefix_matching[1, :10, 1, 1] = 0.3  # it was there before
    found = findings(seeds_of(monkeypatch, *runs))
    assert found["phase_change_2"].holds is False and found["phase_change_3"].holds
    assert "abrupt in 5, heads form in the window in 0 of 5" in found["phase_change_2"].criterion


def test_composition_that_rises_for_other_heads_too_is_none(monkeypatch):
    runs = paper_like()
    assert findings(seeds_of(monkeypatch, *runs))["k_composition"].holds
    for each in runs:
        each.k_composition[1, :, 0, 3, 1, 1] = each.k_composition[1, :, 0, 2, 1, 1] + 0.1
    found = findings(seeds_of(monkeypatch, *runs))["k_composition"]
    assert found.ours == 0 and found.holds is False


def test_one_layers_score_without_heads_is_told(monkeypatch):
    runs = paper_like()
    for i, each in enumerate(runs):
        each.in_context[0] = -0.9 - 0.02 * i
        assert each.circuit("1") is None
    said = findings(seeds_of(monkeypatch, *runs))["one_layer"].criterion
    assert "-0.98 to -0.90 nats, of 2 layers -2.00" in said


def test_every_run_is_kept_and_taken_from_there(small, monkeypatch):  # noqa: F811
    params = SeedsParams(toys=("2", "1"), steps=50, runs=2, seed=3)
    result = run(None, params)
    assert result.models == ("1", "2") and result.seeds == (3, 4)
    assert result.second_copy_loss.shape == (2, 2, 6) and np.isfinite(result.in_context).all()
    assert (result.circuits[0] == -1).all() and (result.circuits[1, :, 2] == 1).all()
    assert (result.second_copy_loss[:, 0] != result.second_copy_loss[:, 1]).any()
    alone = run(None, TrainingParams(toys=("1", "2"), steps=50, seed=4))
    np.testing.assert_array_equal(result.second_copy_loss[:, 1], alone.second_copy_loss)
    pair = result.pair_composition[1, 1]
    np.testing.assert_allclose(pair, alone.composition[1], atol=1e-3)
    assert np.isnan(result.pair_composition[0]).all()
    back = Seeds.from_bytes(result.to_bytes())
    np.testing.assert_array_equal(back.composition, result.composition)
    monkeypatch.setattr(train, "course", lambda *_: pytest.fail("it was trained again"))
    again = run(None, params)
    np.testing.assert_array_equal(again.second_copy_loss, result.second_copy_loss)
    assert len(result.findings) == 3
    assert {each.holds for each in result.findings} <= {None, False}  # two runs bear out nothing


def test_more_runs_than_ten_and_less_than_two_are_refused():
    for runs in (1, 11):
        with pytest.raises(ParameterError, match="runs"):
            SeedsParams(runs=runs)


def test_figures_and_tables_show_every_run(monkeypatch):
    result = seeds_of(monkeypatch, *paper_like())
    assert len(result.frames["runs"]) == 4 * 5 * 61
    chart = figures_seeds.runs(result)
    spec = chart.to_dict()  # validates
    assert len(spec["vconcat"]) == 3 and "seeds 1 to 5" in spec["description"]
    assert b"<svg" in exports.svg(chart, "dark")
    table = figures_seeds.changes(result)
    abrupt = table[table["abrupt"] == "yes"].groupby("model").size()
    assert len(table) == 20 and abrupt["2 layers"] == abrupt["3 layers"] == 5
    said = figures_seeds.sentence(result)
    assert "2 layers: 5 of 5 (steepest from step" in said and "1 layer: 0 of 5 (heads in 0" in said
