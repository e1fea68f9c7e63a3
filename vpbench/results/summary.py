"""From rows to scores: one per step, with a seeded bootstrap interval over recordings."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vpbench.plugin.metric import Statistic, StepMetric
from vpbench.plugin.sample_metric import AnyMetric
from vpbench.plugin.set_metric import SetMetric
from vpbench.results.estimates import Recordings, finalise, finalise_set, group_frames, interval
from vpbench.results.features import LoadFeatures
from vpbench.results.records import RunRecord
from vpbench.results.rows import Row
from vpbench.results.samples import score_samples
from vpbench.results.scores import Score, SetScore, Summary
from vpbench.select.metrics import caution


@dataclass
class MetricTally:
    """The rows of one metric, sorted by step and frame, and what is counted of them."""

    steps: dict[int, dict[tuple[str, int], Statistic]] = field(default_factory=lambda: defaultdict(dict))
    """Defined statistics by step, then by (clip, sample)."""
    undefined: dict[tuple[int, str, int], str] = field(default_factory=dict)
    """Why a frame has no value, by (step, clip, sample)."""
    notes: Counter[str] = field(default_factory=Counter)
    data: dict[str, str] = field(default_factory=dict)
    """Digest of what was scored, by clip."""
    features: dict[tuple[str, int], str] = field(default_factory=dict)
    """Digests of the features of a set metric by (clip, sample)."""
    true_features: dict[str, str] = field(default_factory=dict)
    """Digests of the features of the truth by clip."""

    @property
    def clips(self) -> set[str]:
        """The clips with a value at any step."""
        return {clip for frames in self.steps.values() for clip, _ in frames}

    @property
    def samples(self) -> int:
        """The number of samples per clip."""
        defined = {sample for frames in self.steps.values() for _, sample in frames}
        return 1 + max(defined | {sample for _, _, sample in self.undefined}, default=0)

    @property
    def only_reason(self) -> str:
        """The reason why no frame has a value, if there is exactly one; else ""."""
        reasons = set(self.undefined.values())
        return reasons.pop() if len(reasons) == 1 and not self.clips else ""


@dataclass(frozen=True)
class TallyPart:
    """Rows of one metric and step, all with a value."""

    metric: str
    step: int
    frames: Sequence[tuple[str, int]]
    """(clip, sample) of each row."""
    places: Sequence[int]
    """The places of the rows among all rows of their unit."""
    data: Mapping[str, str]
    """Digest of what was scored, by clip."""
    context: Mapping[str, str]
    """Digest of the predictor's inputs besides frames, by clip."""


class Tally:
    """All rows of a result, read once, in any order."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.metrics: dict[str, MetricTally] = defaultdict(MetricTally)
        self.clips: set[str] = set()
        self.context: dict[str, str] = {}
        """Digest of the predictor's inputs besides frames, by clip."""
        self.clamped: set[tuple[str, int, int]] = set()
        self.add_rows(rows)

    def add_rows(self, rows: Iterable[Row]) -> None:
        """Add rows of any kind."""
        for row in rows:
            self._add(row)

    def add_parts(self, parts: Sequence[TallyPart], values: Sequence[Statistic]) -> None:
        """Add the rows of a unit by their values: as :meth:`add_rows`, in a tenth of the time."""
        for part in parts:
            metric = self.metrics[part.metric]
            metric.steps[part.step].update(zip(part.frames, map(values.__getitem__, part.places), strict=True))
            metric.data.update(part.data)
            self.clips.update(part.data)
            self.context.update(part.context)

    def _add(self, row: Row) -> None:
        clip, sample, metric = row["clip"], row.get("sample", 0), self.metrics[row["metric"]]
        self.clips.add(clip)
        metric.data[clip] = row["data"]
        if "context" in row:
            self.context[clip] = row["context"]
        if "clamped" in row:
            self.clamped.add((clip, sample, row["step"]))
        if "features" in row:
            metric.features[clip, sample] = row["features"]
            if "true_features" in row:
                metric.true_features[clip] = row["true_features"]
            return
        value = row["value"]
        if value is None:
            metric.undefined[row["step"], clip, sample] = row["reason"]
            return
        if "note" in row:
            metric.notes[row["note"]] += 1
        metric.steps[row["step"]][clip, sample] = value


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
        data=digest_of({pair for rows in tally.metrics.values() for pair in rows.data.items()}),
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
        frames = rows.steps.get(step, {})
        groups: Recordings = [list(frames.values())]
        if intervals:
            groups = group_frames(frames, recordings)  # half of the time
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
