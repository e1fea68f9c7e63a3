"""The comparison of results on the terminal: two step by step, more as a matrix of who leads from which step on."""

from __future__ import annotations

from collections.abc import Sequence

from vpbench.output import Strong, say, say_block, say_table, width
from vpbench.pages.boards import result_name
from vpbench.pages.layout import TableText, shorten, table_width
from vpbench.pages.numbers import count_clips, count_samples, interval_text, number, percent
from vpbench.plugin.metric import better_text, cost
from vpbench.results.compare import Comparison, SetDifference
from vpbench.results.comparison import Pairs, ResultComparison
from vpbench.results.multiplicity import LEVEL
from vpbench.results.paired import smallest_p
from vpbench.results.seeds import SeedScores

_NAME = 36
"""Characters of a predictor's name in a table."""
_LEGEND = (
    "> t+k: the row is significantly better than the column from step k on; < t+k: significantly worse\n"
    "> mean, < mean: only in the mean over the steps; =: neither; then the share of clips where the row is better"
)


def print_comparison(comparison: ResultComparison) -> None:
    """Print the comparison of two results step by step, or a matrix of more."""
    names = [result_name(result, comparison.results, seed=True) for result in comparison.results]
    protocol = comparison.results[0].run.protocol.name
    if len(names) == 2:
        say(f"{protocol}: {names[0]} (first) and {names[1]} (second)")
        for metric, pairs in comparison.metrics.items():
            _print_steps(comparison, metric, pairs[0, 1])
        for differences in comparison.sets.values():
            _print_set(comparison, differences[0, 1])
    else:
        say(f"{protocol}: {len(names)} results")
        for metric, pairs in comparison.metrics.items():
            _print_matrix(comparison, metric, pairs, names)
        if comparison.metrics:
            say()
            say_block(_LEGEND)
        for place, name in enumerate(names, 1):
            if len(name) > _NAME:
                say(f"{place}: {name}")
        for metric in comparison.sets:
            _print_sets(comparison, metric, names)
    _print_seeds(comparison)
    _remark_inputs(comparison, names)
    if comparison.partial:
        say(f"partial ({comparison.partial}): a look, not a finding")


def _remark_inputs(comparison: ResultComparison, names: Sequence[str]) -> None:
    texts = list(dict.fromkeys(filter(None, comparison.inputs.values())))
    if len(names) == 2:
        say_block("\n".join(texts))
    elif texts:
        informed = [name for name, shown_more in zip(names, comparison.informed, strict=True) if shown_more]
        say_block(f"shown more than frames (labels, flow): {', '.join(informed)}")


def lead_text(comparison: Comparison) -> str:
    """Return who is significantly better, and from which step on."""
    lasting, steps = comparison.lead_from, comparison.steps
    if lasting and lasting.step == steps[0]:
        return f"the {lasting.lead} is significantly better" + (" at every step" if len(steps) > 1 else "")
    if lasting:
        return f"the {lasting.lead} is significantly better from t+{lasting.step} on"
    leads = {
        lead: ", ".join(f"t+{step}" for step, leader in zip(steps, comparison.leads, strict=True) if leader == lead)
        for lead in ("first", "second")
    }
    texts = [f"the {lead} is significantly better at {places}" for lead, places in leads.items() if places]
    return "; ".join(["no lead lasts to the last step", *texts] if texts else ["neither is significantly better"])


def _print_steps(comparison: ResultComparison, metric: str, pair: Comparison) -> None:
    run = comparison.results[0].run
    decimals, report = run.metrics[metric].decimals, run.protocol.report

    def cells(*scores: float | None, interval: tuple[float, float] | None) -> list[str]:
        return [*(number(score, decimals) for score in scores), interval_text(interval, decimals)]

    columns = (pair.first, pair.second, pair.difference, pair.ci95, pair.p, pair.p_holm, pair.step_win_rates)
    table = [
        [f"t+{step}", *cells(*scores, interval=interval), number(p, 4), number(corrected, 4), percent(wins)]
        for step, *scores, interval, p, corrected, wins in zip(pair.steps, *columns, strict=True)
        if step in (report or pair.steps)
    ]
    mean = pair.mean
    if len(pair.steps) > 1 and mean.difference is not None:
        scores = cells(mean.first, mean.second, mean.difference, interval=mean.ci95)
        table.append(["mean", *scores, number(mean.p, 4), "", percent(pair.win_rate)])
    say()
    say(_title(comparison, metric, pair))
    say_table(table, ["", "first", "second", "difference", "95 % interval", "p", "corrected", "wins"])
    say(lead_text(pair) + ("" if pair.effect is None else f"; effect per clip {number(pair.effect, 2)}"))
    _remark_resolution(comparison, metric, pair)
    for reason, count in pair.undefined.items():
        say(f"undefined: {count} frames ({reason})")
    if pair.worst:
        say("the first is worst compared with the second on:")
    for clip in pair.worst:
        say(f"  {clip.clip}: {number(clip.first, decimals)} and {number(clip.second, decimals)}")


def _title(comparison: ResultComparison, metric: str, pair: Comparison) -> str:
    kind = comparison.results[0].run.metrics[metric].kind
    counts = [result.run.identity.samples for result in comparison.results] if kind == "samples" else []
    clips = count_clips(pair.clips, pair.recordings)
    return ", ".join([metric, better_text(pair.better), clips, *_samples(counts)])


def _remark_resolution(comparison: ResultComparison, metric: str, pair: Comparison) -> None:
    if comparison.unresolved(metric):
        smallest = number(smallest_p(pair.recordings), 4)
        say(
            f"nothing can be significant: p of {pair.recordings} recordings is at least {smallest}, and "
            f"{smallest} x {pair.family} tests is not below {LEVEL:g}"
        )


def _print_matrix(comparison: ResultComparison, metric: str, pairs: Pairs, names: Sequence[str]) -> None:
    """Print a row per result: its mean, and for each rival who leads, from which step on, and the wins."""
    short, places = shorten(names, _NAME), range(len(names))
    run, first = comparison.results[0].run, pairs[0, 1]
    scores = [_overall(comparison, metric, place) for place in places]
    costs = [cost(score, first.better) for score in scores if score is not None]
    texts = [number(score, run.metrics[metric].decimals) for score in scores]
    best = [score is not None and cost(score, first.better) == min(costs) for score in scores]
    cells = [[_cell(pairs, row, column) for column in places] for row in places]
    marked = [Strong(text) if is_best else text for text, is_best in zip(texts, best, strict=True)]
    head = "mean" if run.cumulative else f"t+{first.steps[-1]}"

    def build(columns: Sequence[int]) -> TableText:
        rows = [[str(row + 1), short[names[row]], marked[row], *(cells[row][c] for c in columns)] for row in places]
        return rows, ["", "predictor", head, *(str(column + 1) for column in columns)]

    say()
    say(f"{_title(comparison, metric, first)}, p corrected over {first.family} tests")
    columns = list(places)
    while columns:
        count = len(columns)
        while count > 1 and table_width(build(columns[:count])) > width():
            count -= 1
        say_table(*build(columns[:count]))
        columns = columns[count:]
        if columns:
            say()
    _remark_resolution(comparison, metric, first)


def _overall(comparison: ResultComparison, metric: str, place: int) -> float | None:
    """Return the mean over the steps of one result, or its last step's score if no mean is defined."""
    score = comparison.results[place].summary.scores[metric]
    return score.mean if comparison.results[place].run.cumulative else score.per_step[-1]


def _cell(pairs: Pairs, row: int, column: int) -> str:
    """Return who leads, seen from the row, and the share of clips where the row is better."""
    if row == column:
        return ""
    pair = pairs[min(row, column), max(row, column)]
    ahead = "first" if row < column else "second"
    wins = pair.win_rate if row < column or pair.win_rate is None else 1 - pair.win_rate
    if pair.lead_from:
        lead = f"{'>' if pair.lead_from.lead == ahead else '<'} t+{pair.lead_from.step}"
    elif pair.mean.lead:
        lead = f"{'>' if pair.mean.lead == ahead else '<'} mean"
    else:
        lead = "="
    return f"{lead} {percent(wins)}"


def _samples(counts: Sequence[int]) -> list[str]:
    """Return the numbers of samples of the results, as one word of a title; nothing for a metric of single frames."""
    return [" and ".join(map(count_samples, dict.fromkeys(counts)))] if counts else []


def _print_set(comparison: ResultComparison, difference: SetDifference) -> None:
    say()
    clips = f"{difference.clips} clips"
    say(", ".join([difference.metric, better_text(difference.better), clips, *_samples(difference.samples)]))
    values = (difference.first, difference.second, difference.difference)
    decimals = comparison.results[0].run.metrics[difference.metric].decimals
    say_table([[number(value, decimals) for value in values]], ["first", "second", "difference"])
    if len(set(difference.samples)) > 1:
        say("the sets differ in size, and the score depends on it")


def _print_sets(comparison: ResultComparison, metric: str, names: Sequence[str]) -> None:
    """Print the scores of a set metric, which has no interval."""
    say()
    say(f"{metric}, {better_text(comparison.sets[metric][0, 1].better)}")
    short = shorten(names, _NAME)
    rows = []
    for place, name in enumerate(names):
        score = comparison.results[place].summary.sets[metric]
        decimals = comparison.results[place].run.metrics[metric].decimals
        rows.append([str(place + 1), short[name], number(score.score, decimals), str(score.clips), str(score.samples)])
    say_table(rows, ["", "predictor", "score", "clips", "samples"])
    if len({row[-1] for row in rows}) > 1:
        say("the sets differ in size, and the score depends on it")


def _print_seeds(comparison: ResultComparison) -> None:
    """Print the scores over the seeds of each predictor that has several."""
    results = comparison.results
    rivals = [results[places[0]] for places in comparison.seeds]
    names = {places: result_name(results[places[0]], rivals, seed=False) for places in comparison.seeds}
    short = shorten(names.values(), _NAME)
    rows = [
        _seed_row(short[names[places]], scores, results[places[0]].run.metrics[metric].decimals)
        for places, metrics in comparison.seeds.items()
        for metric, scores in metrics.items()
    ]
    if rows:
        say()
        say("seeds: the spread is over the seeds, the interval of the mean over the recordings")
        say_table(rows, ["predictor", "metric", "seeds", "mean", "spread", "95 % interval"])


def _seed_row(label: str, scores: SeedScores, decimals: int) -> list[str]:
    score = scores.mean if scores.mean.mean is not None else scores.per_step[-1]
    texts = [*(number(value, decimals) for value in (score.mean, score.spread)), interval_text(score.ci95, decimals)]
    return [label, scores.metric, _seed_count(scores), *texts]


def _seed_count(scores: SeedScores) -> str:
    trainings = len({seeds.training for seeds in scores.seeds})
    if trainings == len(scores.seeds):
        return f"{trainings} trainings"
    runs = f"{len(scores.seeds)} runs"
    return runs if trainings == 1 else f"{runs} of {trainings} trainings"
