"""All samples of a clip together: what a sample metric is shown, and one line for each that misbehaves."""

from __future__ import annotations

import pytest
import torch
from clip_batches import CLIPS, STEPS, batch

import vpbench
from vpbench.errors import MetricError, PredictorError
from vpbench.evaluation.samples import measure_samples
from vpbench.plugin.clip import Prediction


class Spread(vpbench.SampleMean):
    info = vpbench.MetricInfo("spread", revision=1, better="higher")

    def __init__(self, measure=None):
        self._measure = measure

    def measure_samples(self, comparison):
        samples, true = comparison.frames
        if self._measure:
            return self._measure(samples, true)
        return (samples.amax(dim=0) - samples.amin(dim=0)).mean(dim=(1, 2, 3)).tolist()


def rows(*metrics, predictions=None):
    loaded = batch()
    offsets = torch.arange(CLIPS).view(-1, 1, 1, 1, 1) / 10
    predictions = predictions or [Prediction(frames=loaded.future.frames + offsets * i) for i in range(3)]
    named = {f"spread{i}": metric for i, metric in enumerate(metrics)}
    return measure_samples("model", predictions, loaded, named, context=("frames",))


def test_a_row_per_clip_and_step_sees_every_sample_of_the_clip():
    measured = rows(Spread())
    assert [(row["clip"], row["step"]) for row in measured] == [(f"s{i}@0", k) for i in range(3) for k in (1, 2)]
    assert [row["value"] for row in measured] == pytest.approx([0, 0, 0.2, 0.2, 0.4, 0.4], abs=1e-6)
    assert all("sample" not in row for row in measured)
    assert len({row["data"] for row in measured}) == CLIPS


def test_the_truth_is_that_of_the_clip():
    def measure(samples, true):
        assert torch.equal(samples[0], true)
        return [0.0] * STEPS

    assert len(rows(Spread(measure))) == CLIPS * STEPS


def test_a_metric_that_writes_into_its_input_changes_nothing_for_others():
    def spoil(samples, true):
        samples.zero_()
        true.fill_(9)
        return [0.0] * STEPS

    loaded = batch()
    predictions = [Prediction(frames=loaded.future.frames.clone()) for _ in range(2)]
    measured = rows(Spread(spoil), Spread(lambda samples, true: (samples[0] - true).sum(dim=(1, 2, 3)).tolist()),
                    predictions=predictions)  # fmt: skip
    assert {row["value"] for row in measured} == {0.0}
    assert torch.equal(predictions[0].frames, loaded.future.frames)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda samples, true: [0.0], "must give 2 statistics, one per scored step, not 1"),
        (lambda samples, true: [0.0] * 9, "must give 2 statistics, one per scored step, not 3 or more"),
        (lambda samples, true: [0.0, float("nan")], "a statistic is finite, not nan"),
        (lambda samples, true: 1 / 0, "metric 'spread0' failed on 'model', clip 's0@0'"),
    ],
)
def test_other_statistics_are_refused(measure, message):
    with pytest.raises(MetricError, match=message):
        rows(Spread(measure))


def test_samples_of_different_forms_are_refused():
    frames = batch().future.frames
    labels = torch.zeros(CLIPS, STEPS, 4, 6, dtype=torch.int64)
    with pytest.raises(PredictorError, match="'model' gives sample 1 of a clip in another form than sample 0"):
        rows(Spread(), predictions=[Prediction(frames=frames), Prediction(frames=frames, semantics=labels)])
