"""Measure a checked prediction against the truth, in the protocol's value range.

Metrics share the tensors that they measure and their cache. Copies that no metric sees reveal a metric that writes into
them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from numbers import Integral
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vpbench.clips.batch import Batch
from vpbench.clips.digest import combine
from vpbench.errors import MetricError, PredictorError, VpbenchError, describe, one_line, text_of, type_name
from vpbench.evaluation.returned import Checked
from vpbench.plugin.clip import Comparison, Future, Modality, Prediction, Text, arrays_of, with_arrays
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.metric import Metric, Undefined, Value
from vpbench.plugin.process_state import process_state
from vpbench.plugin.sample_metric import AnyMetric
from vpbench.results.estimates import finalise
from vpbench.results.rows import Row


class SpoiledError(MetricError):
    """A metric wrote into its input: its cell fails, and the batch is read again for other cells."""


def measure(
    name: str,
    checked: Checked,
    batch: Batch,
    metrics: Mapping[str, Metric],
    *,
    quantise: bool,
    sample: int | None,
    context: Collection[Modality],
) -> list[Row]:
    """Measure a checked prediction and return its rows.

    Args:
        name: the predictor's name, for messages.
        checked: a checked prediction of the batch.
        batch: the batch it was predicted from.
        metrics: by name.
        quantise: round the predicted frames to 8 bits first.
        sample: the sample's number for a stochastic predictor, else None.
        context: modalities of the context that the predictor received.

    Raises:
        PredictorError: scores of another number of classes than the label space has.
        MetricError: a metric failed or returned something else than finite statistics per clip and step.
        SpoiledError: a metric changed the truth or the prediction.
    """
    scored, truth = scored_prediction(name, checked, batch, quantise), batch.truth
    comparison = Comparison(copy_prediction(scored), batch.future)
    try:
        tables = {key: _table(key, name, metric, comparison) for key, metric in metrics.items()}
    except MetricError:
        if is_intact(comparison, scored, truth):
            raise
        raise _spoiler(name, metrics, scored, batch) from None
    if not is_intact(comparison, scored, truth):
        raise _spoiler(name, metrics, scored, batch)
    rows: list[Row] = []
    for metric_name, metric in metrics.items():
        first = len(rows)
        for i, ref in enumerate(batch.refs):
            data = data_fields(batch.digests[i], metric, context)
            for j, step in enumerate(batch.future.steps):
                row: dict[str, Any] = {"clip": ref.id, "step": step, "metric": metric_name, **tables[metric_name][i][j]}
                row |= data
                if sample is not None:
                    row["sample"] = sample
                if checked.clamped is not None and bool(checked.clamped[i, step - 1]):
                    row["clamped"] = True
                rows.append(cast("Row", row))
        if defined := [row["value"] for row in rows[first:] if row["value"] is not None]:
            finalise(metric, defined)  # a metric that makes no score of them fails here, not after the last clip
    return rows


def check_axes(name: str, checked: Checked, batch: Batch, metrics: Mapping[str, Metric], *, quantise: bool) -> None:
    """Measure one clip alone: its table shows whether a metric exchanges clips and steps.

    A batch with as many clips as scored steps cannot show it. A single step cannot, either, and need not.

    Raises:
        MetricError: a metric exchanges them.
    """
    single = batch.clip(0)
    scored = scored_prediction(name, checked, batch, quantise)
    prediction = replace(scored, **{m: t[:1].clone() for m, t in scored.tensors().items()})  # type: ignore[arg-type]
    for key, metric in metrics.items():
        _table(key, name, metric, Comparison(prediction, single.future))


def _table(metric_name: str, name: str, metric: Metric, comparison: Comparison) -> list[list[dict[str, Any]]]:
    """Return the fields of the rows of one metric, [clip][step]."""
    clips, steps = len(comparison.future.clips), len(comparison.future.steps)

    def fail(error: BaseException) -> MetricError:
        if isinstance(error, VpbenchError):
            return MetricError(f"metric {metric_name!r} on {name!r}: {text_of(error)}")
        clip = comparison.future.clips[0]
        return MetricError(f"metric {metric_name!r} failed on {name!r}, clip {clip!r}: {describe(error)}")

    with plugin_errors(fail), process_state():
        with torch.inference_mode():
            limit = max(clips, steps) + 1
            table = [list(islice(line, limit)) for line in islice(metric.measure(comparison), limit)]
        if len(table) != clips or any(len(line) != steps for line in table):
            shape = f"{len(table)} x {len(table[0]) if table else 0}"
            raise MetricError(f"it must give {clips} x {steps} statistics (clips x steps), not {shape}")
        return [[statistic_fields(statistic) for statistic in line] for line in table]


def scored_prediction(name: str, checked: Checked, batch: Batch, quantise: bool) -> Prediction:
    """Return the prediction as metrics compare it with the truth: scored steps, value range, size of the labels."""
    prediction = _at(checked.prediction, batch.future.steps, batch.horizon, quantise)
    if batch.future.semantics is None:
        return prediction
    height, width = batch.future.semantics.shape[-2:]
    return replace(prediction, semantics=_resized(name, prediction, (height, width)))


def copy_prediction(prediction: Prediction) -> Prediction:
    """Return a prediction whose tensors are copies."""
    return replace(prediction, **{m: t.clone() for m, t in prediction.tensors().items()})  # type: ignore[arg-type]


def is_intact(comparison: Comparison, prediction: Prediction, truth: Mapping[str, Tensor | Text]) -> bool:
    """Return whether what metrics were shown still equals the copies that they were not shown."""
    copies = [(arrays_of(comparison.future), truth), (vars(comparison.prediction), prediction.tensors())]
    return all(_equal(originals.get(name), copy) for originals, tensors in copies for name, copy in tensors.items())


def _equal(original: object, copy: Tensor | Text) -> bool:
    """Compare bit by bit: NaN equals NaN."""
    if not isinstance(copy, Tensor):
        return original == copy
    if not isinstance(original, Tensor) or (original.shape, original.dtype) != (copy.shape, copy.dtype):
        return False
    return torch.equal(*(t.view(_BITS[t.dtype.itemsize]) if t.is_floating_point() else t for t in (original, copy)))


_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _spoiler(name: str, metrics: Mapping[str, Metric], scored: Prediction, batch: Batch) -> SpoiledError:
    """Measure again, each metric with copies of its own; return the error that names the one that writes."""
    for metric_name, metric in metrics.items():
        copies = {m: a.clone() if isinstance(a, Tensor) else a for m, a in batch.truth.items()}
        future: Future = with_arrays(batch.future, copies, _cache={})
        comparison = Comparison(copy_prediction(scored), future)
        with suppress(MetricError):
            _table(metric_name, name, metric, comparison)
        if not is_intact(comparison, scored, batch.truth):
            break
    else:
        metric_name = ", ".join(metrics)
    return SpoiledError(f"metric {metric_name!r} changes what it measures in place: clone what it writes to")


def data_fields(digests: Mapping[str, str], metric: AnyMetric, context: Collection[Modality]) -> dict[str, str]:
    """Return the fields of a row that say which data it is of.

    ``data`` covers the frames of context and truth and the truth that the metric needs, so it is the same for every
    predictor; ``context`` covers what else of the context the predictor was shown, if anything.
    """
    truth = (f"future {modality}" for modality in (*metric.info.needs, *metric.info.truth))
    fields = {"data": combine(digests, ["context frames", "future frames", *truth])}
    if names := [f"context {modality}" for modality in context if modality != "frames"]:
        fields["context"] = combine(digests, names)
    return fields


def _resized(name: str, prediction: Prediction, size: tuple[int, int]) -> Tensor | None:
    """Return the predicted semantics at the true labels' size: of class scores, brought there bilinearly, the largest.

    Labels are taken from the nearest pixel. What has that size already is returned as it is.
    """
    semantics, space = prediction.semantics, prediction.label_space
    if semantics is None or tuple(semantics.shape[-2:]) == size:
        return semantics
    if semantics.ndim == 4:
        rows, columns = (
            torch.arange(new, device=semantics.device) * old // new
            for old, new in zip(semantics.shape[-2:], size, strict=True)
        )
        return semantics[..., rows[:, None], columns]
    if space is not None and semantics.shape[2] != len(space):
        raise PredictorError(
            f"predictor {name!r} gives scores of {semantics.shape[2]} classes; "
            f"the label space {space.name!r} has {len(space)}"
        )
    # A frame at a time: scores of many classes at the size of labels are large.
    labels = [
        interpolate(scores[None].float(), size, mode="bilinear", align_corners=False).argmax(1)
        for scores in semantics.flatten(0, 1)
    ]
    return torch.stack(labels).view(*semantics.shape[:2], *size)


def statistic_fields(statistic: object) -> dict[str, Any]:
    """Return the fields of a row that hold a statistic.

    Raises:
        MetricError: it is neither finite numbers nor undefined.
    """
    if isinstance(statistic, Undefined):
        if not (reason := _words(statistic.reason)):
            raise MetricError("Undefined needs a reason: say why the frame has no value")
        return {"status": "undefined", "reason": reason, "value": None}
    if isinstance(statistic, Value):
        return {"status": "ok", "value": _number(statistic.value), "note": _words(statistic.note)}
    if isinstance(statistic, Sequence) and not isinstance(statistic, (str, bytes)):
        return {"status": "ok", "value": [_number(v) for v in statistic]}
    return {"status": "ok", "value": _number(statistic)}


def _words(text: object) -> str:
    if not isinstance(text, str):
        raise MetricError(f"a reason or note is text, not a {type_name(text)}")
    return one_line(text)


def _number(value: object) -> float | int:
    if isinstance(value, (str, bytes)):
        raise MetricError(f"a statistic is numbers, not a {type_name(value)}")
    if isinstance(value, Integral) and not isinstance(value, bool):  # numpy's integers too
        integer = int(value)
        if abs(integer) >= 2**63:
            raise MetricError("an integer of a statistic has at most 64 bits")
        return integer
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise MetricError(f"a statistic is numbers, not a {type_name(value)}") from error
    if not math.isfinite(number):
        raise MetricError(f"a statistic is finite, not {number}: return Undefined(reason) if there is no value")
    return number


def _at(prediction: Prediction, steps: Sequence[int], horizon: int, quantise: bool) -> Prediction:
    """Return the prediction at the scored steps, its frames rounded to 8 bits where the protocol says so."""
    if tuple(steps) != tuple(range(1, horizon + 1)):
        index = torch.tensor([step - 1 for step in steps])
        cut = {m: t.index_select(1, index.to(t.device)) for m, t in prediction.tensors().items()}
        prediction = replace(prediction, **cut)  # type: ignore[arg-type]
    if quantise and prediction.frames is not None:
        prediction = replace(prediction, frames=(prediction.frames * 255).round().div(255))
    return prediction
