"""The scores of a result, as they stand in ``summary.json``."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from vpbench.protocol.protocol import Frame, Length
from vpbench.results.records import SCHEMA, Digest
from vpbench.validation import MetricName, Record, Text

Scores: TypeAlias = Annotated[tuple[float | None, ...], Field(strict=False)]
"""One number per scored step; None where it is undefined."""
Interval: TypeAlias = Annotated[tuple[float, float], Field(strict=False)]


class SampleCurve(Record, extra="forbid"):
    """One way to score the samples of each clip."""

    per_step: Scores
    """The value at each step."""
    mean: float | None
    """The mean over all steps; null for anchored sampling."""


class SampleScores(Record, extra="forbid"):
    """A metric over the samples of each clip. All but the spread choose by the truth: oracle numbers, never ranked."""

    count: Frame
    """N, the samples per clip."""
    clips: Frame
    """Clips with N values at some step; others are left out here."""
    best: SampleCurve
    """Score of the sample of each clip with the best mean over steps."""
    worst: SampleCurve
    """Score of the sample of each clip with the worst mean over steps."""
    best_per_step: SampleCurve
    """Score of the best sample of each clip, chosen at each step separately."""
    spread: SampleCurve
    """Standard deviation (N - 1) over the samples of a clip, averaged over clips."""


class Score(Record, extra="forbid"):
    """One metric of a result. Values are natural: MSE is a mean per value on [0,1]."""

    per_step: Scores
    """The score at each step."""
    ci95: Annotated[tuple[Interval | None, ...], Field(strict=False)]
    """At each step, the 95 % percentile interval over 1000 resamples of recordings; null for one recording."""
    mean_to: Scores
    """The mean of the scores of steps 1 to k, for each k; empty for anchored sampling."""
    mean: float | None
    """The mean over all steps."""
    details: Annotated[tuple[dict[Text, float | None], ...], Field(strict=False)]
    """IoU per class and the like, at each step; empty if the metric has none."""
    data: Digest
    """Digest of the data that were scored, over all clips."""
    clips: Frame
    """Clips with a value."""
    recordings: Frame
    """Independent recordings with a value."""
    undefined: dict[Text, Frame]
    """Frames without a value, by reason."""
    notes: dict[Text, Frame]
    """Counts of notes."""
    samples: SampleScores | None = None
    """Best, worst and spread over the samples of each clip; absent for one sample per clip."""

    @model_serializer(mode="wrap")
    def _without_single_samples(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ``samples`` for one sample per clip, so that older summaries keep their bytes."""
        value: dict[str, Any] = serialise(self)
        return value if self.samples else {key: item for key, item in value.items() if key != "samples"}


class SetScore(Record, extra="forbid"):
    """One set metric of a result: a score of all clips together."""

    score: float | None
    """The score; null if undefined."""
    details: dict[Text, float | None]
    """Further named values of the metric."""
    clips: Frame
    """Clips in the set: the estimate depends on their number."""
    samples: Frame
    """Predictions of each clip in the set."""
    recordings: Frame
    """Independent recordings that the clips were cut from."""
    data: Digest
    """Digest of the data that were scored, over all clips."""
    caution: Text
    """Why so few clips or samples give a doubtful score; "" if they are enough."""


class Summary(Record, extra="forbid"):
    """``summary.json``: the scores of a result, computed from its rows."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    """Version of this format."""
    identity: Digest
    """The hash of the identity."""
    steps: Annotated[tuple[Length, ...], Field(min_length=1, strict=False)]
    """The scored steps; 1 is t+1."""
    partial: bool
    """True if the result lacks clips of the protocol."""
    partial_reason: Text
    """Which ones, and why."""
    clips: Frame
    """Clips of the result."""
    recordings: Frame
    """Independent recordings that the clips were cut from."""
    data: Digest
    """Digest of the data that any metric scored."""
    context: Digest
    """Digest of the inputs besides frames; "" for frames only."""
    clamped_frames: Frame
    """Predicted frames that left [0,1] by at most 1e-4 and were clamped."""
    scores: dict[MetricName, Score]
    """The scores by metric."""
    sets: dict[MetricName, SetScore] = Field(default={})
    """The scores of set metrics; absent if none was measured."""
    skipped: dict[MetricName, Text]
    """Why other metrics have no score."""

    @property
    def measured(self) -> list[str]:
        """Names of all metrics with a score."""
        return [*self.scores, *self.sets]

    @model_serializer(mode="wrap")
    def _without_empty_sets(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ``sets`` if there are none, so that older summaries keep their bytes."""
        value: dict[str, Any] = serialise(self)
        return value if self.sets else {key: item for key, item in value.items() if key != "sets"}

    def __repr__(self) -> str:
        steps = f"t+{self.steps[0]}" if len(self.steps) == 1 else f"t+{self.steps[0]} to t+{self.steps[-1]}"
        partial = f", partial: {self.partial_reason}" if self.partial else ""
        means = "".join(f"; {name} {_short(score)}" for name, score in self.scores.items())
        means += "".join(f"; {name} {_text(score.score)}" for name, score in self.sets.items())
        return f"Summary({self.clips} clips of {self.recordings} recordings, {steps}{partial}{means})"


def _short(score: Score) -> str:
    """Return the mean of a score; of one without a mean, the last step's value."""
    value = score.mean if score.mean_to else score.per_step[-1]
    return _text(value)


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"
