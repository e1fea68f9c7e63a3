"""Open and check every result below some folders: what leaderboards and the report are made of."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vpbench.allocator import paused_collection
from vpbench.errors import ResultError, VpbenchError, VpbenchWarning
from vpbench.plugin.loader import Plugins
from vpbench.plugin.sample_metric import step_metrics
from vpbench.results.agreement import contradictions, same_rows
from vpbench.results.clip_arrays import ClipArrays, clip_arrays
from vpbench.results.layouts import Layouts
from vpbench.results.reading import read_digest
from vpbench.results.result import Result, find_results, load
from vpbench.results.store import Store
from vpbench.results.verify import check_result


@dataclass(frozen=True)
class Candidate:
    """A result that passed every check."""

    result: Result
    doubts: Mapping[str, str]
    """Why scores could not be computed again, by metric."""
    clips: ClipArrays
    """Scores of single clips, by each metric that is not in doubt."""
    contradictions: tuple[str, ...] = ()
    """Metrics with values that do not follow from those of another metric of the same frames."""
    rivals: tuple[Result, ...] = ()
    """Results of the same identity with other rows."""

    @property
    def complete(self) -> bool:
        """True if no clip of the protocol is missing."""
        return not self.result.summary.partial


def collect(roots: Sequence[Path], plugins: Plugins) -> list[Candidate]:
    """Open and check every summarised result below the roots; copies of one result count once.

    Raises:
        ResultError: a root holds none, or one cannot be read or contradicts itself.
    """
    folders: dict[Path, Path] = {}
    for root in roots:
        results = find_results(root)
        finished = [path for path in results if os.path.lexists(path / "summary.json")]
        if not finished:
            raise ResultError(f"{root}: there is no finished result below it; evaluate a predictor into it first")
        if unfinished := [path for path in results if path not in finished]:
            warnings.warn(
                f"results without a summary are left out ({len(unfinished)}, for example {unfinished[0]}): run the "
                f"same command again, or `vpbench merge`",
                VpbenchWarning,
                stacklevel=2,
            )
        folders |= {path.resolve(): path for path in finished}
    layouts = Layouts()
    with paused_collection():
        candidates = [_check(path, plugins, layouts) for path in folders.values()]
    return _without_copies(candidates)


def _check(path: Path, plugins: Plugins, layouts: Layouts) -> Candidate:
    try:
        result = load(path)
        check = check_result(result, plugins, layouts)
        metrics = step_metrics({name: metric for name, metric in check.metrics.items() if metric is not None})
        clips = clip_arrays(check.tally, metrics, result.run)
        return Candidate(result, check.doubts, clips, tuple(contradictions(check.tally, check.metrics)))
    except VpbenchError as error:
        raise ResultError(
            f"{error} (no page was written: nothing is ranked next to a result that cannot be trusted; correct it, or "
            f"move {path} away)"
        ) from error


def _without_copies(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Keep one candidate per identity: one with the most units. It names its rivals, which have other rows."""
    by_identity: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_identity[candidate.result.run.identity_hash].append(candidate)
    return [_first_of(copies) if len(copies) > 1 else copies[0] for copies in by_identity.values()]


def _first_of(copies: Sequence[Candidate]) -> Candidate:
    digests = [_unit_digests(copy.result.store) for copy in copies]
    order = sorted(range(len(copies)), key=lambda i: (-len(digests[i]), sorted(digests[i].items())))
    first, *copied = order
    rivals = [copies[i].result for i in copied if not _same_units(copies, digests, first, i)]
    return replace(copies[first], rivals=tuple(rivals))


def _unit_digests(store: Store) -> dict[int, str]:
    return {number: read_digest(store.unit_path(number)) for number in store.published()}


def _same_units(copies: Sequence[Candidate], digests: Sequence[Mapping[int, str]], first: int, second: int) -> bool:
    """Return whether two copies agree in the units that both have, up to the rounding of another machine."""
    shared = digests[first].keys() & digests[second].keys()
    stores = copies[first].result.store, copies[second].result.store
    return all(digests[first][unit] == digests[second][unit] or same_rows(*stores, unit) for unit in shared)
