"""The first table of a page: a row per predictor, a column per metric, and the cost of each predictor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from vpbench.output import link, markdown
from vpbench.pages.boards import Board, mean_of, result_name, table_text
from vpbench.pages.costs import LATENCY, cost_cells, cost_heads, measured_devices, standing_costs
from vpbench.pages.numbers import count_samples, number
from vpbench.pages.set_tables import SetRow, SetTable, best_rows
from vpbench.pages.standings import Line, Standing
from vpbench.pages.ties import Ties
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import Better
from vpbench.results.costs import CostRecord
from vpbench.results.records import AttemptRecord, RunRecord
from vpbench.results.result import Result
from vpbench.results.seeds import seeds_of

Sets: TypeAlias = Mapping[SetTable, Sequence[SetRow]]
"""The tables of set metrics."""
_TIE = "≈"
_SETS = "A set metric has one score of all clips, the best in bold; without an interval, its ties are not marked."
_SECONDS = (
    "Seconds per frame: the predictor's time for each predicted frame, without reading, annotation and measuring."
)


def order_standings(boards: Sequence[Board], sets: Sets) -> list[Standing]:
    """Return the predictors in the order of the first metric; those without it follow."""
    standings: list[Standing] = []
    for board in boards:
        standings += [line.standing for _, line in board.ranked if line.standing not in standings]
    for rows in sets.values():
        standings += [row.standing for row in rows if row.standing not in standings]
    return standings


def overview(boards: Sequence[Board], sets: Sets, plugins: Plugins) -> str:
    """Return the table, with its legend below.

    Args:
        boards: the metrics that score steps.
        sets: the tables of set metrics.
        plugins: where metrics are looked up.

    Raises:
        VpbenchError: rows cannot be read again, or a metric fails on them.
    """
    standings = order_standings(boards, sets)
    by_chance = Ties(plugins)
    ties = [by_chance.lines(board, Line.overall_score, board.steps) for board in boards]
    costs = [standing_costs(standing) for standing in standings]
    devices = measured_devices(costs)
    rows = []
    for standing, records in zip(standings, costs, strict=True):
        scores = [_score(board, standing, tied) for board, tied in zip(boards, ties, strict=True)]
        scores += [_set_score(set_rows, standing) for set_rows in sets.values()]
        rows.append([standing_name(standing, standings), *scores, *_costs(standing, records, devices)])
    heads = ["predictor", *(f"{markdown(board.title)} {arrow(board.better)}" for board in boards)]
    heads += [
        f"{markdown(table.metric)} {arrow(set_rows[0].spec.better)}<br><sub>{count_samples(table.samples)}</sub>"
        for table, set_rows in sets.items()
    ]
    heads += ["parameters", *cost_heads(devices), "trained on"]
    seconds = LATENCY if devices else _SECONDS
    legend = " ".join([*(_legend(board) for board in boards[:1]), *([_SETS] if sets else []), seconds])
    return f"{table_text(heads, rows)}\n\n{legend}\n\n{_origins(standings)}\n"


def standing_name(standing: Standing, standings: Sequence[Standing]) -> str:
    """Return a predictor's name as a cell: linked to its paper, with the reason if it has no rank."""
    result = standing.results[0]
    name = link(result_name(result, [row.results[0] for row in standings], seed=False), result.run.paper)
    name += mean_of(len({seeds_of(seed) for seed in standing.results}))
    return f"{name}<br><sub>{standing.unranked_because}</sub>" if standing.unranked_because else name


def arrow(better: Better) -> str:
    """Return the direction of better scores as a sign."""
    return {"higher": "↑", "lower": "↓"}.get(str(better), f"→ {better:g}" if isinstance(better, float) else "")


def _score(board: Board, standing: Standing, ties: Sequence[Line]) -> str:
    """Return the cell of one metric: bold if it is the best score, marked if it differs from that by chance."""
    line = board.line_of(standing)
    if line is None:
        return "—"
    text = number(line.overall, board.spec.decimals)
    if board.is_best(line, Line.overall_score):
        return f"**{text}**"
    return f"{text} {_TIE}" if line in ties else text


def _set_score(rows: Sequence[SetRow], standing: Standing) -> str:
    """Return the cell of one set metric: bold if it is the best score of its table."""
    row = next((row for row in rows if row.standing is standing), None)
    if row is None:
        return "—"
    text = number(row.score.value, row.spec.decimals)
    return f"**{text}**" if row in best_rows(rows) else text


def _costs(standing: Standing, records: Mapping[str, CostRecord], devices: Sequence[str]) -> list[str]:
    """Return what a predictor needs: parameters, seconds per predicted frame, training data.

    Measured costs replace the times of runs on the whole page, since the two are of other conditions.
    """
    run = standing.results[0].run
    seconds = seconds_per_frame(standing.results)
    times = cost_cells(records, devices) if devices else ["—" if seconds is None else f"{seconds:.2g}"]
    return [f"{run.parameters:,}" if run.parameters else "—", *times, markdown(training_data(run) or "—")]


def training_data(run: RunRecord) -> str:
    """Return the protocol that a predictor was trained on, or what is known instead; "" if it never learns."""
    if not run.weights:
        return ""
    return "not trained" if run.weights.clips == "none" else run.weights.protocol or "unknown"


def seconds_per_frame(results: Iterable[Result]) -> float | None:
    """Return the predictor's time for a predicted frame, over all attempts; None if no frame was counted."""
    attempts = [attempt for attempt in _attempts(results) if attempt.predicted_frames]
    frames = sum(attempt.predicted_frames for attempt in attempts)
    return sum(attempt.seconds.get("predict", 0.0) for attempt in attempts) / frames if frames else None


def _attempts(results: Iterable[Result]) -> Iterable[AttemptRecord]:
    return (attempt for result in results for attempt in result.store.attempts() if attempt.units)


def _legend(board: Board) -> str:
    first, last = board.steps[0], board.steps[-1]
    scores = f"Means over t+{first} to t+{last}" if len(board.steps) > 1 else f"Scores at t+{last}"
    ties = f"{_TIE}: the 95 % interval of the paired difference from the best score covers zero."
    if board.lines[0].result.summary.recordings < 2:
        ties = "One recording gives no interval, so ties are not marked."
    return f"{scores}; the best in bold. {ties}"


def _origins(standings: Sequence[Standing]) -> str:
    """Return which version of vpbench evaluated each predictor, and on which machine."""
    names: dict[str, list[str]] = defaultdict(list)
    for standing in standings:
        for origin in map(markdown, origins_of(standing.results)):
            names[origin].append(standing_name(standing, standings).partition("<br>")[0])
    if len(names) == 1:
        return f"Evaluated with {next(iter(names))}."
    return "\n".join(f"- {', '.join(labels)}: evaluated with {origin}." for origin, labels in names.items())


def origins_of(results: Iterable[Result]) -> list[str]:
    """Return the versions of vpbench and torch that evaluated results, each with its machine."""
    return list(dict.fromkeys(map(_origin, _attempts(results))))


def machines_of(results: Iterable[Result]) -> set[str]:
    """Return the processors that predicted: times compare only within one of them."""
    return {machine_of(attempt) for attempt in _attempts(results) if attempt.predicted_frames}


def machine_of(attempt: AttemptRecord) -> str:
    """Return the processor of an attempt."""
    return attempt.cpu if attempt.device == "cpu" else attempt.device


def _origin(attempt: AttemptRecord) -> str:
    commit, _, dirty = attempt.git.partition("-")
    versions = [f"commit {commit[:12]}{' with changes' if dirty else ''}"] if commit else []
    versions += [f"torch {attempt.versions['torch']}"] if attempt.versions.get("torch") else []
    version = attempt.versions.get("vpbench") or "of an unknown version"
    text = f"vpbench {version} ({', '.join(versions)})" if versions else f"vpbench {version}"
    machine = machine_of(attempt)
    return f"{text} on {machine}" if machine else text
