"""Tables about samples: the best and worst ones, marked as oracle numbers, and details such as rank histograms."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from vpbench.output import markdown
from vpbench.pages.boards import Board, result_name, table_text
from vpbench.pages.numbers import number
from vpbench.results.result import Result
from vpbench.results.scores import SampleCurve, SampleScores

ORACLE = "best and worst choose each clip's sample by the truth: oracle numbers, never ranked"


def sample_curves(samples: SampleScores | None) -> dict[str, SampleCurve]:
    """Return the curves by the name of their convention, such as ``best``; none for a single sample per clip."""
    if samples is None:
        return {}
    return {
        "best": samples.best,
        "worst": samples.worst,
        "best-per-step": samples.best_per_step,
        "spread": samples.spread,
    }


def sample_section(board: Board) -> str:
    """Return the section of a metric's best and worst samples; "" if no predictor has several samples."""
    results = [result for _, line in board.ranked for result in line.results]
    rows = [row for result in results if (row := _row(board, result, results))]
    if not rows:
        return ""
    scores = "means over the steps" if board.run.cumulative else "scores of the last step"
    heads = ["predictor", "mean", "best", "worst", "best-per-step", "spread"]
    title = f"## {markdown(board.title)}, best and worst samples"
    return f"{title}\n\n{scores}; {ORACLE}\n\n{table_text(heads, rows)}\n"


def detail_section(board: Board) -> str:
    """Return the section of the details of a metric of all samples, such as a histogram; "" if it has none."""
    results = [result for _, line in board.ranked for result in line.results] if board.spec.kind == "samples" else []
    columns = [_details(result, board.metric, board.steps) for result in results]
    names = list(dict.fromkeys(name for column in columns for name in column))
    if not names:
        return ""
    text = "Means over the steps." if board.run.cumulative else "The last step."
    heads = ["", *(markdown(result_name(result, results, seed=True)) for result in results)]
    rows = [[markdown(name), *(number(column.get(name), board.spec.decimals) for column in columns)] for name in names]
    return f"## {markdown(board.title)}, details\n\n{text}\n\n{table_text(heads, rows)}\n"


def _details(result: Result, metric: str, steps: Sequence[int]) -> dict[str, float]:
    """Return the mean of each detail over some steps, where each of them has it."""
    summary = result.summary
    details = summary.scores[metric].details
    chosen = [details[summary.steps.index(step)] for step in steps] if details else []
    values = {name: [entry.get(name) for entry in chosen] for name in (chosen[0] if chosen else ())}
    defined = {name: [value for value in column if value is not None] for name, column in values.items()}
    return {name: fmean(column) for name, column in defined.items() if len(column) == len(steps)}


def _row(board: Board, result: Result, results: Sequence[Result]) -> list[object]:
    score = result.summary.scores[board.metric]
    if score.samples is None:
        return []
    curves = [SampleCurve(per_step=score.per_step, mean=score.mean), *sample_curves(score.samples).values()]
    overall = [curve.mean if board.run.cumulative else curve.per_step[-1] for curve in curves]
    name = markdown(result_name(result, results, seed=True))
    return [name, *(number(value, board.spec.decimals) for value in overall)]
