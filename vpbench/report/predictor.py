"""The contents of a predictor's page: what it is, how it was trained and run, and its best and worst clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpbench.files import canonical
from vpbench.pages.boards import Board
from vpbench.pages.numbers import number
from vpbench.pages.overview import origins_of, seconds_per_frame, training_data
from vpbench.pages.section import remarks
from vpbench.pages.standings import Line, Standing, cost_of
from vpbench.plugin.loader import Plugins
from vpbench.report.section import Section

_ENDS = 5
"""Best and worst clips of a metric."""
_TRAINING = {
    "disjoint": "on other clips than these",
    "overlap": "on some of these clips",
    "unknown": "on unknown clips",
    "none": "not trained",
}


@dataclass(frozen=True)
class ClipRow:
    """One clip of a table."""

    rank: str
    """``best``, ``median`` or ``worst``."""
    clip: str
    recording: str
    texts: Sequence[str]
    """Its scores."""
    page: str = ""
    """Its page; "" if it has no pictures."""


@dataclass(frozen=True)
class ClipTable:
    """The best, median and worst clips by one metric."""

    title: str
    rows: Sequence[ClipRow]


def facts(section: Section, standing: Standing, plugins: Plugins) -> list[tuple[str, str]]:
    """Return what is known of a predictor, as pairs of a name and a text."""
    result, run = standing.results[0], standing.results[0].run
    entry = plugins.entries.get(("predictor", run.predictor))
    seconds = None if section.devices else seconds_per_frame(standing.results)
    pairs = [
        ("predictor", run.label),
        ("what it is", entry.summary if entry else ""),
        ("kind", _kind(standing)),
        ("parameters", f"{run.parameters:,}" if run.parameters else ""),
        ("seconds per frame", "" if seconds is None else f"{seconds:.2g}"),
        ("rank", f"none: {standing.unranked_because}" if standing.unranked_because else ""),
        ("trained on", training_data(run)),
        ("trained", _TRAINING.get(result.training, "")),
        *_weights(standing),
        *((f"annotated {modality}", text) for modality, text in sorted(run.identity.annotators.items())),
        ("results", ", ".join(result.run.identity_hash[:12] for result in standing.results)),
        *(("evaluated with", origin) for origin in origins_of(standing.results)),
    ]
    return [(name, text) for name, text in pairs if text]


def _kind(standing: Standing) -> str:
    run = standing.results[0].run
    if run.sees_truth:
        return "oracle: it is shown the truth"
    if not run.stochastic:
        return "deterministic"
    samples = run.identity.samples
    return f"stochastic, {samples} sample{'s' * (samples > 1)} per clip"


def _weights(standing: Standing) -> list[tuple[str, str]]:
    uses = {use.sha256: use for result in standing.results if (use := result.run.weights) and use.sha256}
    pairs = [("weights", ", ".join(digest[:12] for digest in uses))]
    trainings = [use.training for use in uses.values() if use.training]
    if trainings:
        pairs.append(("training steps", ", ".join(dict.fromkeys(f"{training.steps:,}" for training in trainings))))
        pairs.append(("training seeds", ", ".join(dict.fromkeys(str(training.seed) for training in trainings))))
    return pairs


def options(standing: Standing) -> list[tuple[str, str]]:
    """Return the options of a predictor, as pairs of a name and a value."""
    return [(name, _value(value)) for name, value in standing.results[0].run.identity.options.items()]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)


def predictor_remarks(section: Section, standing: Standing) -> list[str]:
    """Return the warnings of the results of a predictor, and the remarks on them."""
    lines = [str(alert) for alert in section.alerts if alert.result in standing.results]
    return list(dict.fromkeys([*lines, *remarks(standing.candidates)]))


def clip_tables(section: Section, standing: Standing) -> list[ClipTable]:
    """Return, for each metric, the best, median and worst clips of the first seed."""
    tables = []
    for board in section.boards:
        line = board.line_of(standing)
        if line is not None and board.metric in line.candidates[0].clips.scores:
            rows = _clip_rows(section, board, line)
            tables += [ClipTable(board.title, rows)] if rows else []
    return tables


def _clip_rows(section: Section, board: Board, line: Line) -> list[ClipRow]:
    clips = line.candidates[0].clips
    means = clips.scores[board.metric].means
    defined = np.flatnonzero(np.isfinite(means))
    if len(defined) < 2:
        return []
    costs = np.array([cost_of(float(means[place]), board.better) for place in defined])
    order = defined[np.argsort(costs, kind="stable")]
    ends = min(_ENDS, len(order) // 2)
    middle = order[(len(order) - 1) // 2]
    ranked = [("best", place) for place in order[:ends]]
    ranked += [("median", middle)] if len(order) > 2 * ends else []
    ranked += [("worst", place) for place in order[len(order) - ends :]]
    recordings = section.recordings
    return [
        ClipRow(
            rank,
            clips.clips[place],
            recordings[clips.clips[place]],
            [number(float(means[place]), board.spec.decimals)],
            section.clips.get(clips.clips[place], ""),
        )
        for rank, place in ranked
    ]
