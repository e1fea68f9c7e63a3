"""Tables of the best and worst samples of stochastic predictors, marked as oracle numbers."""

from __future__ import annotations

from collections.abc import Sequence

from vpbench.output import markdown
from vpbench.pages.boards import Board, result_name, table_text
from vpbench.pages.numbers import number
from vpbench.results.result import Result
from vpbench.results.scores import SampleCurve, SampleScores

ORACLE = "best and worst choose each clip's sample by the truth: oracle numbers, never ranked"


def sample_curves(samples: SampleScores) -> dict[str, SampleCurve]:
    """Return the curves by the name of their convention, such as ``best``."""
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
    heads = ["predictor", "samples", "mean", "best", "worst", "best-per-step", "spread"]
    title = f"## {markdown(board.title)}, best and worst samples"
    return f"{title}\n\n{scores}; {ORACLE}\n\n{table_text(heads, rows)}\n"


def _row(board: Board, result: Result, results: Sequence[Result]) -> list[object]:
    score = result.summary.scores[board.metric]
    if score.samples is None:
        return []
    curves = [SampleCurve(per_step=score.per_step, mean=score.mean), *sample_curves(score.samples).values()]
    overall = [curve.mean if board.run.cumulative else curve.per_step[-1] for curve in curves]
    name = markdown(result_name(result, results, seed=True))
    return [name, score.samples.count, *(number(value, board.spec.decimals) for value in overall)]
