"""Measure all samples of each clip together, once the last one is predicted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor

from vpbench.clips.batch import Batch
from vpbench.errors import MetricError, PredictorError, VpbenchError, describe, text_of
from vpbench.evaluation.measure import data_fields, statistic_fields
from vpbench.plugin.clip import Future, Modality, Prediction, arrays_of, with_arrays
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.process_state import process_state
from vpbench.plugin.sample_metric import SampleComparison, SampleMetric
from vpbench.results.estimates import finalise
from vpbench.results.rows import Row


def measure_samples(
    name: str,
    predictions: Sequence[Prediction],
    batch: Batch,
    metrics: Mapping[str, SampleMetric],
    *,
    context: Collection[Modality],
) -> list[Row]:
    """Measure all samples of a batch and return their rows, one per clip, step and metric.

    Args:
        name: the predictor's name, for messages.
        predictions: one of the batch per sample, as :func:`vpbench.evaluation.measure.scored_prediction` returns it.
        batch: the batch that they were predicted from.
        metrics: by name.
        context: modalities of the context that the predictor received.

    Raises:
        PredictorError: the samples differ in the shapes or types of their tensors.
        MetricError: a metric failed, or returned something else than a finite statistic per step.
    """
    _check_alike(name, predictions)
    rows: list[Row] = []
    for metric_name, metric in metrics.items():
        first = len(rows)
        for i, ref in enumerate(batch.refs):
            data = data_fields(batch.digests[i], metric, context)
            # Copies for each metric, so a metric that writes into them changes only its own.
            comparison = SampleComparison(_samples_of(predictions, i), _truth_of(batch, i))
            statistics = _statistics(metric_name, name, metric, comparison)
            for step, fields in zip(batch.future.steps, statistics, strict=True):
                row = {"clip": ref.id, "step": step, "metric": metric_name, **fields, **data}
                rows.append(cast("Row", row))
        if defined := [row["value"] for row in rows[first:] if row["value"] is not None]:
            finalise(metric, defined)  # a metric that makes no score of them fails here, not after the last clip
    return rows


def _check_alike(name: str, predictions: Sequence[Prediction]) -> None:
    forms = [{m: (t.shape, t.dtype) for m, t in prediction.tensors().items()} for prediction in predictions]
    for sample, form in enumerate(forms):
        if form != forms[0]:
            raise PredictorError(
                f"predictor {name!r} gives sample {sample} of a clip in another form than sample 0: all samples "
                f"must have the same modalities, shapes and types"
            )


def _samples_of(predictions: Sequence[Prediction], place: int) -> Prediction:
    """Return the predictions of one clip, joined along the axis of clips."""
    tensors = [prediction.tensors() for prediction in predictions]
    joined = {m: torch.stack([sample[m][place] for sample in tensors]) for m in tensors[0]}
    return replace(predictions[0], **joined)  # type: ignore[arg-type]


def _truth_of(batch: Batch, place: int) -> Future:
    single = batch.clip(place).future
    copies = {m: a.clone() if isinstance(a, Tensor) else a for m, a in arrays_of(single).items()}
    truth: Future = with_arrays(single, copies, _cache={})
    return truth


def _statistics(
    metric_name: str, name: str, metric: SampleMetric, comparison: SampleComparison
) -> list[dict[str, Any]]:
    """Return the fields of the rows of one clip, by step."""
    clip, steps = comparison.future.clips[0], len(comparison.future.steps)

    def fail(error: BaseException) -> MetricError:
        if isinstance(error, VpbenchError):
            return MetricError(f"metric {metric_name!r} on {name!r}: {text_of(error)}")
        return MetricError(f"metric {metric_name!r} failed on {name!r}, clip {clip!r}: {describe(error)}")

    with plugin_errors(fail), process_state():
        with torch.inference_mode():
            statistics = list(islice(metric.measure_samples(comparison), steps + 1))
        if len(statistics) != steps:
            count = f"{steps + 1} or more" if len(statistics) > steps else str(len(statistics))
            raise MetricError(f"it must give {steps} statistics, one per scored step, not {count}")
        return [statistic_fields(statistic) for statistic in statistics]
