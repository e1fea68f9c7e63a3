"""Seeds of one predictor: spread over seeds against numpy, interval over recordings against the summary's."""

from __future__ import annotations

import folders
import numpy as np
import pytest
from scored_rows import Mean, OneEach, Ratio, row, summarised, table, undefined

from vpbench.results.result import load
from vpbench.results.seeds import Seeds, group_seeds, score_seeds, seeds_of
from vpbench.results.tally import Tally

TRAININGS = [Seeds(0, 0), Seeds(1, 0), Seeds(2, 0)]


def score(tables, seeds=TRAININGS, metric=None, steps=(1, 2), recordings=()):
    return score_seeds([Tally(rows) for rows in tables], seeds, metric or Mean(), steps, OneEach(recordings))


def draw(seeds, clips=30, steps=2):
    return np.random.default_rng(0).normal(size=(seeds, clips, steps))


def test_mean_and_spread_are_numpys():
    values = draw(3)
    out = score([table(v.tolist()) for v in values])
    means = values.mean(axis=1)
    for k in range(2):
        assert out.per_step[k].mean == pytest.approx(means[:, k].mean())
        assert out.per_step[k].spread == pytest.approx(means[:, k].std(ddof=1))
    assert out.mean.mean == pytest.approx(values.mean())
    assert out.mean.spread == pytest.approx(means.mean(axis=1).std(ddof=1))
    assert (out.metric, out.better, out.steps, out.clips, out.recordings) == ("err", "lower", (1, 2), 30, 30)


def test_the_interval_is_the_summarys_interval_of_the_mean_over_seeds():
    values = draw(3)
    out = score([table(v.tolist()) for v in values])
    summary = summarised(table(values.mean(axis=0).tolist())).scores["err"]
    for k in range(2):
        assert out.per_step[k].ci95 == pytest.approx(summary.ci95[k], abs=1e-12)


def test_seeds_on_one_recording_have_a_spread_and_no_interval():
    out = score([table([[v, v]]) for v in (1.0, 2.0, 3.0)])
    assert out.mean.spread == 1.0
    assert out.mean.ci95 is None


def test_equal_seeds_have_no_spread_and_the_interval_stays():
    values = draw(1)[0].tolist()
    out = score([table(values)] * 3).mean
    assert out.spread == pytest.approx(0, abs=1e-15)
    assert out.ci95[1] - out.ci95[0] > 0.1


def test_trainings_and_runs_are_two_levels():
    """Two trainings, 0 and 10 on average, whose runs are 1 away from that."""
    seeds = [Seeds(0, 0), Seeds(0, 1), Seeds(1, 0), Seeds(1, 1)]
    out = score([table([[v], [v]]) for v in (-1.0, 1.0, 9.0, 11.0)], seeds, steps=(1,)).mean
    assert out.mean == 5.0
    assert out.training_spread == pytest.approx(np.std([0, 10], ddof=1))
    assert out.run_spread == pytest.approx(np.sqrt(2))
    assert out.spread == pytest.approx(np.std([-1, 1, 9, 11], ddof=1))


def test_one_run_of_each_training_has_no_spread_of_runs_and_the_other_way_round():
    tables = [table([[v], [v]]) for v in (1.0, 2.0)]
    trainings = score(tables, [Seeds(0, 0), Seeds(1, 0)], steps=(1,)).mean
    assert (trainings.training_spread, trainings.run_spread) == (pytest.approx(np.sqrt(0.5)), None)
    runs = score(tables, [Seeds(3, 0), Seeds(3, 1)], steps=(1,)).mean
    assert (runs.training_spread, runs.run_spread) == (None, pytest.approx(np.sqrt(0.5)))
    uneven = [Seeds(0, 0), Seeds(0, 1), Seeds(1, 0)]
    out = score([*tables, table([[7.0], [7.0]])], uneven, steps=(1,)).mean
    assert out.run_spread == pytest.approx(np.sqrt(0.5)), "the training with one run says nothing of runs"


def test_clips_that_a_seed_has_no_value_for_are_left_out_of_all():
    first = [row("a", 1, 1.0), row("b", 1, 3.0)]
    second = [row("a", 1, 2.0), undefined("b", 1, "flat")]
    out = score([first, second], TRAININGS[:2], steps=(1,))
    assert (out.per_step[0].mean, out.clips) == (1.5, 1)


def test_a_step_without_values_is_undefined():
    rows = [undefined("a", 1, "flat"), row("a", 2, 1.0)]
    out = score([rows, rows], TRAININGS[:2])
    assert (out.per_step[0].mean, out.per_step[0].spread, out.mean.mean) == (None, None, None)
    assert out.per_step[1].mean == 1.0


def test_counts_are_pooled_within_a_seed_and_averaged_over_seeds():
    tables = [table([[[1, 2]], [[1, 8]]], "hits"), table([[[2, 2]], [[8, 8]]], "hits")]
    out = score(tables, TRAININGS[:2], Ratio(), steps=(1,))
    assert out.per_step[0].mean == pytest.approx((0.2 + 1.0) / 2)


def trained(root, seed, configuration="a", **changes):
    """A result with the weights of a training."""
    training = {"seed": seed, "steps": 10, "configuration": configuration * 64}
    weights = {"clips": "disjoint", "seen": 0, "sha256": "a", "protocol": "toy", "training": training}
    fields = {"fingerprint": f"{seed}{configuration}", "weights": weights} | changes
    return load(folders.make_result(root, "ours", {"mse": [0.1]}, **fields))


def test_results_of_one_configuration_are_seeds_of_one_predictor(tmp_path):
    results = [trained(tmp_path, 0), trained(tmp_path, 1), trained(tmp_path, 0, "b"), trained(tmp_path, 3)]
    assert group_seeds(results) == [(0, 1, 3)]
    assert group_seeds(results[:2]) == [(0, 1)]
    assert group_seeds([results[0], results[2]]) == []
    assert [seeds_of(result) for result in results[:2]] == [Seeds(0, 0), Seeds(1, 0)]


def test_runs_with_other_samples_are_seeds_and_copies_of_one_seed_are_not(tmp_path):
    runs = [load(folders.make_result(tmp_path, "noisy", {"mse": [0.1]}, seed=k, stochastic=True)) for k in range(2)]
    assert group_seeds(runs) == [(0, 1)]
    twins = [trained(tmp_path, 0), trained(tmp_path, 0, fingerprint="other code")]
    assert group_seeds(twins) == []
    plain = [load(folders.make_result(tmp_path, "plain", {"mse": [0.1]}, seed=k)) for k in range(2)]
    assert group_seeds(plain) == [], "a deterministic predictor has no seeds"
