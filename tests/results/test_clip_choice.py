"""Scores of clips: the words best, median, worst and differ, numbers and ids, on rows of results."""

from __future__ import annotations

import folders
import pytest

from vpbench.errors import ResultError, UsageError
from vpbench.results.clip_choice import (
    choose_clips,
    clip_means,
    clip_rows,
    differing_clips,
    first_metric,
    place_clips,
)
from vpbench.results.result import load


def rows(**values):
    return [
        {"clip": clip, "step": k, "metric": "mse", "value": value}
        for clip, scores in values.items()
        for k, value in enumerate(scores, 1)
    ]


def test_a_clips_mean_is_over_its_defined_numbers():
    table = [
        *rows(a=[1.0, 3.0], b=[2.0, None], c=[None], d=[[1, 2]]),
        {"clip": "a", "step": 1, "metric": "psnr", "value": 9.0},
    ]
    assert clip_means(table, "mse") == {"a": 2.0, "b": 2.0}


@pytest.mark.parametrize(("better", "places"), [("lower", "bac"), ("higher", "cab"), (1.5, "acb")])
def test_places_follow_the_direction_of_the_metric(better, places):
    means = {"a": 2.0, "b": 0.5, "c": 3.0} if better != 1.5 else {"a": 1.5, "b": 9.0, "c": 1.0}
    assert list(place_clips(means, better).values()) == list(places)
    assert list(place_clips(means, better)) == ["best", "median", "worst"]
    assert place_clips({}, better) == {}


def test_equal_clips_are_ordered_by_name_and_the_median_of_four_is_the_second():
    assert place_clips({"d": 1.0, "c": 1.0, "b": 1.0, "a": 1.0}, "lower") == {"best": "a", "median": "b", "worst": "d"}


def test_clips_differ_by_the_range_of_scores():
    first, second, third = {"a": 1.0, "b": 1.0, "c": 5.0}, {"a": 2.0, "b": 5.0, "c": 5.0}, {"a": 9.0, "b": 1.0}
    assert differing_clips([first, second], 2) == ["b", "a"]
    assert differing_clips([first, second, third], 9) == ["a", "b"]
    assert differing_clips([first], 2) == []


@pytest.fixture
def results(tmp_path):
    return [load(folders.make_result(tmp_path, name, {"mse": [0.1, 0.2]}, clips=20)) for name in ("last", "net")]


def test_clips_are_chosen_by_words(results):
    assert choose_clips(results, ["s003@0"]) == ["s003@0"]
    assert choose_clips(results, ["2", "s003@0"]) == ["s000@0", "s003@0", "s010@0"]
    assert choose_clips(results, ["worst", "best"]) == ["s001@0", "s018@0"]
    assert choose_clips(results, ["median"]) == choose_clips(results, ["median", "median"])
    assert len(choose_clips(results, ["99"])) == 20
    assert choose_clips(results, ["differ"], "mse") == ["s000@0"]


@pytest.mark.parametrize(
    ("words", "metric", "count", "error", "text"),
    [
        (["s03@0"], "", 2, ResultError, "has no clip 's03@0'; did you mean"),
        (["bestt"], "", 2, ResultError, "did you mean 'best'"),
        (["0"], "", 2, ResultError, "has no clip '0'"),
        (["best"], "psnr", 2, UsageError, "no scores of 'psnr' by clip"),
        (["differ"], "", 1, UsageError, "need several results"),
    ],
)
def test_what_names_no_clip_is_refused(results, words, metric, count, error, text):
    with pytest.raises(error, match=text):
        choose_clips(results[:count], words, metric)


def test_a_word_that_leads_to_no_clip_is_refused(tmp_path):
    result = load(folders.make_result(tmp_path, "last", {"mse": [None]}))
    with pytest.raises(ResultError, match="no scores of clips for best, worst: name clips by their ids"):
        choose_clips([result], ["best", "worst"])


def test_rows_of_a_clip_are_those_of_its_unit(results, tmp_path):
    assert {(row["clip"], row["step"]) for row in clip_rows(results[0], "s017@0")} == {("s017@0", 1), ("s017@0", 2)}
    with pytest.raises(ResultError, match="has no clip 's099@0'"):
        clip_rows(results[0], "s099@0")
    part = load(folders.make_result(tmp_path / "part", "last", {"mse": [0.1]}, clips=20, units=[0]))
    assert clip_rows(part, "s017@0") == []


def test_a_result_without_scores_of_clips_has_no_best(tmp_path):
    result = load(folders.make_result(tmp_path, "last", {"psnr": [1.0]}))
    assert first_metric(result) == "psnr"
    result.run.metrics.clear()
    with pytest.raises(UsageError, match="none is best: name clips by their ids"):
        first_metric(result)
