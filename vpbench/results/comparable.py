"""Decide whether results may be compared: of one protocol, the same clips, the same metrics, the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from vpbench.errors import ResultError, UsageError, did_you_mean
from vpbench.results.result import Result
from vpbench.results.tally import Tally


def check_comparable(results: Sequence[Result]) -> str:
    """Check that results are of the same protocol and clips; return why they are partial ("" if they are not).

    Raises:
        UsageError: there are fewer than two, or one folder twice.
        ResultError: they are not; names two of them.
    """
    if len(results) < 2:
        raise UsageError("a comparison needs two results or more; name another result of the same protocol")
    folders = [result.path.resolve() for result in results]
    if repeated := next((result for place, result in enumerate(results) if folders[place] in folders[:place]), None):
        raise UsageError(f"{repeated.path} is named twice; name different results")
    first = results[0]
    for result in results[1:]:
        _check_clips(first, result)
    return "; ".join(dict.fromkeys(result.summary.partial_reason for result in results if result.summary.partial))


def _check_clips(first: Result, second: Result) -> None:
    identities = first.run.identity, second.run.identity
    protocols = [f"{result.run.protocol.name} v{result.run.protocol.version}" for result in (first, second)]
    problem = ""
    if identities[0].protocol != identities[1].protocol:
        problem = " and ".join(protocols)
    elif identities[0].manifest != identities[1].manifest:
        problem = "the same protocol, but of other clips"
    if problem:
        raise ResultError(
            f"{first.path} and {second.path} cannot be compared: they are of {problem}; run both on the same clips"
        )


def shared_metrics(results: Sequence[Result], metrics: Sequence[str] = ()) -> list[str]:
    """Return the metrics to compare: those named, else every metric that all results have scores of.

    Raises:
        ResultError: one of them lacks it, they measured it with different revisions or code, or they share none.
    """
    for metric, result in product(metrics, results):
        if metric not in result.summary.measured:
            reason = result.summary.skipped.get(metric)
            hint = f": {reason}" if reason else did_you_mean(metric, result.summary.measured)
            raise ResultError(f"{result.path} has no {metric}{hint}")
    first, *rivals = results
    measured = [name for name in first.summary.measured if all(name in result.summary.measured for result in rivals)]
    names = list(dict.fromkeys(metrics)) or measured
    if not names:
        raise ResultError(f"{' and '.join(str(result.path) for result in results)} share no metric")
    for name in names:
        for second in rivals:
            _check_metric(first, second, name)
    return names


def _check_metric(first: Result, second: Result, name: str) -> None:
    revisions = [result.run.metrics[name].revision for result in (first, second)]
    if revisions[0] != revisions[1]:
        raise ResultError(
            f"{first.path} and {second.path}: {name} was measured with revisions {revisions[0]} and "
            f"{revisions[1]}; run the older one again"
        )
    if first.metric_code(name) != second.metric_code(name):
        raise ResultError(
            f"{first.path} and {second.path}: {name} was measured with different code under one revision; run "
            f"both again with the same plugin"
        )


def check_data(results: Sequence[Result], tallies: Sequence[Tally], metrics: Sequence[str]) -> str:
    """Check that all results scored the same data; return how the predictors' other inputs differ ("" if they do not).

    Raises:
        ResultError: the digest of what was scored differs for a clip; names the metric and the clip.
    """
    for second, tally in zip(results[1:], tallies[1:], strict=True):
        for metric in metrics:
            _check_pixels(results[0], second, (tallies[0], tally), metric)
    contexts = [tally.context for tally in tallies]
    if all(context == contexts[0] for context in contexts):
        return ""
    if all(contexts):
        return "the predictors were shown different inputs besides frames (labels, flow)"
    informed = [result.label for result, context in zip(results, contexts, strict=True) if context]
    return f"{' and '.join(dict.fromkeys(informed))} alone was shown more than frames (labels, flow)"


def _check_pixels(first: Result, second: Result, tallies: tuple[Tally, Tally], metric: str) -> None:
    data = [tally.metrics[metric].data for tally in tallies]
    if clips := sorted(clip for clip in data[0].keys() & data[1].keys() if data[0][clip] != data[1][clip]):
        raise ResultError(
            f"{first.path} and {second.path} cannot be compared: {metric} scored other data, for example other "
            f"frames of clip {clips[0]!r}; run both on the same data root with the same decoder"
        )
