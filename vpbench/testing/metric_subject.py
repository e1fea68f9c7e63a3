"""A metric that is checked, and the synthetic clips that it measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from vpbench.clips.batch import Batch
from vpbench.errors import DataError
from vpbench.evaluation.features import measure_features
from vpbench.evaluation.measure import measure, scored_prediction
from vpbench.evaluation.returned import check_prediction
from vpbench.evaluation.samples import measure_samples
from vpbench.plugin.clip import Comparison, Prediction
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import member
from vpbench.plugin.metric import BaseMetric, Setting, Statistic, StepMetric
from vpbench.plugin.modality import BUILT_IN
from vpbench.plugin.sample_metric import AnyMetric, SampleComparison, SampleMetric
from vpbench.plugin.set_metric import FeatureSet, SetMetric
from vpbench.results.features import UnitFeatures
from vpbench.results.rows import Row
from vpbench.select.metrics import choose_metrics, reason_against
from vpbench.testing.check import BreachError, NotApplicableError
from vpbench.testing.material import SPACE, Shape, draw_batch, noise_like
from vpbench.toolkit.labels import LABEL_SPACES

_SHAPES = (
    Shape(),
    Shape(size=(64, 96)),
    Shape(size=(176, 192)),
    Shape(context=4, horizon=16, size=(32, 48)),
    Shape(context=4, horizon=16, size=(64, 96)),
)
"""Forms of batches, of which the first that the metric accepts is taken."""
_CONTEXTS = (1, 2, 4, 10)
_STEPS = (1, 2, 10, 16, 30, 64)
_SIZES = (None, (512, 1024))
"""Numbers of context frames and of scored steps, and sizes, of other runs, if it accepts none of these forms."""
_OUTPUTS = ("frames", "semantics", "flow", "disocclusion")
_SAMPLES = 3

Values: TypeAlias = Mapping[str, Sequence[Any]]
"""By clip: a statistic per step (None if undefined), or the features of the prediction and of the truth."""


@dataclass(frozen=True)
class MetricSubject:
    """A registered metric, and what it is tried on."""

    plugins: Plugins
    text: str

    @cached_property
    def metric(self) -> AnyMetric:
        """The metric, built once."""
        return choose_metrics(self.plugins, [self.text], "cpu")[self.text]

    @cached_property
    def shape(self) -> Shape:
        """The form of batches that it accepts.

        Raises:
            NotApplicableError: it accepts none of them. BreachError: nor any other run that was tried.
        """
        reasons = [reason_against(self.metric, self.setting(shape)) for shape in _SHAPES]
        for shape, reason in zip(_SHAPES, reasons, strict=True):
            if not reason:
                return shape
        try:
            member(self.metric, BaseMetric, "obtain_weights")()
        except DataError as error:
            raise NotApplicableError(f"its weights are not here: {error}") from error
        if all(reason_against(self.metric, setting) for setting in self._other_settings()):
            raise BreachError(f'`why_not` refuses every run that was tried: {reasons[-1]}: return "" if it can apply')
        raise NotApplicableError(f"it measures no synthetic clips: {reasons[-1]}")

    def _other_settings(self) -> Iterator[Setting]:
        """Yield facts about runs with any size, many clips and samples, and every modality that it needs."""
        info = self.metric.info
        truth = frozenset({*BUILT_IN, *info.needs, *info.truth})
        spaces = (SPACE, None, *LABEL_SPACES.values())
        for size, context, steps, space, samples in product(_SIZES, _CONTEXTS, _STEPS, spaces, (100, 1)):
            yield Setting(size, truth, truth, space, context=context, steps=steps, clips=100_000, samples=samples)

    def setting(self, shape: Shape) -> Setting:
        """Return the facts about a run on synthetic clips of a form."""
        samples = _SAMPLES if isinstance(self.metric, SampleMetric) else 1
        return Setting(
            shape.size,
            frozenset(BUILT_IN),
            frozenset(_OUTPUTS),
            SPACE,
            context=shape.context,
            steps=shape.horizon,
            clips=shape.clips,
            samples=samples,
        )

    def batch(self) -> Batch:
        """Return a new batch of clips with the truth that it needs."""
        future = {*self.metric.info.needs, *self.metric.info.truth, "frames"} & set(BUILT_IN)
        return draw_batch(self.shape, {"frames"}, future)

    def predictions(self, batch: Batch, strength: float = 0.3, samples: int = _SAMPLES) -> list[Prediction]:
        """Return distorted truth, one prediction per sample."""
        count = samples if isinstance(self.metric, SampleMetric) else 1
        return [_distorted(batch, self.metric.info.needs, strength, seed) for seed in range(count)]

    def values(self, batch: Batch, predictions: Sequence[Prediction]) -> Values:
        """Measure a batch (raises MetricError)."""
        rows, features = self.rows(batch, predictions)
        if isinstance(self.metric, SetMetric):
            return {
                ref.id: [features.predicted[i, 0].tolist(), features.true[i].tolist()]
                for i, ref in enumerate(batch.refs)
            }
        return {ref.id: [row["value"] for row in rows if row["clip"] == ref.id] for ref in batch.refs}

    def rows(self, batch: Batch, predictions: Sequence[Prediction]) -> tuple[list[Row], FeatureSet]:
        """Return the rows of a batch, and the features of a set metric."""
        metric, name = self.metric, self.text
        checked = [check_prediction(prediction, metric.info.needs, batch) for prediction in predictions]
        empty = FeatureSet(np.zeros((0, 1, 1), np.float32), np.zeros((0, 1), np.float32))
        facts: dict[str, Any] = {"context": ()}
        if isinstance(metric, SampleMetric):
            scored = [scored_prediction("drawn", prediction, batch, False) for prediction in checked]
            return measure_samples("drawn", scored, batch, {name: metric}, **facts), empty
        facts |= {"quantise": False, "sample": None}
        if not isinstance(metric, SetMetric):
            return measure("drawn", checked[0], batch, {name: metric}, **facts), empty
        collected = _Collected()
        rows = measure_features("drawn", checked[0], batch, {name: metric}, unit=collected, **facts)
        return rows, FeatureSet(np.stack(collected.predicted)[:, None], np.stack(collected.true))

    def raw(self) -> Sequence[Any]:
        """Measure a new batch without the harness's checks; return what the metric returns, by clip."""
        batch, metric = self.batch(), self.metric
        predictions = self.predictions(batch)
        comparison = Comparison(predictions[0], batch.future, batch.context.frames)
        with torch.inference_mode():
            if isinstance(metric, SetMetric):
                return metric.features(comparison)
            if not isinstance(metric, SampleMetric):
                return metric.measure(comparison)
            samples = [prediction.tensors() for prediction in predictions]
            joined = {m: torch.stack([tensors[m][0] for tensors in samples]) for m in samples[0]}
            single = replace(predictions[0], **joined)  # type: ignore[arg-type]
            return [metric.measure_samples(SampleComparison(single, batch.clip(0).future))]

    @cached_property
    def whole(self) -> Values:
        """The values of a batch, measured once."""
        batch = self.batch()
        return self.values(batch, self.predictions(batch))

    @property
    def statistics(self) -> list[list[Statistic]]:
        """All defined statistics, by clip.

        Raises:
            NotApplicableError: it is a set metric, or has none.
        """
        if isinstance(self.metric, SetMetric):
            raise NotApplicableError("it is a set metric, which has features instead of statistics")
        defined = [[value for value in values if value is not None] for values in self.whole.values()]
        if not any(defined):
            raise NotApplicableError("it has no value on synthetic clips")
        return [values for values in defined if values]

    @property
    def step_metric(self) -> StepMetric:
        """The metric, which is not one of sets."""
        assert not isinstance(self.metric, SetMetric)  # `statistics` raises before
        return self.metric


class _Collected(UnitFeatures):
    """The vectors of a batch in the order of its clips."""

    def __init__(self) -> None:
        super().__init__()
        self.predicted: list[Any] = []
        self.true: list[Any] = []

    def add_predicted(self, metric: str, clip: str, sample: int, vector: Any) -> str:
        self.predicted.append(vector)
        return super().add_predicted(metric, clip, sample, vector)

    def add_true(self, metric: str, clip: str, vector: Any) -> str:
        self.true.append(vector)
        return super().add_true(metric, clip, vector)


def _distorted(batch: Batch, needs: Sequence[str], strength: float, seed: int) -> Prediction:
    """Return the truth with noise; a strength of 0 is the truth itself."""
    future = batch.future
    tensors: dict[str, Tensor] = {}
    if "frames" in needs:
        noise = noise_like(future.frames, seed)
        tensors["frames"] = (future.frames + strength * (noise - 0.5)).clamp(0, 1)
    if "semantics" in needs and future.semantics is not None:
        changed = noise_like(future.semantics, seed) < strength
        tensors["semantics"] = torch.where(changed, (future.semantics + 1) % len(SPACE), future.semantics)
    if "flow" in needs and future.flow is not None:
        tensors["flow"] = future.flow + 4 * strength * (noise_like(future.flow, seed) - 0.5)
    if "disocclusion" in needs and future.disocclusion is not None:
        tensors["disocclusion"] = future.disocclusion ^ (noise_like(future.disocclusion, seed) < strength)
    return Prediction(label_space=SPACE, **tensors)
