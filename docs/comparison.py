"""Write docs/models/comparison.md from committed results, and from the costs of their trainings.

``python docs/generate.py`` runs it. ``benchmarks/costs.py --save`` writes the costs. A training without a committed
result is left out, and so is a result without costs.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbench.errors import ResultError
from vpbench.files import canonical
from vpbench.output import link
from vpbench.pages.boards import result_name, score_cell, table_text
from vpbench.pages.overview import arrow, seconds_per_frame
from vpbench.pages.standings import Score, cost_of, equal, table_of
from vpbench.plugin.metric import Better
from vpbench.results.result import Result, find_results, load

PAGE = Path(__file__).parent / "models" / "comparison.md"
ROOT = Path(__file__).parents[1] / "leaderboards"
METRICS = ("mse", "ssim", "lpips")
BUDGETS = {"time": "Equal time of one core", "clips": "Equal number of clips", "hour": "An hour of one core"}
INTRODUCTION = """# Comparison of the small models

Each table has models that trained with one budget. A model that has not trained with it is not in the table.

- Scores are means over all steps and over the seeds, with the standard deviation over the seeds below.
- GFLOP per frame are the operations of convolutions and products for a predicted frame. A multiply-add counts as two.
- Seconds per frame are those of the evaluation: the predictor's time for a predicted frame.
- Minutes are the clips times the processor time of a clip, forward and backward, on one thread.
  All trainings are measured in one run, in turns.
- Both times come from a shared machine, which computes up to twice as fast on some days as on others.

All models learn from the squared error of the frames that they predict. CDNet's loss has this error of every
iteration's frames, and an area loss with the weight 1e-5. ConvLSTM is trained with
`-o 'convlstm.hidden=[129]' -o convlstm.l1=0 -o convlstm.ssim=0 -o convlstm.l2=10`, to
have CDNet's size and the squared error.

`python docs/generate.py` writes this page from `leaderboards/results` and `leaderboards/costs.json`. Train and
evaluate a model with several seeds, and add it:

```sh
vpbench train -p scenes-static -m predrnn:tiny --max-steps 2200 --device cpu --workers 0 --keep last --seed 0
vpbench run -p scenes-static -m predrnn --weights predrnn=WEIGHTS.safetensors --out RESULTS
python leaderboards/archive.py --add RESULTS
PYTHONPATH=plugins:datasets python benchmarks/costs.py --weights WEIGHTS.safetensors \\
    --budget time --save leaderboards/costs.json
make readme
```
"""


@dataclass(frozen=True)
class Row:
    """One configuration of a predictor, trained with one or several seeds; without costs, one that does not train."""

    results: tuple[Result, ...]
    costs: tuple[Mapping[str, Any], ...]

    def score(self, metric: str) -> Score:
        """Return the mean over the seeds; None if a seed has no score."""
        scores = [result.summary.scores.get(metric) for result in self.results]
        values = [score.mean for score in scores if score is not None and score.mean is not None]
        if len(values) < len(scores):
            return Score(None)
        return Score(statistics.fmean(values), spread=statistics.stdev(values) if len(values) > 1 else None)


def comparison(results: Sequence[Result], costs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page.

    Args:
        results: complete results.
        costs: costs of trainings by the sha256 of their weights.

    Raises:
        ResultError: two results on one protocol have the same weights, or results of one table are not comparable.
    """
    sections = [_section(protocol, group, costs) for (protocol, *_), group in grouped(results).items()]
    text = "\n".join(filter(None, sections)) or "No training with one of the budgets has a committed result yet.\n"
    return f"{INTRODUCTION}\n{text}"


def grouped(results: Sequence[Result]) -> dict[tuple[str, str, str], list[Result]]:
    """Group results by the name and the hash of their protocol and by their clips."""
    groups: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for result in sorted(results, key=lambda result: (result.label, result.run.identity_hash)):
        identity = result.run.identity
        groups[result.run.protocol.name, identity.protocol, identity.manifest].append(result)
    return dict(sorted(groups.items()))


def _section(protocol: str, results: Sequence[Result], costs: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for budget, title in BUDGETS.items():
        if trained := trained_rows(results, costs, budget):
            references = [Row((result,), ()) for result in results if result.run.weights is None]
            parts.append(f"### {title}\n\n{_table([*trained, *references])}\n")
    return "\n".join([f"## {protocol}\n", *parts]) if parts else ""


def _costs(result: Result, costs: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return costs.get(result.run.weights.sha256, {}) if result.run.weights else {}


def trained_rows(results: Sequence[Result], costs: Mapping[str, Mapping[str, Any]], budget: str) -> list[Row]:
    """Group the results of trainings with a budget if they differ in their training's seed only.

    Raises:
        ResultError: two have the same weights.
    """
    groups: dict[str, dict[str, Result]] = defaultdict(dict)
    for result in results:
        if budget not in _costs(result, costs).get("budgets", ()):
            continue
        assert result.run.weights is not None
        digest = result.run.weights.sha256
        training = costs[digest]
        group = groups[canonical([result.label, result.run.identity.options, training["steps"], training["clips"]])]
        if digest in group:
            raise ResultError(
                f"{group[digest].path} and {result.path} are results of the same weights: remove the older one"
            )
        if twin := next((other for other in group if costs[other]["seed"] == training["seed"]), None):
            raise ResultError(
                f"{group[twin].path} and {result.path} are of two trainings with one seed: remove the older one"
            )
        group[digest] = result
    return [Row(tuple(group.values()), tuple(costs[digest] for digest in group)) for group in groups.values()]


def _table(rows: Sequence[Row]) -> str:
    specs = {name: spec for row in rows for name, spec in row.results[0].run.metrics.items() if name in METRICS}
    metrics = [name for name in METRICS if name in specs]
    _check_comparable(rows, metrics)
    named = [row.results[0] for row in rows]
    best = {name: _best(rows, name, specs[name].better) for name in metrics}
    lines = []
    for row in sorted(rows, key=lambda row: _order(row, metrics)):
        result = row.results[0]
        seeds = f" ({len(row.results)} seeds)" if len(row.results) > 1 else ""
        cells = [link(result_name(result, named, seed=False), result.run.paper) + seeds]
        for name in metrics:
            score, spec = row.score(name), specs[name]
            cells.append(score_cell(score, spec.decimals, bold=equal(cost_of(score.value, spec.better), best[name])))
        lines.append([*cells, *_cost_cells(row)])
    heads = ["predictor", *(f"{name} {arrow(specs[name].better)}" for name in metrics)]
    heads += ["parameters", "GFLOP per frame", "seconds per frame", "steps", "clips", "minutes"]
    return table_text(heads, lines)


def _check_comparable(rows: Sequence[Row], metrics: Sequence[str]) -> None:
    for metric in metrics:
        measured = [result for row in rows for result in row.results if metric in result.summary.scores]
        for result in measured[1:]:
            if table_of(result, metric) != table_of(measured[0], metric):
                raise ResultError(
                    f"{measured[0].path} and {result.path}: {metric} was measured with another revision, code or data, "
                    "so they share no table: evaluate the older one again"
                )


def _best(rows: Sequence[Row], metric: str, better: Better) -> float | None:
    costs = [cost_of(row.score(metric).value, better) for row in rows]
    return min((cost for cost in costs if cost is not None), default=None)


def _order(row: Row, metrics: Sequence[str]) -> tuple[bool, float, str]:
    """Sort by the first metric of the page, which is better where it is lower; rows without it follow."""
    value = row.score(metrics[0]).value if metrics else None
    return value is None, value or 0.0, row.results[0].label


def _cost_cells(row: Row) -> list[str]:
    run, seconds = row.results[0].run, seconds_per_frame(row.results)
    cells = [f"{run.parameters:,}" if run.parameters else "—"]
    cells += [f"{row.costs[0]['operations'] / 1e9:.2f}" if row.costs else "—", f"{seconds:.2g}" if seconds else "—"]
    if not row.costs:
        return [*cells, "—", "—", "—"]
    minutes = statistics.fmean(cost["minutes"] for cost in row.costs)
    return [*cells, f"{row.costs[0]['steps']:,}", f"{row.costs[0]['clips']:,}", f"{minutes:.1f}"]


def page(root: Path = ROOT) -> str:
    """Return the page of a folder of leaderboards."""
    return comparison(*read(root))


def read(root: Path) -> tuple[list[Result], dict[str, dict[str, Any]]]:
    """Return the ``results`` and the ``costs.json``, if there is one, of a folder of leaderboards."""
    costs = json.loads(path.read_text()) if (path := root / "costs.json").exists() else {}
    return [load(folder) for folder in find_results(root / "results")], costs
