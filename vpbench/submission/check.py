"""Check a result and its card before it is packed, and a bundle before it joins the leaderboards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbench.errors import VpbenchError
from vpbench.files import RECORD
from vpbench.output import brief
from vpbench.plugin.loader import Plugins
from vpbench.results.agreement import contradictions
from vpbench.results.card import CARD, Card, make_card, read_card
from vpbench.results.reading import read_text
from vpbench.results.records import RunRecord
from vpbench.results.result import Result, load
from vpbench.results.verify import check_result, verify
from vpbench.select.data import open_protocol
from vpbench.submission.bundle import public_attempts
from vpbench.submission.files import header_faults, list_files, name_faults


@dataclass(frozen=True)
class Report:
    """The outcome of a check."""

    faults: tuple[str, ...] = ()
    """One line per reason to refuse it."""
    notes: tuple[str, ...] = ()
    """One line per fact that a reviewer should know."""
    card: Card | None = None
    """The card, if its fields fit."""


def check_bundle(folder: Path, plugins: Plugins) -> Report:
    """Check a bundle from anyone: its files, and then the result as :func:`check_submission`.

    The rows are not read if the files have faults.
    """
    try:
        bundle_files = list_files(folder)
        result = load(folder)
        faults = name_faults(bundle_files, result.store)
        faults += header_faults(folder, bundle_files) if not faults else []
        faults += _place_faults(folder, result)
        faults += _attempt_faults(result) if not faults else []
        if faults:
            return Report(tuple(faults))
        values = read_card(folder / CARD)
    except VpbenchError as error:
        return Report((str(error),))
    except OSError as error:
        return Report((f"{folder} cannot be read: {error.strerror}",))
    return check_submission(result, values, plugins)


def check_submission(result: Result, values: Mapping[str, Any], plugins: Plugins) -> Report:
    """Check that a result is complete, follows from its rows, can be ranked, and fits the values of its card."""
    run = result.run
    card, faults = make_card(values)
    row_faults, notes = _row_findings(result, plugins)
    faults += [*_card_faults(run, values), *row_faults, *_rank_faults(run), *_protocol_faults(run, plugins)]
    return Report(tuple(faults), (*notes, *_notes(run, values, plugins)), card)


def _place_faults(folder: Path, result: Result) -> list[str]:
    place = (result.run.protocol.name, result.label, result.run.identity_hash[:12])
    if folder.absolute().parts[-3:] == place:
        return []
    return [f"it must lie in a folder {'/'.join(place)}, as the record of its run says"]


def _attempt_faults(result: Result) -> list[str]:
    """Return a line for the first record of a process that names a machine, or that published nothing."""
    texts = public_attempts(result.store)
    for path in sorted((result.path / "attempts").glob("*.json")):
        if texts.get(path.name) != read_text(path, RECORD):
            return [f"attempts/{path.name}: it is not what vpbench writes into a bundle; pack the result again"]
    return []


def _row_findings(result: Result, plugins: Plugins) -> tuple[list[str], list[str]]:
    """Return faults and notes of the rows and the summary."""
    foreign = sorted(name for name in result.run.metrics if ("metric", name) not in plugins.entries)
    try:
        if result.summary.partial:
            reason = brief(result.summary.partial_reason)
            return [f"{result.path} is partial ({reason}): run it on all clips"], []
        if not foreign:
            verify(result.store, plugins)
        check = check_result(result, plugins)
    except VpbenchError as error:
        return [str(error)], []
    notes = [f"{name}: this metric is not installed here; its scores are shown without a rank" for name in foreign]
    return contradictions(check.tally, check.metrics), notes


def _rank_faults(run: RunRecord) -> Iterator[str]:
    if run.sees_truth:
        yield "the predictor is an oracle, which has no rank"
    if run.weights and run.weights.clips == "none":
        yield "the weights are not trained"
    if run.weights and run.weights.clips == "overlap":
        yield f"the weights were trained on {run.weights.seen} sequences of this protocol, so the result has no rank"


def _protocol_faults(run: RunRecord, plugins: Plugins) -> Iterator[str]:
    """Yield a line for a protocol that has the name of an installed one and another content."""
    name = run.protocol.name
    if ("protocol", name) in plugins.entries and open_protocol(plugins, name).hash != run.protocol.hash:
        yield f"protocol {name!r} is not the installed one of that name: run it again"


def _card_faults(run: RunRecord, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each statement that the result needs and the card lacks, or that contradicts the result."""
    if values.get("identity") != run.identity_hash:
        yield "card, identity: it is the card of another result"
    weights = run.weights
    if weights and weights.clips == "unknown" and not values.get("training_data"):
        yield "card, training_data: run.json does not record all data that the weights were trained on; state them"
    if values.get("weights_url") and not weights:
        yield "card, weights_url: the predictor has no weights"
    if values.get("weights_url") and weights and not weights.sha256:
        yield "card, weights_url: run.json has no sha256 of the weights, so nobody can check the file"


def _notes(run: RunRecord, values: Mapping[str, Any], plugins: Plugins) -> Iterator[str]:
    if run.identity.unproven:
        yield "the predictor, or a metric, cannot be fingerprinted: a second run has another identity"
    if ("predictor", run.predictor) not in plugins.entries:
        yield f"predictor {run.predictor!r} is not installed here: nobody can reproduce the result without its plugin"
    if run.weights and run.weights.clips in ("disjoint", "unknown") and not values.get("weights_url"):
        yield "the card names no address of the weights"
    if not values.get("code"):
        yield "the card names no address of the code"
    if ("protocol", run.protocol.name) not in plugins.entries:
        yield f"protocol {run.protocol.name!r} is not installed here: it gets a page of its own"
