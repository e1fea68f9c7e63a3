"""Compute the features of a checked prediction and of the truth, for set metrics."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpbench.clips.batch import Batch
from vpbench.errors import MetricError, VpbenchError, describe, text_of, type_name
from vpbench.evaluation.measure import SpoiledError, copy_prediction, data_fields, is_intact, scored_prediction
from vpbench.evaluation.returned import Checked
from vpbench.plugin.clip import Comparison, Modality
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.process_state import process_state
from vpbench.plugin.set_metric import SetMetric
from vpbench.results.features import UnitFeatures
from vpbench.results.rows import ALL_STEPS, Row


def measure_features(
    name: str,
    checked: Checked,
    batch: Batch,
    metrics: Mapping[str, SetMetric],
    *,
    quantise: bool,
    sample: int | None,
    context: Collection[Modality],
    unit: UnitFeatures,
) -> list[Row]:
    """Compute the features of a batch, add them to ``unit``, and return their rows, one per clip and metric.

    Takes the other arguments of :func:`vpbench.evaluation.measure.measure`.

    Raises:
        MetricError: a metric failed, or returned something else than two tables of finite numbers.
        SpoiledError: a metric changed the context, the truth or the prediction.
    """
    if not metrics:
        return []
    scored, truth, frames = scored_prediction(name, checked, batch, quantise), batch.truth, batch.context.frames
    comparison = Comparison(copy_prediction(scored), batch.future, context_frames=frames.clone())
    rows: list[Row] = []
    for metric_name, metric in metrics.items():
        predicted, true = _features(metric_name, name, metric, comparison)
        assert comparison.context_frames is not None
        if not (is_intact(comparison, scored, truth) and torch.equal(comparison.context_frames, frames)):
            raise SpoiledError(f"metric {metric_name!r} changes what it measures in place: clone what it writes to")
        for i, ref in enumerate(batch.refs):
            row: dict[str, Any] = {"clip": ref.id, "step": ALL_STEPS, "metric": metric_name, "status": "ok"}
            row |= {"value": None, "features": unit.add_predicted(metric_name, ref.id, sample or 0, predicted[i])}
            row |= data_fields(batch.digests[i], metric, context)
            if sample is not None:
                row["sample"] = sample
            if not sample:
                row["true_features"] = unit.add_true(metric_name, ref.id, true[i])
            rows.append(cast("Row", row))
    return rows


def _features(
    metric_name: str, name: str, metric: SetMetric, comparison: Comparison
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the checked features of the predicted and of the true clips, [B, D]."""

    def fail(error: BaseException) -> MetricError:
        if isinstance(error, VpbenchError):
            return MetricError(f"metric {metric_name!r} on {name!r}: {text_of(error)}")
        clip = comparison.future.clips[0]
        return MetricError(f"metric {metric_name!r} failed on {name!r}, clip {clip!r}: {describe(error)}")

    clips = len(comparison.future.clips)
    with plugin_errors(fail), process_state():
        with torch.inference_mode():
            predicted, true = metric.features(comparison)
        first, second = _vectors(predicted, clips), _vectors(true, clips)
        if first.shape != second.shape:
            raise MetricError(
                f"it must give features of one length, not {first.shape[1]} for the prediction and "
                f"{second.shape[1]} for the truth"
            )
        return first, second


def _vectors(features: object, clips: int) -> NDArray[np.float32]:
    if not isinstance(features, Tensor):
        raise MetricError(f"features are a tensor [clips, D], not {type_name(features)}")
    if features.ndim != 2 or len(features) != clips or not features.shape[1] or not features.is_floating_point():
        kind = f"{list(features.shape)} of {features.dtype}"
        raise MetricError(f"features are floating-point [{clips}, D] for {clips} clips, not {kind}")
    vectors: NDArray[np.float32] = features.detach().to("cpu", torch.float32).numpy()
    if not np.isfinite(vectors).all():
        raise MetricError("features must be finite in float32, and hold NaN or infinite numbers")
    return vectors
