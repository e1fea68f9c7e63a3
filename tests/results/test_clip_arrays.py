"""Scores of single clips as arrays: those of the metric, and the same intervals as from rows."""

from __future__ import annotations

import math

import folders
import numpy as np
import pytest

from vpbench.plugin.metric import ClipMean, MetricInfo, PooledCounts
from vpbench.results.clip_arrays import clip_arrays, mean_difference_interval, score_tally
from vpbench.results.compare import compare_means
from vpbench.results.result import load
from vpbench.results.tally import Tally


class Mean(ClipMean):
    info = MetricInfo("mse", revision=1, better="lower")

    def measure(self, comparison):
        raise NotImplementedError


class Counts(PooledCounts):
    info = MetricInfo("mse", revision=1, better="higher")

    def measure(self, comparison):
        raise NotImplementedError

    def ratio(self, counts):
        return {"score": counts[0] / counts[1]}


def rows_of(values, samples=1):
    """Rows of one metric: [clips, steps, samples], None for undefined."""
    for clip, by_step in enumerate(values):
        for step, statistics in enumerate(by_step, 1):
            for sample in range(samples):
                row = {"clip": f"s{clip:03d}@0", "step": step, "metric": "mse", "data": "d", "sample": sample}
                value = statistics[sample]
                status = {"status": "undefined", "reason": "empty"} if value is None else {"status": "ok"}
                yield row | status | {"value": value}


def record(tmp_path, clips=4, steps=2, **settings):
    return load(folders.make_result(tmp_path, "last", {"mse": [0.1] * steps}, clips=clips, **settings)).run


def arrays(run, values, metric=None, samples=1):
    return clip_arrays(Tally(rows_of(values, samples)), {"mse": metric or Mean()}, run)


def test_a_clips_score_is_the_mean_of_its_samples(tmp_path):
    out = arrays(record(tmp_path), [[[1.0, 3.0], [5.0, None]], [[0.0, 0.0], [None, None]]], samples=2)
    assert out.clips == ("s000@0", "s001@0")
    np.testing.assert_array_equal(out.scores["mse"].values, [[2.0, 5.0], [0.0, math.nan]])
    np.testing.assert_array_equal(out.scores["mse"].means, [3.5, 0.0])
    assert not out.averages, "a clip lacks a sample, so clips count differently"


def test_a_pooled_score_is_made_of_the_clips_own_counts(tmp_path):
    out = arrays(record(tmp_path), [[[[1, 2], [2, 2]], [[1, 4], [1, 4]]]], Counts(), samples=2)
    np.testing.assert_array_equal(out.scores["mse"].values, [[0.75, 0.25]])
    assert not out.averages


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("per_recording", [1, 3])
def test_intervals_are_those_of_the_rows(tmp_path, undefined, per_recording):
    run = record(tmp_path, clips=30, steps=3, recordings=lambda i: f"r{30 - i // per_recording:03d}")
    draws = np.random.default_rng(0)
    sides = [draws.normal(size=(30, 3, 1)).tolist() for _ in range(2)]
    if undefined:
        sides[0][4][1], sides[1][8][2] = [None], [None]
    tallies = [Tally(rows_of(side)) for side in sides]
    first, second = (clip_arrays(tally, {"mse": Mean()}, run) for tally in tallies)
    assert first.averages == {"mse"}
    for steps in ((1, 2, 3), (2,)):
        fast = mean_difference_interval(first, second, "mse", steps)
        assert fast == pytest.approx(compare_means(tuple(tallies), Mean(), steps, run.recordings).ci95, rel=1e-9)


def test_one_recording_has_no_interval(tmp_path):
    run = record(tmp_path, recordings=lambda i: "r")
    clips = arrays(run, [[[1.0], [2.0]], [[3.0], [5.0]]])
    assert mean_difference_interval(clips, clips, "mse", (1,)) is None


def test_equal_scores_have_an_interval_of_zero(tmp_path):
    run = record(tmp_path)
    clips = arrays(run, [[[1.0], [2.0]], [[3.0], [5.0]]])
    assert mean_difference_interval(clips, clips, "mse", (1, 2)) == (0.0, 0.0)


def test_scores_of_clips_are_rows_again_without_those_that_are_undefined(tmp_path):
    clips = arrays(record(tmp_path), [[[1.0], [2.0]], [[3.0], [None]]])
    rows = score_tally(clips, "mse").metrics["mse"]
    assert {step: dict(column) for step, column in rows.steps.items()} == {
        1: {("s000@0", 0): 1.0, ("s001@0", 0): 3.0},
        2: {("s000@0", 0): 2.0},
    }
