"""Draw results: each metric at every step (CDNet's figure 3), or from one result to the next (its figure 5).

    python benchmarks/curves.py OUT.png [LABEL=]RESULT... --metric NAME... [--over PREDICTOR]
    python benchmarks/curves.py OUT.png [LABEL=]RESULT... --metric NAME... --points

RESULT is a folder of one result, or of several. Each is a line over the steps with its 95 % interval. With ``--over``,
it is the quotient by that predictor's scores. With ``--points``, each step is a line over the results, in order.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vpbench import load
from vpbench.results.result import Result, find_results


def named(texts: list[str]) -> dict[str, Result]:
    """Return the results by label: the one given, else predictor and preset."""
    results: dict[str, Result] = {}
    for text in texts:
        label, _, path = text.rpartition("=")
        for folder in find_results(Path(path)):
            result = load(folder)
            name = label or result.label
            if name in results:
                raise SystemExit(f"two results are called {name}: tell them apart with LABEL=RESULT")
            results[name] = result
    return results


def draw_lines(axes: Axes, results: dict[str, Result], metric: str, over: str) -> None:
    """Draw a metric at every step."""
    scores = {label: result.summary.scores[metric] for label, result in results.items()}
    for label, score in scores.items():
        steps = range(1, len(score.per_step) + 1)
        if over:
            values = [a / b for a, b in zip(score.per_step, scores[over].per_step, strict=True)]
        else:
            values = score.per_step
            axes.fill_between(steps, *zip(*score.ci95, strict=True), alpha=0.15)
        axes.plot(steps, values, marker=".", label=label)
    axes.set(title=f"{metric} / {metric} of {over}" if over else metric, xlabel="step")
    axes.xaxis.get_major_locator().set_params(integer=True)


def draw_points(axes: Axes, results: dict[str, Result], metric: str) -> None:
    """Draw each step's line through the results."""
    scores = [result.summary.scores[metric] for result in results.values()]
    for k, values in enumerate(zip(*(score.per_step for score in scores), strict=True), 1):
        axes.plot(range(len(values)), values, marker="o", label=f"t+{k}")
    axes.set_xticks(range(len(scores)), list(results), rotation=30, ha="right")
    axes.set(title=metric)


def main() -> None:
    """Draw one panel per metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", nargs="+", metavar="[LABEL=]RESULT")
    parser.add_argument("--metric", action="append", required=True)
    parser.add_argument("--over", default="")
    parser.add_argument("--points", action="store_true")
    args = parser.parse_args()
    results = named(args.results)
    for label, result in results.items():
        if lacking := set(args.metric) - set(result.summary.scores):
            raise SystemExit(f"{label} has no {min(lacking)}; it has {', '.join(result.summary.scores)}")
    if args.over and (args.points or args.over not in results):
        raise SystemExit(f"--over {args.over}: not with --points, and one of {', '.join(results)}")
    figure = Figure(figsize=(3.6 * len(args.metric), 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(args.metric), squeeze=False)[0]
    for axes, metric in zip(panels, args.metric, strict=True):
        if args.points:
            draw_points(axes, results, metric)
        else:
            draw_lines(axes, results, metric, args.over)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
