"""Review a pull request that adds bundles: check them, run clips again where possible, and rebuild the boards."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpbench.errors import ResultError, VpbenchError
from vpbench.evaluation.plan import Settings
from vpbench.evaluation.reproduce import Reproduction, reproduce
from vpbench.output import brief
from vpbench.pages.alerts import find_alerts
from vpbench.pages.leaderboard import build_pages, collect, write_pages
from vpbench.pages.reported import PrintedTable
from vpbench.plugin.loader import Plugins
from vpbench.report.site import write_site
from vpbench.results.agreement import TOLERANCE
from vpbench.results.card import Card
from vpbench.results.records import RunRecord
from vpbench.results.result import Result, load
from vpbench.submission.changes import find_changes
from vpbench.submission.check import check_bundle
from vpbench.submission.public_weights import download_weights, ships_weights

GPU_TOLERANCE = 1e-4
"""How far a row of a result from a GPU may differ on a CPU: absolute for values up to 1, relative above."""
_UNPROVEN = (
    "the tolerance is wide because the result says that it was computed on {}; nothing here proves that: check that "
    "differences of this size change no rank"
)
_WRONG = {"inconsistent-metrics", "runs-disagree"}
"""Alerts that refuse a submission; others are for the reviewer to judge."""


@dataclass(frozen=True)
class Finding:
    """A line of a review: a fault refuses the pull request."""

    kind: Literal["fault", "warning", "note", "passed"]
    subject: str
    text: str


def review(
    pulled: Path,
    accepted: Path,
    plugins: Plugins,
    out: Path,
    *,
    clips: int,
    reported: Sequence[PrintedTable] = (),
) -> Iterator[Finding]:
    """Yield the findings on the bundles that a pull request adds; boards and report are written if all are sound.

    Args:
        pulled: the archive of results with the pull request.
        accepted: the archive without it.
        plugins: loaded plugins; none comes from the pull request.
        out: folder of the new boards and of the report.
        clips: clips to run again.
        reported: tables of papers for the boards.

    Raises:
        ResultError: an archive is, holds or lies below a link or a special file, or cannot be written.
    """
    if pulled.parent.is_symlink():  # it could lead to the accepted results, and nothing would seem to be added
        raise ResultError(f"{pulled.parent} is a link, not a folder of the pull request")
    changes = find_changes(accepted, pulled)
    faulty = bool(changes.faults)
    for fault in changes.faults:
        yield Finding("fault", "pull request", fault)
    if not changes.added:
        yield Finding("note", "pull request", "it adds no bundle")
    for folder in changes.added:
        for finding in _bundle_findings(folder, folder.relative_to(pulled).as_posix(), plugins, clips):
            faulty |= finding.kind == "fault"
            yield finding
    if not faulty:
        yield from _boards(pulled, changes.added, plugins, out, reported)


def _bundle_findings(folder: Path, name: str, plugins: Plugins, clips: int) -> Iterator[Finding]:
    report = check_bundle(folder, plugins)
    yield from (Finding("fault", name, text) for text in report.faults)
    yield from (Finding("note", name, text) for text in report.notes)
    if report.faults or report.card is None:
        return
    yield Finding("passed", name, "a sound bundle")
    result = load(folder)
    if reason := why_not_again(result.run, report.card, plugins):
        yield Finding("note", name, f"no clip was run again: {reason}")
        return
    try:
        outcome = _run_again(result, report.card, plugins, clips)
    except VpbenchError as error:
        yield Finding("fault", name, f"clips cannot be run again: {error}")
        return
    yield _reproduced(name, outcome)
    if outcome.tolerance > TOLERANCE:
        yield Finding("warning", name, _UNPROVEN.format(", ".join(_devices(result))))
    yield from (Finding("warning", name, f"{m}: not compared, {reason}") for m, reason in outcome.skipped.items())
    yield from (Finding("warning", name, remark) for remark in outcome.remarks)


def why_not_again(run: RunRecord, card: Card, plugins: Plugins) -> str:
    """Return why clips of a submitted result cannot be run again here; "" if they can."""
    for kind, name in (("predictor", run.predictor), ("dataset", run.protocol.dataset.name)):
        if (kind, name) not in plugins.entries:
            return f"the {kind} {name!r} is not installed here"
    if plugins.load("dataset", run.protocol.dataset.name).info.needs_root:
        return f"the data of {run.protocol.dataset.name!r} are not here"
    if not ships_weights(run, plugins) and not card.weights_url:
        return "the weights are not public"
    return ""


def _run_again(result: Result, card: Card, plugins: Plugins, clips: int) -> Reproduction:
    run = result.run
    with tempfile.TemporaryDirectory(prefix="vpbench-") as scratch:
        options = {}
        if not ships_weights(run, plugins) and run.weights is not None:
            path = Path(scratch) / "weights.safetensors"
            download_weights(card.weights_url, run.weights.sha256, path)
            options = {run.predictor: {"weights": str(path)}}
        tolerance = TOLERANCE if _devices(result) == ["cpu"] else GPU_TOLERANCE
        offset = secrets.randbelow(len(run.manifest))
        return reproduce(result, plugins, Settings(options=options), clips=clips, offset=offset, tolerance=tolerance)


def _devices(result: Result) -> list[str]:
    return sorted({brief(attempt.device) for attempt in result.store.attempts()})


def _reproduced(name: str, outcome: Reproduction) -> Finding:
    """Return the finding on clips that were run again, with the largest difference of each metric."""
    differences = ", ".join(f"{metric.metric} {metric.largest:.2g}" for metric in outcome.metrics)
    text = f"{len(outcome.clips)} clips run again, tolerance {outcome.tolerance:g}; largest differences: {differences}"
    if outcome.succeeded:
        return Finding("passed", name, text)
    failed = ", ".join(metric.metric for metric in outcome.metrics if metric.beyond)
    return Finding("fault", name, f"not reproduced ({failed}); {text}")


def _boards(
    pulled: Path, added: Sequence[Path], plugins: Plugins, out: Path, reported: Sequence[PrintedTable]
) -> Iterator[Finding]:
    try:
        candidates = collect([pulled], plugins)
        pages = write_pages(build_pages(candidates, plugins, reported), out / "leaderboards")
        count = write_site(candidates, plugins, reported, out / "site")
    except VpbenchError as error:
        yield Finding("fault", "boards", str(error))
        return
    for alert in find_alerts(candidates):
        if any(alert.result.path == folder for folder in added):
            kind: Literal["fault", "warning"] = "fault" if alert.kind in _WRONG else "warning"
            subject = alert.result.path.relative_to(pulled).as_posix()
            yield Finding(kind, subject, f"{alert.kind}: {alert.text}")
    yield Finding("passed", "boards", f"{len(pages)} pages and charts, and a report of {count} pages")
