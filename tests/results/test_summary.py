"""From rows to scores: known answers, an independent computation, and no dependence on order."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_rows import Mean, Ratio, row, summarised, table, undefined

from vpbench.results import estimates as module
from vpbench.results.estimates import RESAMPLES
from vpbench.results.summarise import summary_text


def test_a_summary_by_hand():
    out = summarised([*table([[1.0, 3.0], [2.0, 5.0]]), row("c002", 1, 6.0), undefined("c002", 2, "flat")])
    score = out.scores["err"]
    assert (score.per_step, score.mean_to, score.mean) == ((3.0, 4.0), (3.0, 3.5), 3.5)
    assert (score.clips, score.undefined, score.notes, score.details) == (3, {"flat": 1}, {}, ())
    assert (score.recordings, score.data) == (3, out.data)
    assert out.model_dump(by_alias=True, exclude={"scores", "data"}) == {
        "schema": 3, "identity": "id", "steps": (1, 2), "partial": False, "partial_reason": "", "clips": 3,
        "recordings": 3, "context": "", "clamped_frames": 0, "skipped": {},
    }  # fmt: skip


def test_scores_equal_an_independent_computation():
    values = np.random.default_rng(0).normal(size=(50, 7))
    score = summarised(table(values.tolist()), steps=tuple(range(1, 8))).scores["err"]
    assert score.per_step == pytest.approx(values.mean(0), abs=1e-15)
    assert score.mean_to == pytest.approx([values[:, :k].mean() for k in range(1, 8)], abs=1e-15)


def test_an_interval_of_few_clips_against_every_resample_there_is():
    values = [0.0, 1.0, 10.0]
    means = [sum(draw) / 3 for draw in itertools.product(values, repeat=3)]
    ((low, high),) = summarised(table([[v] for v in values]), steps=(1,)).scores["err"].ci95
    assert low == np.quantile(means, 0.025, method="inverted_cdf") == 0
    assert high == np.quantile(means, 0.975, method="inverted_cdf") == 10


def test_the_draws_are_the_same_for_ever_and_for_any_block(monkeypatch):
    """Raw bits of Philox with a fixed key, modulo the number of recordings."""
    raw = np.random.Philox(key=20_210_619).random_raw(RESAMPLES * 7).reshape(RESAMPLES, 7) % 7
    whole = np.concatenate(list(module.draw_recordings(7)))
    monkeypatch.setattr(module, "_BLOCK", 7 * 33)
    blocks = list(module.draw_recordings(7))
    assert len(blocks) > 1
    assert np.array_equal(whole, raw) and np.array_equal(np.concatenate(blocks), raw)


def test_pooled_counts_are_pooled_and_resampled_by_clip():
    rows = table([[[1, 2]], [[0, 8]], [[5, 10]]], metric="hits")
    score = summarised(rows, {"hits": Ratio()}, steps=(1,)).scores["hits"]
    assert score.per_step == (6 / 20,)
    assert score.details == ({"total": 20.0},)
    low, high = score.ci95[0]
    assert low == 0 and high == 0.5


def test_details_of_a_class_stand_under_its_name():
    class ByClass(Ratio):
        def ratio(self, counts):
            return {"score": 0.5, "class 0": 0.25, "class 1": math.nan, "total": 2.0}

    score = summarised(table([[[1, 2]]]), {"err": ByClass()}, steps=(1,), classes=("road", "sky")).scores["err"]
    assert score.details == ({"road": 0.25, "sky": None, "total": 2.0},)


def test_an_undefined_step_leaves_no_mean_beyond_it():
    rows = [row("a", 1, 1.0), undefined("a", 2, "flat"), undefined("b", 1, "empty"), undefined("b", 2, "flat")]
    score = summarised(rows).scores["err"]
    assert (score.per_step, score.mean_to, score.mean) == ((1.0, None), (1.0, None), None)
    assert score.undefined == {"empty": 1, "flat": 2}
    assert score.clips == 1


def test_undefined_everywhere_for_one_reason_is_skipped():
    rows = [undefined("a", k, "too small", "hits") for k in (1, 2)] + [undefined("a", k, "flat") for k in (1, 2)]
    out = summarised(rows, {"err": Mean(), "hits": Ratio()}, skipped={"miou": "no labels"})
    assert out.scores == {}
    assert out.skipped == {"err": "flat", "hits": "too small", "miou": "no labels"}


def test_undefined_everywhere_for_two_reasons_is_a_score_without_a_value():
    out = summarised([undefined("a", 1, "flat"), undefined("a", 2, "empty")])
    assert out.skipped == {}
    assert out.scores["err"].per_step == (None, None)
    assert out.scores["err"].clips == 0


def test_notes_and_clamped_frames_are_counted():
    rows = [
        row("a", 1, 1.0, note="floored", clamped=True),
        row("a", 2, 1.0, note="floored"),
        row("a", 1, 2.0, metric="other", clamped=True),
        row("b", 1, 1.0, clamped=True),
    ]
    out = summarised(rows, {"err": Mean(), "other": Mean()})
    assert out.clamped_frames == 2, "a frame is one, however many metrics looked at it"
    assert out.scores["err"].notes == {"floored": 2}


def test_anchored_steps_have_no_mean():
    score = summarised(table([[1.0, 3.0], [2.0, 5.0]]), cumulative=False).scores["err"]
    assert (score.per_step, score.mean_to, score.mean) == ((1.5, 4.0), (), None)


numbers = st.floats(-1e3, 1e3, allow_nan=False)


@given(st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_to_the_byte(values, random):
    rows = [*table(values), undefined("z", 1, "flat"), row("z", 2, 0.1)]
    rows += [row(f"c{i:03d}", k, [i, k], "hits") for i in range(len(values)) for k in (1, 2)]
    metrics = {"err": Mean(), "hits": Ratio()}
    texts = {summary_text(summarised(random.sample(rows, len(rows)), metrics)) for _ in range(3)}
    assert len(texts) == 1
