"""The checks of a metric of any kind: of frames, of sets of clips, of all samples of a clip."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from vpbench.errors import VpbenchError, one_line
from vpbench.evaluation.measure import SpoiledError, statistic_fields
from vpbench.plugin.clip import Prediction
from vpbench.plugin.members import member
from vpbench.plugin.metric import MetricMembers, Undefined, Value
from vpbench.plugin.process_state import other_randomness, settings_changes
from vpbench.plugin.sample_metric import SampleMetric
from vpbench.plugin.set_metric import FeatureSet, SetMetric
from vpbench.results.estimates import finalise, finalise_set, interval
from vpbench.select.metrics import choose_metrics, engines_of, reason_against
from vpbench.testing.check import BreachError, Check, NotApplicableError, checks_into
from vpbench.testing.components import report_changes
from vpbench.testing.material import Shape, reversed_batch
from vpbench.testing.metric_subject import MetricSubject, Values

CHECKS: list[Check[MetricSubject]] = []
"""In the order in which they run."""
_check = checks_into(CHECKS)
_TOLERANCE = 1e-4
"""Largest relative difference of values that batches of other sizes may round otherwise."""
_SAME = 1e-9
"""Largest relative difference of a score of the same statistics in another order."""


def _part(prediction: Prediction, places: Sequence[int]) -> Prediction:
    tensors = {name: tensor[list(places)] for name, tensor in prediction.tensors().items()}
    return replace(prediction, **tensors)  # type: ignore[arg-type]


def _numbers(value: Any) -> list[float]:
    if value is None:
        return [math.nan]
    return [float(v) for v in value] if isinstance(value, Sequence) else [float(value)]


def _difference(first: Sequence[Any], second: Sequence[Any]) -> float:
    """Return the largest difference of two lists of values, relative to the largest value, inf if one is undefined."""
    a, b = ([number for value in values for number in _numbers(value)] for values in (first, second))
    if len(a) != len(b) or any(math.isnan(x) != math.isnan(y) for x, y in zip(a, b, strict=True)):
        return math.inf
    scale = max([1e-6, *(abs(x) for x in (*a, *b) if not math.isnan(x))])
    return max((abs(x - y) / scale for x, y in zip(a, b, strict=True) if not math.isnan(x)), default=0.0)


def _agree(first: Values, second: Values, circumstance: str, advice: str) -> None:
    for clip, values in second.items():
        if (difference := _difference(first[clip], values)) > _TOLERANCE:
            text = "a value is defined in one of them only" if math.isinf(difference) else f"differ by {difference:.2g}"
            raise BreachError(f"{circumstance}: the values of {clip!r} {text}, relative to the largest. {advice}")


@_check("builds", "The metric can be built for the CPU, and its `info` has the registered name.", gate=True)
def _builds(subject: MetricSubject) -> None:
    assert subject.metric is not None


@_check("engines", "Every engine can be built.")
def _engines(subject: MetricSubject) -> None:
    engines = engines_of(type(subject.metric))
    if not engines:
        raise NotApplicableError("it has no engines")
    for engine in engines:
        choose_metrics(subject.plugins, [subject.text], "cpu", engine)


@_check("lacking", "`why_not` gives a reason if the truth or the prediction lacks a modality that the metric needs.")
def _lacking(subject: MetricSubject) -> None:
    info, setting = subject.metric.info, subject.setting(Shape())
    for modality in info.needs:  # further truth may be optional
        if not reason_against(subject.metric, replace(setting, truth=setting.truth - {modality})):
            raise BreachError(f"`why_not` gives no reason where the dataset has no {modality}: call super().why_not")
    for modality in info.needs:
        if not reason_against(subject.metric, replace(setting, outputs=setting.outputs - {modality})):
            raise BreachError(
                f"`why_not` gives no reason where the predictor gives no {modality}: call super().why_not"
            )


@_check("applies", "`why_not` accepts clips that have everything that the metric needs.", gate=True)
def _applies(subject: MetricSubject) -> None:
    assert subject.shape is not None


@_check("input", "It leaves the prediction and the truth as they are.", gate=True)
def _input(subject: MetricSubject) -> None:
    if isinstance(subject.metric, SampleMetric):
        return  # its tensors are copies
    batch = subject.batch()
    try:
        subject.values(batch, subject.predictions(batch))
    except SpoiledError as error:
        raise BreachError(str(error)) from error
    except VpbenchError:
        return  # another check names it


@_check(
    "output", "It returns finite statistics, or `Undefined` with a reason, for each clip and scored step.", gate=True
)
def _output(subject: MetricSubject) -> None:
    assert subject.whole is not None


@_check("repeated calls", "A second measurement gives the same, whatever the global random states.")
def _repeat(subject: MetricSubject) -> None:
    for seed in (1, 2):
        batch = subject.batch()
        with other_randomness(seed):
            values = subject.values(batch, subject.predictions(batch))
        _agree(subject.whole, values, "a second measurement", "Draw no random numbers, and keep no state between calls")


@_check("batch", "Batches split in any way and merged again give the same values.")
def _batch(subject: MetricSubject) -> None:
    batch = subject.batch()
    predictions = subject.predictions(batch)
    for place in range(len(batch.refs)):
        values = subject.values(batch.clip(place), [_part(prediction, [place]) for prediction in predictions])
        _agree(subject.whole, values, "a clip alone and in a batch", "Measure each clip separately")


@_check("order", "The order of the clips does not matter.")
def _order(subject: MetricSubject) -> None:
    batch = subject.batch()
    places = list(reversed(range(len(batch.refs))))
    predictions = [_part(prediction, places) for prediction in subject.predictions(batch)]
    turned = subject.values(reversed_batch(batch), predictions)
    _agree(subject.whole, turned, "the clips in the opposite order", "Measure each clip separately")


@_check("score", "The score is finite or NaN, and the order of the statistics or features does not matter.")
def _score(subject: MetricSubject) -> None:
    if isinstance(subject.metric, SetMetric):
        _score_of_sets(subject.metric, _feature_set(subject.whole))
        return
    statistics = [value for values in subject.statistics for value in values]
    scores = [finalise(subject.step_metric, order)["score"] for order in (statistics, *_other_orders(statistics))]
    advice = "sum with math.fsum, and keep no state"
    _check_scores(scores, _SAME, f"the same statistics in other orders score {{}}: {advice}")


def _other_orders(items: list[Any]) -> tuple[list[Any], list[Any]]:
    return items[::-1], items[1:] + items[:1]


def _score_of_sets(metric: SetMetric, features: FeatureSet) -> None:
    scores = [finalise_set(metric, features)["score"] for _ in range(2)]
    _check_scores(scores, _SAME, "the same features score {}: keep no state")
    for order in _other_orders(list(range(len(features.true)))):
        turned = FeatureSet(features.predicted[order], features.true[order])
        scores.append(finalise_set(metric, turned)["score"])
    _check_scores(scores, _TOLERANCE, "the same clips in other orders score {}: treat all clips alike")


def _check_scores(scores: list[float], tolerance: float, message: str) -> None:
    if any(math.isinf(score) for score in scores):
        raise BreachError("its score is infinite: return Undefined for such frames, or NaN as the score")
    if _difference(scores[:1] * (len(scores) - 1), scores[1:]) > tolerance:
        raise BreachError(message.format(", ".join(f"{score:.9g}" for score in scores)))


def _feature_set(values: Values) -> FeatureSet:
    predicted, true = (np.array([clip[i] for clip in values.values()], np.float32) for i in (0, 1))
    return FeatureSet(predicted[:, None], true)


@_check("resample", "`resample` of every recording once gives the score of `finalise`.")
def _resample(subject: MetricSubject) -> None:
    recordings = subject.statistics
    if not member(subject.metric, MetricMembers, "has_interval"):
        raise NotApplicableError("its `has_interval` is False")
    interval(subject.step_metric, recordings)


@_check("json", "Statistics are numbers that JSON holds exactly.")
def _json(subject: MetricSubject) -> None:
    if isinstance(subject.metric, SetMetric):
        raise NotApplicableError("it is a set metric, which has features instead of statistics")
    defined = [statistic for line in subject.raw() for statistic in line if not isinstance(statistic, Undefined)]
    exact = [statistic.value if isinstance(statistic, Value) else statistic for statistic in defined]
    plain = json.loads(json.dumps([statistic_fields(statistic)["value"] for statistic in exact]))
    for statistic, value in zip(exact, plain, strict=True):
        numbers = list(statistic) if isinstance(statistic, Sequence) else [statistic]
        values = value if isinstance(value, list) else [value]
        if any(bool(number != read) for number, read in zip(numbers, values, strict=True)):
            text = one_line(repr(statistic))
            raise BreachError(f"the statistic {text} is {value} once read back: return floats or integers")


@_check("extremes", "A perfect, a black and a white prediction have finite values, or `Undefined` with a reason.")
def _extremes(subject: MetricSubject) -> None:
    for title, level in {"a perfect": None, "a black": 0.0, "a white": 1.0}.items():
        batch = subject.batch()
        predictions = subject.predictions(batch, strength=0.0)
        if level is not None and predictions[0].frames is not None:
            predictions = [replace(p, frames=torch.full_like(batch.future.frames, level)) for p in predictions]
        try:
            subject.values(batch, predictions)
        except VpbenchError as error:
            raise BreachError(f"{title} prediction: {error}") from error


@_check("one sample", "A single sample per clip has finite values, or `Undefined` with a reason.")
def _one_sample(subject: MetricSubject) -> None:
    if not isinstance(subject.metric, SampleMetric):
        raise NotApplicableError("it measures samples separately")
    setting = replace(subject.setting(subject.shape), samples=1)
    if reason := reason_against(subject.metric, setting):
        raise NotApplicableError(f"it refuses a single sample: {reason}")
    batch = subject.batch()
    subject.values(batch, subject.predictions(batch, samples=1))


@_check("state", "A call leaves settings and random states of the process as they are.")
def _state(subject: MetricSubject) -> None:
    with settings_changes() as changes:
        subject.raw()
    report_changes("measure", changes)
