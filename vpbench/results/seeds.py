"""Seeds as a level of their own: the spread over a predictor's seeds, next to the interval over recordings.

The interval says how the score would vary on other recordings, for the same weights and samples. The spread says how it
would vary with other seeds, on the same recordings. Neither contains the other.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vpbench.files import canonical
from vpbench.plugin.metric import Better, StepMetric
from vpbench.results.estimates import (
    Recordings,
    draw_recordings,
    finalise,
    group_frames,
    has_interval,
    percentiles,
    resample,
)
from vpbench.results.result import Result
from vpbench.results.tally import Tally


class Seeds(NamedTuple):
    """The seeds of a result; 0 where there is none."""

    training: int
    """The seed of the training of its weights."""
    run: int
    """The seed of the samples of a stochastic predictor."""


@dataclass(frozen=True)
class SeedScore:
    """A score over seeds, at one step or as a mean over steps."""

    mean: float | None
    """The mean over the seeds; None if a score is undefined."""
    spread: float | None
    """Standard deviation (n - 1) over all seeds; None for fewer than two."""
    training_spread: float | None
    """Standard deviation (n - 1) of the means of the trainings; None for fewer than two trainings."""
    run_spread: float | None
    """Standard deviation within a training, pooled over the trainings; None if each has one run."""
    ci95: tuple[float, float] | None
    """95 % percentile interval of the mean over the seeds, over resamples of recordings."""


@dataclass(frozen=True)
class SeedScores:
    """One metric of one predictor with several seeds, on the clips that all seeds have a value for."""

    metric: str
    better: Better
    steps: tuple[int, ...]
    seeds: tuple[Seeds, ...]
    per_step: tuple[SeedScore, ...]
    mean: SeedScore
    """The mean over the steps, on the clips with a value at every step."""
    clips: int
    recordings: int


def seeds_of(result: Result) -> Seeds:
    """Return the seeds of a result."""
    run = result.run
    training = run.weights.training if run.weights else None
    return Seeds(training.seed if training else 0, run.identity.seed if run.stochastic else 0)


def configuration_of(result: Result) -> str:
    """Return a text that results share if they differ in their seeds and their metrics alone."""
    run = result.run
    training = run.weights.training if run.weights else None
    free = {"seed", "metrics", "metric_code"} | ({"fingerprint"} if training else set())
    fixed = [run.label, run.identity.model_dump(exclude=free), training and training.configuration]
    return canonical([*fixed, result.summary.partial_reason])


def group_seeds(results: Sequence[Result]) -> list[tuple[int, ...]]:
    """Return the places of the results of each predictor that has several, all with other seeds.

    Two results of one configuration and one seed are no seeds of one predictor: other code made their weights.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, result in enumerate(results):
        groups[configuration_of(result)].append(place)
    different = [places for places in groups.values() if len({seeds_of(results[p]) for p in places}) == len(places)]
    return [tuple(places) for places in different if len(places) > 1]


def score_seeds(
    tallies: Sequence[Tally],
    seeds: Sequence[Seeds],
    metric: StepMetric,
    steps: Sequence[int],
    recordings: Mapping[str, str],
) -> SeedScores:
    """Score the results of one predictor, one per pair of seeds, by one metric.

    Args:
        tallies: the rows of each result.
        seeds: the seeds of each result.
        metric: the metric, which all of them measured.
        steps: the steps to score, ascending.
        recordings: the recording of each clip.

    Raises:
        MetricError: the metric makes no score of its statistics.
    """
    rows = [tally.metrics[metric.info.name] for tally in tallies]
    clips = [frozenset[str].intersection(*(side.column(step).frames.clip_set for side in rows)) for step in steps]

    def groups(place: int, chosen: frozenset[str]) -> list[Recordings]:
        return [group_frames(side.column(steps[place]), recordings, chosen) for side in rows]

    def score(places: Iterable[int], chosen: frozenset[str]) -> SeedScore:
        by_step = [groups(place, chosen) for place in places]
        return _score(metric, [list(seed) for seed in zip(*by_step, strict=True)], seeds)

    scored_clips = frozenset[str].union(*clips)
    return SeedScores(
        metric=metric.info.name,
        better=metric.info.better,
        steps=tuple(steps),
        seeds=tuple(seeds),
        per_step=tuple(score([place], chosen) for place, chosen in enumerate(clips)),
        mean=score(range(len(steps)), frozenset[str].intersection(*clips)),
        clips=len(scored_clips),
        recordings=len({recordings[clip] for clip in scored_clips}),
    )


def _score(metric: StepMetric, by_seed: Sequence[Sequence[Recordings]], seeds: Sequence[Seeds]) -> SeedScore:
    """Score [seed][step] recordings; a seed's score is the mean of its steps' scores."""
    scores = [statistics.fmean(_finalise(metric, recordings) for recordings in steps) for steps in by_seed]
    if not all(map(math.isfinite, scores)):
        return SeedScore(None, None, None, None, None)
    trainings: dict[int, list[float]] = defaultdict(list)
    for seed, value in zip(seeds, scores, strict=True):
        trainings[seed.training].append(value)
    return SeedScore(
        mean=statistics.fmean(scores),
        spread=_deviation(scores),
        training_spread=_deviation([statistics.fmean(runs) for runs in trainings.values()]),
        run_spread=_pooled_deviation(list(trainings.values())),
        ci95=_interval(metric, by_seed),
    )


def _finalise(metric: StepMetric, recordings: Recordings) -> float:
    return finalise(metric, [statistic for frames in recordings for statistic in frames])["score"]


def _interval(metric: StepMetric, by_seed: Sequence[Sequence[Recordings]]) -> tuple[float, float] | None:
    count = len(by_seed[0][0])
    if count < 2 or not has_interval(metric):
        return None
    cells = [recordings for steps in by_seed for recordings in steps]
    blocks = [np.mean([resample(metric, cell, draws) for cell in cells], axis=0) for draws in draw_recordings(count)]
    return percentiles(np.concatenate(blocks))


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _pooled_deviation(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation within groups, each group with its own mean."""
    several = [group for group in groups if len(group) > 1]
    if not several:
        return None
    squares = [statistics.variance(group) * (len(group) - 1) for group in several]
    return math.sqrt(math.fsum(squares) / sum(len(group) - 1 for group in several))
