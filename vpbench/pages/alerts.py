"""Signs that a result of a leaderboard may be wrong, found by program: each has a kind, a result and a text."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from vpbench.pages.boards import result_name
from vpbench.pages.candidates import Candidate
from vpbench.pages.standings import table_of
from vpbench.results.card import CARD, read_card
from vpbench.results.records import RunRecord
from vpbench.results.result import Result

AlertKind: TypeAlias = Literal[
    "inconsistent-metrics", "runs-disagree", "equals-reference", "unknown-training", "clamped-frames"
]
MANY_CLAMPED = 0.1
"""Share of clamped frames above which a result gets an alert. No committed result has a clamped frame."""
_EQUAL = 1e-9  # relative: scores of the same predictions on another machine


@dataclass(frozen=True)
class Alert:
    """A sign that a result may be wrong, or that too little is known of it."""

    kind: AlertKind
    result: Result
    name: str
    """The result's name among those of its protocol."""
    text: str

    def __str__(self) -> str:
        """Return the alert as one line."""
        return f"warning ({self.kind}): {self.name}: {self.text}"


def find_alerts(candidates: Iterable[Candidate]) -> list[Alert]:
    """Return the alerts of all complete results, in the order of protocols and names.

    Raises:
        ResultError: a card cannot be read.
    """
    groups: dict[tuple[str, str, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        run = candidate.result.run
        if candidate.complete:
            groups[run.protocol.name, run.identity.protocol, run.identity.manifest].append(candidate)
    return [alert for key in sorted(groups) for alert in _group_alerts(groups[key])]


def _group_alerts(group: Sequence[Candidate]) -> list[Alert]:
    """Return the alerts of results of one protocol and one list of clips."""
    results = [candidate.result for candidate in group]
    references = [result for result in results if result.label == result.run.protocol.reference]
    alerts = []
    for candidate in group:
        name = result_name(candidate.result, results, seed=True)
        texts = [*_single_alerts(candidate), *_equal_to(candidate.result, references)]
        alerts += [Alert(kind, candidate.result, name, text) for kind, text in texts]
    return sorted(alerts, key=lambda alert: (alert.name, alert.kind, alert.text))


def _single_alerts(candidate: Candidate) -> Iterator[tuple[AlertKind, str]]:
    """Yield the alerts that follow from one result and its copies."""
    result = candidate.result
    for text in candidate.contradictions:
        yield "inconsistent-metrics", text
    if candidate.rivals:
        runs = f"{len(candidate.rivals)} other run" + "s" * (len(candidate.rivals) > 1)
        yield "runs-disagree", f"{runs} of the same identity {result.run.identity_hash[:12]} with other rows"
    if result.training == "unknown":
        yield "unknown-training", f"nothing is known of the clips that it was trained on{_declared(result)}"
    frames, clamped = _predicted_frames(result.run), result.summary.clamped_frames
    if clamped > MANY_CLAMPED * frames:
        share = f"{100 * clamped / frames:.0f} %"
        yield "clamped-frames", f"{clamped} of {frames} predicted frames ({share}) were clamped to [0,1]"


def _declared(result: Result) -> str:
    """Return the statement of a result's card on its training data; "" without one."""
    if not (result.path / CARD).is_file():
        return ""
    statement = str(read_card(result.path / CARD).get("training_data", ""))
    return f"; its authors say: {statement}" if statement else ""


def _predicted_frames(run: RunRecord) -> int:
    return sum(len(entry.steps) for entry in run.manifest) * run.identity.samples


def _equal_to(result: Result, references: Sequence[Result]) -> Iterator[tuple[AlertKind, str]]:
    """Yield an alert if some metric has the score of the protocol's reference at every step."""
    if any(result is reference for reference in references):
        return
    for reference in references:
        if names := [name for name in result.summary.scores if _equal_scores(result, reference, name)]:
            text = f"{', '.join(names)} at every step as of {reference.label}, the reference of the protocol"
            yield "equals-reference", f"the same {text}"
            return


def _equal_scores(result: Result, reference: Result, metric: str) -> bool:
    if metric not in reference.summary.scores or table_of(result, metric) != table_of(reference, metric):
        return False
    scores, expected = result.summary.scores[metric].per_step, reference.summary.scores[metric].per_step
    pairs = zip(scores, expected, strict=True)
    return all(a is not None and b is not None and math.isclose(a, b, rel_tol=_EQUAL) for a, b in pairs)
