"""Best of n against n: brute force over all subsets, and its two ends, the mean and the best of N."""

from __future__ import annotations

import itertools
import random

import folders
import pytest
from scored_rows import Mean, row, summarised

from vpbench.errors import ResultError
from vpbench.results.best_of import best_of_each
from vpbench.results.result import load

STEPS, SAMPLES = (1, 2, 3), 5


def frames(clips=4, seed=0):
    draw = random.Random(seed).random
    return {step: {(f"c{clip}", s): draw() for clip in range(clips) for s in range(SAMPLES)} for step in STEPS}


def brute(values, size, sign):
    """The mean over all subsets of the values of the sample that is best by its mean over steps, clip by clip."""
    sums = dict.fromkeys(STEPS, 0.0)
    clips = sorted({clip for clip, _ in values[1]})
    for clip in clips:
        subsets = list(itertools.combinations(range(SAMPLES), size))
        for subset in subsets:
            best = min(subset, key=lambda sample: sign * sum(values[step][clip, sample] for step in STEPS))
            for step in STEPS:
                sums[step] += values[step][clip, best] / len(subsets) / len(clips)
    return [sums[step] for step in STEPS]


@pytest.mark.parametrize(("better", "sign"), [("lower", 1), ("higher", -1)])
def test_each_size_is_the_expectation_over_all_subsets(better, sign):
    values = frames()
    curves = best_of_each(values, STEPS, SAMPLES, better, cumulative=True)
    assert len(curves) == SAMPLES
    for size, curve in enumerate(curves, 1):
        expected = brute(values, size, sign)
        assert curve.per_step == pytest.approx(expected, rel=1e-12)
        assert curve.mean == pytest.approx(sum(expected) / 3, rel=1e-12)
    means = [sign * curve.mean for curve in curves]
    assert means == sorted(means, reverse=True)


def test_the_best_of_one_is_the_mean_and_the_best_of_all_the_best():
    values = frames()
    rows = [row(clip, step, value, sample=s) for step in STEPS for (clip, s), value in values[step].items()]
    score = summarised(rows, {"err": Mean()}, steps=STEPS).scores["err"]
    first, *_, last = best_of_each(values, STEPS, SAMPLES, "lower", cumulative=True)
    assert first.per_step == pytest.approx(score.per_step, rel=1e-12)
    assert last == score.samples.best


def test_a_clip_without_every_sample_is_left_out_at_that_step():
    values = frames(clips=2)
    del values[2]["c0", 3]
    partial = {step: {key: value for key, value in values[step].items() if key[0] == "c1"} for step in STEPS}
    curves, expected = (best_of_each(v, STEPS, SAMPLES, "lower", cumulative=True) for v in (values, partial))
    assert [curve.per_step[1] for curve in curves] == [curve.per_step[1] for curve in expected]
    assert curves[2].per_step[0] != expected[2].per_step[0]
    nothing = best_of_each({1: values[1]}, STEPS, SAMPLES, "lower", cumulative=False)[0]
    assert nothing.per_step[1:] == (None, None) and nothing.mean is None


def test_many_samples_neither_overflow_nor_drift():
    values = {1: {("c", s): float(s) for s in range(1000)}}
    curves = best_of_each(values, (1,), 1000, "lower", cumulative=True)
    for size in (1, 2, 500, 999, 1000):
        assert curves[size - 1].mean == pytest.approx((1000 - size) / (size + 1), abs=1e-9)  # order statistics


def test_a_result_gives_its_curves_or_says_why_not(tmp_path):
    several = load(folders.make_result(tmp_path, "noisy", {"mse": [0.2, 0.4]}, samples=3))
    curves = several.best_of("mse")
    assert [curve.mean for curve in curves] == pytest.approx([several.summary.scores["mse"].mean] * 3)
    with pytest.raises(ResultError, match="one sample per clip"):
        load(folders.make_result(tmp_path, "last", {"mse": [0.2]})).best_of("mse")
    score = several.summary.scores["mse"]
    score.__dict__["per_step"] = (0.3, 0.4)
    with pytest.raises(ResultError, match="no best of n by mse: its score is not a mean over frames"):
        several.best_of("mse")
