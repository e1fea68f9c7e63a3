"""Writes ``summary.json`` once every unit is there: at the end of a run, and for ``vpbench merge``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping

from vpbench.errors import ResultError
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import Metric
from vpbench.protocol.protocol import Protocol
from vpbench.results.identity import canonical
from vpbench.results.record import holds
from vpbench.results.store import Store, write_atomic
from vpbench.results.summary import summarise

__all__ = ["merge", "metrics_of", "verify", "write_summary"]


def write_summary(store: Store, metrics: Mapping[str, Metric], *, allow_partial: bool) -> bool:
    """Write ``summary.json`` if every unit is published, or if ``allow_partial`` and any is; return whether it was.

    Raises:
        ResultError: a unit is not what was published, or the file cannot be written.
    """
    published = store.published()
    if len(published) < store.units and not (allow_partial and published):
        return False
    store.check_claims()
    text = _summary(store, metrics)
    path = store.folder / "summary.json"
    if not holds(path, text):
        write_atomic(path, text)
    return True


def _summary(store: Store, metrics: Mapping[str, Metric]) -> str:
    published = store.published()
    reasons = [store.run["partial"]] if store.run["partial"] else []
    if len(published) < store.units:
        reasons.append(f"{len(published)} of {store.units} units")
    protocol = Protocol.parse(store.run["protocol"], f"{store.folder}/run.json")
    summary = summarise(
        store.rows(),
        metrics,
        identity=store.run["identity_hash"],
        steps=protocol.steps,
        cumulative=store.run["cumulative"],
        skipped=store.run["skipped"],
        partial="; ".join(reasons),
        classes=store.run.get("classes", ()),
    )
    return json.dumps(summary, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def metrics_of(store: Store, plugins: Plugins) -> dict[str, Metric]:
    """Return the metrics of a result.

    Raises:
        ResultError: a metric has another revision now. UsageError: a metric is not installed.
    """
    metrics: dict[str, Metric] = {}
    for name, stored in store.run["metrics"].items():
        metric: Metric = plugins.load("metric", name)("cpu")
        if metric.info.revision != stored["revision"]:
            raise ResultError(
                f"{store.folder} was measured with {name} revision {stored['revision']}, installed is revision "
                f"{metric.info.revision}: run it again, or use the vpbench that made it"
            )
        metrics[name] = metric
    return metrics


def merge(store: Store, plugins: Plugins, *, allow_partial: bool) -> None:
    """Check that a result is complete and write its summary.

    Raises:
        ResultError: units are missing (and not ``allow_partial``), or one is not what was published.
    """
    if not write_summary(store, metrics_of(store, plugins), allow_partial=allow_partial):
        there = set(store.published())
        missing = [n for n in range(store.units) if n not in there]
        named = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise ResultError(
            f"{store.folder}: {len(missing)} of {store.units} units are missing ({named}): run the same command again, "
            f"or say --allow-partial"
        )


def verify(store: Store, plugins: Plugins) -> str:
    """Check every unit and, if there is a summary, that it follows from the rows; return what was found in words.

    Raises:
        ResultError: names the first file that is not as it should be.
    """
    identity = store.run["identity"]
    protocol = Protocol.parse(store.run["protocol"], f"{store.folder}/run.json")
    digest = hashlib.sha256(canonical(identity).encode()).hexdigest()
    if digest != store.run.get("identity_hash") or protocol.hash != identity.get("protocol"):
        raise ResultError(f"{store.folder / 'run.json'} was changed after it was written: run again with another --out")
    store.check_claims()
    published = store.published()
    for number in published:
        store.unit_rows(number)
    words = f"{len(published)} of {store.units} units, each as published"
    path = store.folder / "summary.json"
    if not os.path.lexists(path):
        return f"{words}; no summary"
    if not holds(path, _summary(store, metrics_of(store, plugins))):
        raise ResultError(f"{path} does not follow from the rows: `vpbench merge {store.folder}` makes it anew")
    return f"{words}; the summary follows from them"
