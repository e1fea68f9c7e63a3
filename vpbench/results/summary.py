"""From rows to scores: one per step, with a seeded bootstrap interval over recordings."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from vpbench.plugin.metric import StepMetric
from vpbench.plugin.sample_metric import AnyMetric
from vpbench.plugin.set_metric import SetMetric
from vpbench.results.estimates import Recordings, finalise, finalise_set, group_frames, interval
from vpbench.results.features import LoadFeatures
from vpbench.results.records import RunRecord
from vpbench.results.samples import score_samples
from vpbench.results.scores import Score, SetScore, Summary
from vpbench.results.tally import MetricTally, Tally
from vpbench.select.metrics import caution


def summarise(
    tally: Tally,
    metrics: Mapping[str, AnyMetric | None],
    run: RunRecord,
    *,
    partial: str,
    load_features: LoadFeatures | None = None,
    intervals: bool = True,
) -> Summary:
    """Compute the summary of a result from all its rows: natural values, in full precision.

    Without its metric (None), rows are only counted, and a set metric has no score. Without ``intervals``, which take
    most of the time, ``ci95`` is empty. ``partial`` says why this is not the whole protocol. Rows of a
    set metric need ``load_features``.

    Raises:
        MetricError: a metric makes no score of its statistics. ResultError: features are not what was published.
    """
    names = {f"class {i}": name for i, name in enumerate(run.classes)}
    steps, recordings = run.protocol.steps, run.recordings
    scores: dict[str, Score] = {}
    unmeasured = dict(run.skipped)
    sets: dict[str, SetScore] = {}
    for name, metric in metrics.items():
        rows = tally.metrics[name]
        if rows.features:
            assert metric is None or isinstance(metric, SetMetric)  # its rows have features
            sets[name] = score_set(name, metric, rows, recordings, load_features)
        elif rows.only_reason:
            unmeasured[name] = rows.only_reason
        else:
            assert not isinstance(metric, SetMetric)  # its rows have features
            curve = _curve(metric, rows, steps, recordings, names, intervals=intervals) if metric else _Curve()
            score = _score(curve, rows, recordings, cumulative=run.cumulative)
            if metric and (samples := rows.samples) > 1:
                update = score_samples(metric, rows.steps, steps, samples, cumulative=run.cumulative)
                score = score.model_copy(update={"samples": update})
            scores[name] = score
    return Summary(
        identity=run.identity_hash,
        steps=steps,
        partial=bool(partial),
        partial_reason=partial,
        clips=len(tally.clips),
        recordings=len({recordings[clip] for clip in tally.clips}),
        data=digest_of({pair for data in _different(tally) for pair in data.items()}),
        context=digest_of(tally.context.items()) if tally.context else "",
        clamped_frames=len(tally.clamped),
        scores=scores,
        sets=sets,
        skipped=dict(sorted(unmeasured.items())),
    )


def score_set(
    name: str,
    metric: SetMetric | None,
    rows: MetricTally,
    recordings: Mapping[str, str],
    load_features: LoadFeatures | None,
) -> SetScore:
    """Return the score of a set metric; without the metric, only the counts.

    Raises:
        ResultError: features are not what was published. MetricError: the metric fails on them.
    """
    clips, samples = len(rows.true_features), 1 + max(sample for _, sample in rows.features)
    values = {"score": math.nan}
    text = ""
    if metric is not None:
        assert load_features is not None  # rows of a set metric come from a folder
        values = finalise_set(metric, load_features(name, rows.features, rows.true_features))
        text = caution(metric, clips, samples)
    return SetScore(
        score=_plain(values.pop("score")),
        details={str(key): _plain(value) for key, value in values.items()},
        clips=clips,
        samples=samples,
        recordings=len({recordings[clip] for clip in rows.true_features}),
        data=digest_of(rows.data.items()),
        caution=text,
    )


def _different(tally: Tally) -> list[dict[str, str]]:
    """Return what metrics scored: one of equal digests by clip, which most metrics have."""
    different: list[dict[str, str]] = []
    for rows in tally.metrics.values():
        if rows.data not in different:
            different.append(rows.data)
    return different


def digest_of(clips: Collection[tuple[str, str]]) -> str:
    """Return the digest of what was scored, from (clip, digest) pairs in any order."""
    lines = sorted(f"{clip} {digest}" for clip, digest in clips)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@dataclass
class _Curve:
    """A metric at each step: score (NaN where undefined), interval, details."""

    scores: list[float] = field(default_factory=list)
    intervals: list[tuple[float, float] | None] = field(default_factory=list)
    details: list[dict[str, float | None]] = field(default_factory=list)


def _curve(
    metric: StepMetric,
    rows: MetricTally,
    steps: Sequence[int],
    recordings: Mapping[str, str],
    names: Mapping[str, str],
    *,
    intervals: bool,
) -> _Curve:
    curve = _Curve()
    for step in steps:
        column = rows.column(step)
        groups: Recordings = group_frames(column, recordings) if intervals else [column.statistics]
        values = finalise(metric, [statistic for group in groups for statistic in group])
        curve.scores.append(values.pop("score"))
        curve.details.append({names.get(key, str(key)): _plain(number) for key, number in values.items()})
        if intervals:
            curve.intervals.append(interval(metric, groups))
    return curve


def _score(curve: _Curve, rows: MetricTally, recordings: Mapping[str, str], *, cumulative: bool) -> Score:
    means = [_mean(curve.scores[: k + 1]) for k in range(len(curve.scores))] if cumulative else []
    return Score(
        per_step=tuple(map(_plain, curve.scores)),
        ci95=tuple(curve.intervals),
        mean_to=tuple(map(_plain, means)),
        mean=_plain(means[-1]) if means else None,
        details=tuple(curve.details) if any(curve.details) else (),
        data=digest_of(rows.data.items()),
        clips=len(rows.clips),
        recordings=len({recordings[clip] for clip in rows.clips}),
        undefined=dict(sorted(Counter(rows.undefined.values()).items())),
        notes=dict(sorted(rows.notes.items())),
    )


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
