"""One clip as the report shows it: sheets of truth and predictions, scores, and the data of the viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

from vpbench.output import line
from vpbench.pages.numbers import number, step_text
from vpbench.plugin.metric import better_text, cost
from vpbench.results.pictures import Kind, LegendEntry, Sheet
from vpbench.results.records import MetricRecord

SHARED: Final[tuple[Kind, ...]] = ("context", "truth", "labels", "flow", "disocclusion")
"""Sheets that do not depend on the predictor."""
TITLES: Final[Mapping[Kind, str]] = {
    "context": "context",
    "truth": "truth",
    "prediction": "prediction",
    "error": "error",
    "labels": "true labels",
    "predicted-labels": "predicted labels",
    "flow": "true flow",
    "predicted-flow": "predicted flow",
    "disocclusion": "true dis-occlusion",
    "predicted-disocclusion": "predicted dis-occlusion",
}
VIEWS: Final[Sequence[tuple[str, str, Kind, Kind]]] = (
    ("frames", "Frames", "truth", "prediction"),
    ("error", "Error", "truth", "error"),
    ("labels", "Labels", "labels", "predicted-labels"),
    ("flow", "Flow", "flow", "predicted-flow"),
    ("disocclusion", "Dis-occlusion", "disocclusion", "predicted-disocclusion"),
)
"""Name and title of each view, the sheet of the truth and the sheet of a predictor."""


@dataclass(frozen=True)
class Strip:
    """One sheet on a page."""

    title: str
    source: str
    """Path of the file below the report."""
    sheet: Sheet

    @property
    def rows(self) -> int:
        """Rows of pictures."""
        return -(-len(self.sheet.steps) // self.sheet.columns)

    @property
    def alt(self) -> str:
        """Text for people who do not see the pictures."""
        first, last = (step_text(step) for step in (self.sheet.steps[0], self.sheet.steps[-1]))
        return f"{self.title}, {first}" if first == last else f"{self.title}, {first} to {last}"

    @property
    def thumb(self) -> str:
        """The style that shows the last picture alone, in a box of one picture's shape."""
        row, column = divmod(len(self.sheet.steps) - 1, self.sheet.columns)
        columns, rows = self.sheet.columns, self.rows
        across, down = 100 * column / columns, 100 * row / rows
        return f"width:{100 * columns}%;transform:translate(-{across:.4f}%,-{down:.4f}%)"


@dataclass(frozen=True)
class PredictorClip:
    """The pictures and scores of one predictor on one clip."""

    name: str
    strips: Mapping[Kind, Strip]
    scores: Mapping[str, Mapping[int, float]]
    """By metric and step."""
    sample: int | None
    """Number of the sample that is shown; None for a deterministic predictor."""

    def mean(self, metric: str) -> float | None:
        """Return the mean over the steps."""
        values = self.scores.get(metric, {})
        return sum(values.values()) / len(values) if values else None


@dataclass(frozen=True)
class Clip:
    """One clip with pictures."""

    id: str
    page: str
    truth: Mapping[Kind, Strip]
    predictors: Sequence[PredictorClip]
    metrics: Mapping[str, MetricRecord]
    remarks: Sequence[str]

    @cached_property
    def strips(self) -> Mapping[Kind, Strip]:
        """One strip of each modality, for legends and sizes: of the truth, else of a predictor."""
        merged: dict[Kind, Strip] = {}
        for strips in (self.truth, *(predictor.strips for predictor in self.predictors)):
            merged = {**strips, **merged}
        return merged

    def text(self, metric: str, value: float | None) -> str:
        """Return a score as the tables print it."""
        return number(value, self.metrics[metric].decimals)

    @property
    def views(self) -> list[tuple[str, str]]:
        """Name and title of the views for which there are pictures."""
        kinds = self.strips.keys()
        return [
            (name, title) for name, title, *pair in VIEWS if name == "frames" or kinds & set(pair[name == "error" :])
        ]

    def range(self, metric: str) -> float:
        """Return the range of the predictors' means; 0 with fewer than two."""
        means = [mean for predictor in self.predictors if (mean := predictor.mean(metric)) is not None]
        return max(means) - min(means) if len(means) > 1 else 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures of frames."""
        return next(iter(self.strips.values())).sheet.size


@dataclass(frozen=True)
class Legend:
    """The meaning of the colours of a view."""

    view: str
    text: str
    entries: Sequence[LegendEntry]


def legends(clip: Clip) -> list[Legend]:
    """Return the legend of each view that needs one."""
    meanings = []
    if error := clip.strips.get("error"):
        text = f"Mean absolute error over the channels, from 0 to {error.sheet.limit:g} or more. One scale for all."
        meanings.append(Legend("error", text, ()))
    if names := _classes(clip):
        meanings.append(Legend("labels", "", names))
    if flow := clip.strips.get("flow") or clip.strips.get("predicted-flow"):
        text = f"Hue is direction. Full saturation is {flow.sheet.limit:.3g} pixels per frame or more."
        meanings.append(Legend("flow", text, ()))
    if {"disocclusion", "predicted-disocclusion"} & clip.strips.keys():
        meanings.append(Legend("disocclusion", "White: not visible in the frame before.", ()))
    return meanings


def _classes(clip: Clip) -> list[LegendEntry]:
    """Return the classes that appear in any sheet of labels."""
    sheets = [*clip.truth.items(), *(item for predictor in clip.predictors for item in predictor.strips.items())]
    entries = [entry for kind, strip in sheets if "labels" in kind for entry in strip.sheet.legend]
    return list({(entry.name, entry.colour): entry for entry in entries}.values())


@dataclass(frozen=True)
class ScoreRow:
    """The scores of one predictor on a clip: the mean over the steps of each metric."""

    name: str
    texts: Sequence[str]
    best: Sequence[bool]


def score_rows(clip: Clip) -> list[ScoreRow]:
    """Return a row per predictor, with a cell per metric of the clip."""
    costs = {
        metric: [cost(mean, record.better) for p in clip.predictors if (mean := p.mean(metric)) is not None]
        for metric, record in clip.metrics.items()
    }
    rows = []
    for predictor in clip.predictors:
        means = {metric: predictor.mean(metric) for metric in clip.metrics}
        texts = [clip.text(metric, mean) for metric, mean in means.items()]
        best = [
            mean is not None and len(costs[metric]) > 1 and cost(mean, record.better) == min(costs[metric])
            for (metric, mean), record in zip(means.items(), clip.metrics.values(), strict=True)
        ]
        rows.append(ScoreRow(predictor.name, texts, best))
    return rows


def directions(clip: Clip) -> list[tuple[str, str]]:
    """Return each metric with its direction in words."""
    return [(metric, better_text(record.better)) for metric, record in clip.metrics.items()]


def viewer_data(clip: Clip, page_depth: int) -> dict[str, Any]:
    """Return the values that the script of the viewer needs, as JSON can hold them; texts are printable."""
    root = "../" * page_depth
    names = {name: (true, predicted) for name, _, true, predicted in VIEWS}

    def sheets(strips: Mapping[Kind, Strip]) -> dict[str, Any]:
        return {
            kind: {
                "source": root + quote(strip.source),
                "steps": list(strip.sheet.steps),
                "size": list(strip.sheet.size),
                "columns": strip.sheet.columns,
            }
            for kind, strip in strips.items()
        }

    def scores(predictor: PredictorClip) -> dict[str, dict[int, list[Any]]]:
        return {
            metric: {step: [value, clip.text(metric, value)] for step, value in sorted(values.items())}
            for metric, values in predictor.scores.items()
        }

    return {
        "clip": line(clip.id),
        "views": {name: names[name] for name, _ in clip.views},
        "metrics": [[metric, record.better] for metric, record in clip.metrics.items()],
        "truth": sheets(clip.truth),
        "predictors": [
            {"name": line(p.name), "sheets": sheets(p.strips), "scores": scores(p)} for p in clip.predictors
        ],
    }


def gallery_data(clip: Clip, names: Sequence[str], page_depth: int) -> dict[str, Any]:
    """Return what the script of the gallery needs of one clip: a picture and the means of each of ``names``."""
    root = "../" * page_depth
    predictors = {predictor.name: predictor for predictor in clip.predictors}

    def entry(name: str) -> dict[str, Any] | None:
        if name not in predictors or "prediction" not in predictors[name].strips:
            return None
        strip = predictors[name].strips["prediction"]
        means = {metric: predictors[name].mean(metric) for metric in clip.metrics}
        texts = {metric: clip.text(metric, mean) for metric, mean in means.items()}
        place = [predictor.name for predictor in clip.predictors].index(name)
        return {
            "source": root + quote(strip.source),
            "style": strip.thumb,
            "means": means,
            "texts": texts,
            "place": place,
        }

    return {"predictors": [entry(name) for name in names]}
