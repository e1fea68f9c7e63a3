"""The best sample, the worst sample and the spread have the values that the rows imply."""

from __future__ import annotations

import random

import folders
import pytest
from scored_rows import Mean, Ratio, row, summarised, table, undefined

from vpbench.errors import ResultError
from vpbench.plugin.metric import MetricInfo
from vpbench.results.result import load

#        sample 0     sample 1     sample 2
A = {0: (1.0, 5.0), 1: (2.0, 3.0), 2: (4.0, 4.0)}
B = {0: (6.0, 0.0), 1: (1.0, 9.0), 2: (2.0, 2.0)}


class Higher(Mean):
    info = MetricInfo("err", 1, "higher")


class NearTwo(Mean):
    info = MetricInfo("err", 1, 2.0)


def rows(clips):
    return [
        row(clip, k, value, sample=sample)
        for clip, samples in clips.items()
        for sample, values in samples.items()
        for k, value in enumerate(values, 1)
    ]


def samples(metric=None, clips=None, **options):
    return summarised(rows(clips or {"a": A, "b": B}), {"err": metric or Mean()}, **options).scores["err"].samples


def curve(scores):
    return scores.per_step, scores.mean


def test_the_best_sample_of_a_clip_has_the_best_mean_over_steps():
    scores = samples()
    assert (scores.count, scores.clips) == (3, 2)
    assert curve(scores.best) == ((2.0, 2.5), 2.25)  # samples 1 of a and 2 of b
    assert curve(scores.worst) == ((2.5, 6.5), 4.5)  # samples 2 of a and 1 of b
    assert curve(scores.best_per_step) == ((1.0, 1.5), 1.25)


def test_spread_is_the_mean_standard_deviation_over_samples():
    per_step, mean = curve(samples().spread)
    assert per_step == pytest.approx(((7 / 3) ** 0.5 / 2 + 7**0.5 / 2, 0.5 + (67 / 3) ** 0.5 / 2))
    assert mean == pytest.approx(sum(per_step) / 2)


def test_the_direction_of_the_metric_decides():
    assert curve(samples(Higher()).best) == curve(samples().worst)
    # means of a are 3, 2.5 and 4, those of b 3, 5 and 2
    assert curve(samples(NearTwo()).best) == ((2.0, 2.5), 2.25)


def test_equal_samples_give_the_first():
    assert curve(samples(clips={"a": {0: (1.0, 3.0), 1: (3.0, 1.0)}}).best) == ((1.0, 3.0), 2.0)


def test_the_order_of_rows_does_not_matter():
    shuffled = rows({"a": A, "b": B})
    random.Random(0).shuffle(shuffled)
    assert summarised(shuffled).to_json() == summarised(rows({"a": A, "b": B})).to_json()


def test_counts_are_pooled_over_the_chosen_samples():
    values = {"a": ([1, 10], [3, 4]), "b": ([2, 10], [0, 5])}
    counts = [row(c, 1, v, "hits", sample=s) for c, counted in values.items() for s, v in enumerate(counted)]
    scores = summarised(counts, {"hits": Ratio()}, steps=(1,)).scores["hits"].samples
    assert scores.best.per_step == ((3 + 2) / (4 + 10),)
    assert scores.worst.per_step == ((1 + 0) / (10 + 5),)


def test_a_clip_without_a_value_of_every_sample_is_left_out_at_that_step():
    partly = [r for r in rows({"a": A, "b": B}) if (r["clip"], r["step"], r["sample"]) != ("b", 2, 0)]
    scores = summarised([*partly, undefined("b", 2, "empty", sample=0)]).scores["err"].samples
    assert curve(scores.best) == ((1.5, 3.0), 2.25)  # b: sample 1, by its first step alone
    assert scores.clips == 2


def test_anchored_sampling_has_no_mean():
    assert samples(cumulative=False).best.mean is None


def test_one_sample_adds_no_field():
    assert "samples" not in summarised(table([[1, 2], [3, 4]])).to_json()["scores"]["err"]


def test_a_result_gives_its_samples_or_says_that_there_is_one(tmp_path):
    several = load(folders.make_result(tmp_path, "noisy", {"mse": [0.2]}, samples=2))
    assert several.samples("mse").count == 2
    single = load(folders.make_result(tmp_path, "last", {"mse": [0.2]}))
    with pytest.raises(ResultError, match="one sample per clip: best and worst need several"):
        single.samples("mse")
