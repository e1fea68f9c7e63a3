"""Compare results on disk: check that they may be compared, read their rows once, and compare each with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import InstanceOf

from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.plugin.sample_metric import set_metrics, step_metrics
from vpbench.results.comparable import check_comparable, check_data, shared_metrics
from vpbench.results.compare import Comparison, SetDifference, compare_all, compare_sets
from vpbench.results.layouts import Layouts
from vpbench.results.multiplicity import LEVEL
from vpbench.results.paired import smallest_p
from vpbench.results.result import Result, load
from vpbench.results.seeds import SeedScores, group_seeds, score_seeds, seeds_of
from vpbench.results.summarise import metrics_of
from vpbench.results.verify import check_result
from vpbench.validation import checked_arguments

Pairs = Mapping[tuple[int, int], Comparison]


@dataclass(frozen=True)
class ResultComparison:
    """Several results, each compared with each by every metric that all of them measured."""

    results: tuple[Result, ...]
    metrics: Mapping[str, Pairs]
    """Per metric, the comparison of each pair by the places of its results, (i, j) with i < j."""
    sets: Mapping[str, Mapping[tuple[int, int], SetDifference]]
    """The same for set metrics, which have no interval and no p-value."""
    seeds: Mapping[tuple[int, ...], Mapping[str, SeedScores]]
    """Scores over the seeds of a predictor, by the places of its results, then by metric."""
    inputs: Mapping[tuple[int, int], str]
    """How the inputs of the two predictors differ besides frames; "" if they do not."""
    informed: tuple[bool, ...]
    """Whether each predictor was shown more than frames."""
    partial: str
    """Why the results are partial; "" if they are not."""

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The places of the results of each pair."""
        return list(combinations(range(len(self.results)), 2))

    def unresolved(self, metric: str) -> bool:
        """Return whether the smallest possible p-value of a metric, once corrected, is not significant."""
        comparison = self.metrics[metric][0, 1]
        return smallest_p(comparison.recordings) * comparison.family >= LEVEL

    def to_json(self) -> dict[str, Any]:
        """Return plain values: of two results, one document; of more, one document for each pair."""
        protocol = self.results[0].run.protocol.name
        common = {"schema": 1, "protocol": protocol, "partial": self.partial, "seeds": self._seeds_json()}
        if len(self.results) == 2:
            return common | self._pair_json(0, 1)
        pairs = [self._pair_json(*pair) for pair in self.pairs]
        return common | {"results": [_name_json(result) for result in self.results], "pairs": pairs}

    def _pair_json(self, first: int, second: int) -> dict[str, Any]:
        pairs = {name: asdict(by_pair[first, second]) for name, by_pair in self.metrics.items()}
        pairs |= {name: asdict(by_pair[first, second]) for name, by_pair in self.sets.items()}
        names = {"first": _name_json(self.results[first]), "second": _name_json(self.results[second])}
        return names | {"inputs": self.inputs[first, second], "metrics": pairs}

    def _seeds_json(self) -> list[dict[str, Any]]:
        return [
            {
                "label": self.results[places[0]].label,
                "paths": [str(self.results[place].path) for place in places],
                "metrics": {name: asdict(scores) for name, scores in metrics.items()},
            }
            for places, metrics in self.seeds.items()
        ]


@checked_arguments
def compare(
    results: Sequence[InstanceOf[Result] | str | Path],
    *,
    metrics: Sequence[str] = (),
    plugins: InstanceOf[Plugins] | None = None,
) -> ResultComparison:
    """Compare results on the same clips, each with each.

    Args:
        results: two results or more, or their folders.
        metrics: names of metrics; by default all that every result measured.
        plugins: loaded plugins; by default the installed ones.

    Raises:
        UsageError: fewer than two results, or one folder twice.
        ResultError: they are of other protocols or clips, share no metric, or one contradicts itself.

    Example:
        >>> comparison = vpbench.compare(["results/a", "results/b"], metrics=["mse"])  # doctest: +SKIP
        >>> comparison.metrics["mse"][0, 1].lead_from  # doctest: +SKIP
        LeadFrom(lead='first', step=1)
    """
    loaded = plugins or load_plugins()
    opened = tuple(result if isinstance(result, Result) else load(result) for result in results)
    partial = check_comparable(opened)
    names = shared_metrics(opened, metrics)
    installed = metrics_of(opened[0].store, loaded)
    layouts = Layouts()
    tallies = [check_result(result, loaded, layouts).tally for result in opened]
    pairs = list(combinations(range(len(opened)), 2))
    inputs = {(i, j): check_data([opened[i], opened[j]], [tallies[i], tallies[j]], names) for i, j in pairs}
    steps, recordings = opened[0].summary.steps, opened[0].run.recordings
    by_step, sets = step_metrics(installed), set_metrics(installed)
    return ResultComparison(
        results=opened,
        metrics={name: compare_all(tallies, by_step[name], steps, recordings) for name in names if name in by_step},
        sets={
            name: {(i, j): compare_sets(opened[i], opened[j], sets[name]) for i, j in pairs}
            for name in names
            if name in sets
        },
        seeds={
            places: {
                name: score_seeds(
                    [tallies[place] for place in places],
                    [seeds_of(opened[place]) for place in places],
                    by_step[name],
                    steps,
                    recordings,
                )
                for name in names
                if name in by_step
            }
            for places in group_seeds(opened)
        },
        inputs=inputs,
        informed=tuple(bool(tally.context) for tally in tallies),
        partial=partial,
    )


def _name_json(result: Result) -> dict[str, str]:
    return {"path": str(result.path), "label": result.label}
