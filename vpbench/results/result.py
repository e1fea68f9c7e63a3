"""A result on disk, opened for reading: what ``vpbench.load`` and ``vpbench.evaluate`` return."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vpbench.errors import Remedy, ResultError, VpbenchError
from vpbench.plugin.metric import Statistic
from vpbench.results.best_of import best_of_each
from vpbench.results.reading import read_summary
from vpbench.results.records import RunRecord
from vpbench.results.rows import Row
from vpbench.results.scores import SampleCurve, SampleScores, Score, Summary
from vpbench.results.store import Store
from vpbench.validation import checked_arguments

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_DEPTH = 16
_FOLDERS = 100_000
_NAMED = 3
"""Results that a message names."""


class Result:
    """A result folder: its record, its scores, its rows.

    Example:
        >>> result = vpbench.load("results/ucf101-120x160-4to10/repeat/2cbbef49a857")  # doctest: +SKIP
        >>> result.at("mse", 3), result.summary.scores["mse"].mean  # doctest: +SKIP
        (0.0042, 0.0051)
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def __repr__(self) -> str:
        summary = repr(self.summary) if os.path.lexists(self._summary_path) else "no summary"
        return f"Result({self.label} on {self.run.protocol.name}: {summary})"

    @property
    def path(self) -> Path:
        """The folder."""
        return self.store.folder

    @property
    def run(self) -> RunRecord:
        """The record in ``run.json``."""
        return self.store.run

    @property
    def label(self) -> str:
        """The predictor's name with its preset."""
        return self.run.label

    @cached_property
    def summary(self) -> Summary:
        """The scores in ``summary.json``.

        Raises:
            ResultError: units are missing and no summary was written, or it belongs to another identity.
        """
        path = self._summary_path
        if not os.path.lexists(path):
            published = len(self.store.published())
            raise ResultError(
                f"{self.path} has no summary: {published} of {self.store.units} units are there; run the same command "
                f"again, or merge them into a partial result",
                Remedy.MERGE_PARTIAL,
            )
        summary = read_summary(path)
        if summary.identity != self.run.identity_hash:
            raise ResultError(f"{path} is of another run than run.json; `vpbench merge {self.path}` writes it again")
        return summary

    def at(self, metric: str, step: int) -> float | None:
        """Return the score of one step (1 = t+1); None where it is undefined."""
        index = self._index(step)
        return self._score(metric).per_step[index]

    def samples(self, metric: str) -> SampleScores:
        """Return best, worst and spread over the samples of each clip.

        Raises:
            ResultError: the metric was not measured, or each clip has one sample.
        """
        samples = self._score(metric).samples
        if self.run.metrics[metric].kind == "samples":
            raise ResultError(f"{self.path} has no best sample by {metric}: it scores all samples of a clip together")
        if samples is None:
            raise ResultError(f"{self.path} has one sample per clip: best and worst need several")
        return samples

    def best_of(self, metric: str) -> tuple[SampleCurve, ...]:
        """Return the score of the best of n samples per clip, for n = 1 to N: an oracle number for n above 1.

        It is the expectation over all subsets of n samples, computed exactly from the rows.

        Raises:
            ResultError: the metric was not measured, each clip has one sample, or the metric's score is no mean.
        """
        count, score = self.samples(metric).count, self._score(metric)
        frames: dict[int, dict[tuple[str, int], Statistic]] = defaultdict(dict)
        for row in self.rows():
            if row["metric"] == metric and (value := row["value"]) is not None:
                frames[row["step"]][row["clip"], row["sample"]] = value
        for step, expected in zip(self.summary.steps, score.per_step, strict=True):
            if expected is not None and not _is_mean(list(frames[step].values()), expected):
                raise ResultError(f"{self.path} has no best of n by {metric}: its score is not a mean over frames")
        better, cumulative = self.run.metrics[metric].better, self.run.cumulative
        return best_of_each(frames, self.summary.steps, count, better, cumulative=cumulative)

    def mean_to(self, metric: str, step: int) -> float | None:
        """Return the mean of the scores of steps 1 to ``step``; None where it is undefined."""
        index, means = self._index(step), self._score(metric).mean_to
        return means[index] if means else None

    @property
    def _summary_path(self) -> Path:
        return self.path / "summary.json"

    def _score(self, metric: str) -> Score:
        if metric not in self.summary.scores:
            reason = self.summary.skipped.get(metric, "it was not measured")
            if metric in self.summary.sets:
                reason = "it scores all steps together: see summary.sets"
            raise ResultError(f"{self.path} has no {metric}: {reason}")
        return self.summary.scores[metric]

    def _index(self, step: int) -> int:
        if step not in self.summary.steps:
            raise ResultError(f"{self.path} has no step {step}: scored are {list(self.summary.steps)}")
        return self.summary.steps.index(step)

    def rows(self) -> Iterator[Row]:
        """Yield every row: clip, step, metric, value, status."""
        return self.store.rows()

    def to_dataframe(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame.

        Raises:
            VpbenchError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise VpbenchError("to_dataframe needs pandas: pip install 'vpbench[pandas]'") from error
        return pd.DataFrame(list(self.rows()))

    def plot(self, metric: str, axes: Axes | None = None) -> Axes:
        """Draw a metric's score over the steps, with its 95 % interval.

        Args:
            metric: name of a measured metric.
            axes: Axes to draw on, to compare results in one figure; by default those of a new figure.

        Returns:
            The axes; ``axes.figure`` is the figure, with ``savefig``.

        Raises:
            ResultError: the metric was not measured.
            VpbenchError: matplotlib is not installed.
        """
        score, steps = self._score(metric), self.summary.steps
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise VpbenchError("plot needs matplotlib: pip install 'vpbench[plot]'") from error
        axes = axes or Figure(layout="constrained").subplots()
        values = [math.nan if value is None else value for value in score.per_step]
        low, high = zip(*(ends or (math.nan, math.nan) for ends in score.ci95), strict=True)
        (curve,) = axes.plot(steps, values, marker=".", label=self.label)
        axes.fill_between(steps, low, high, color=curve.get_color(), alpha=0.2, linewidth=0)
        unit = self.run.metrics[metric].unit
        axes.set(xlabel="step", ylabel=f"{metric} ({unit})" if unit else metric, title=self.run.protocol.name)
        axes.legend()
        return axes

    @property
    def training(self) -> str:
        """Whether the weights were trained on these clips: ``disjoint``, ``overlap`` or ``unknown``.

        ``none`` for a predictor that learns but was not trained; "" for one that does not learn.
        """
        return self.run.weights.clips if self.run.weights else ""

    def metric_code(self, metric: str) -> str:
        """Return the fingerprint of a metric; "" if its revision vouches for its code, since its plugin is released."""
        return "" if self.run.metrics[metric].released else self.run.identity.metric_code[metric]

    def mixed(self) -> list[str]:
        """Return the libraries of the metrics, and the devices, where they are more than one."""
        return self.store.mixed()


def _is_mean(values: list[Statistic], score: float) -> bool:
    if not all(isinstance(value, float | int) for value in values):
        return False
    return math.isclose(math.fsum(values) / len(values), score, rel_tol=1e-9, abs_tol=1e-300)  # type: ignore[arg-type]


@checked_arguments
def load(path: str | Path) -> Result:
    """Open a result folder.

    Raises:
        UsageError: an argument is unknown or does not fit.
        ResultError: it is not a result, or of a newer schema; names the results below a folder.
    """
    folder = Path(path)
    if not os.path.lexists(folder / "run.json") and (results := find_results(folder)):
        names = ", ".join(map(str, results[:_NAMED])) + (f" and {len(results) - _NAMED} more" * (len(results) > _NAMED))
        raise ResultError(f"{folder} is not a result; below it there {'are' if len(results) > 1 else 'is'} {names}")
    return Result(Store.open(folder))


def find_results(root: Path) -> list[Path]:
    """Return every result folder at or below ``root``, sorted; links to folders are not followed.

    Raises:
        ResultError: a folder cannot be listed, or there are too many to look through.
    """
    results: list[Path] = []
    waiting = [(root, 0)]
    looked_at = 0
    while waiting:
        folder, depth = waiting.pop()
        looked_at += 1
        if depth > _DEPTH or looked_at > _FOLDERS:
            raise ResultError(
                f"{root}: more than {_FOLDERS} folders, or {_DEPTH} within each other, lie below it; "
                f"name the folder of the results themselves"
            )
        if os.path.lexists(folder / "run.json"):
            results.append(folder)  # no result lies within another one
            continue
        waiting += [(inner, depth + 1) for inner in _folders(folder)]
    return sorted(results)


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ResultError(f"{folder} cannot be listed: {error.strerror}") from error
