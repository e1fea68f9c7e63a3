"""Write ``summary.json`` once every unit is published: at the end of a run, and for ``vpbench merge``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress

from vpbench.errors import Remedy, ResultError, UsageError
from vpbench.files import write_atomic
from vpbench.plugin.loader import Plugins
from vpbench.plugin.sample_metric import AnyMetric
from vpbench.results.audit import check_run
from vpbench.results.reading import has_text
from vpbench.results.result import Result
from vpbench.results.scores import Summary
from vpbench.results.store import Store
from vpbench.results.summary import summarise
from vpbench.results.tally import Tally
from vpbench.select.metrics import engines_of, fingerprint_metric
from vpbench.temporary import remove_temporary_files


def write_summary(store: Store, metrics: Mapping[str, AnyMetric], *, allow_partial: bool) -> bool:
    """Write ``summary.json`` if every unit is published, or if ``allow_partial`` and any is; return whether it was.

    Raises:
        ResultError: a unit is not what was published, or the file cannot be written.
    """
    published = store.published()
    if len(published) < store.units and not (allow_partial and published):
        return False
    store.check_claims()
    text = summary_text(summary_of(store, Tally(store.rows()), metrics))
    path = store.folder / "summary.json"
    if not has_text(path, text):
        write_atomic(path, text)
    with suppress(OSError):  # the result is complete without it
        remove_temporary_files(store.folder)
    return True


def summary_of(
    store: Store, tally: Tally, metrics: Mapping[str, AnyMetric | None], *, intervals: bool = True
) -> Summary:
    """Return the summary that follows from rows (raises as :func:`summarise`)."""
    published = store.published()
    run = store.run
    reasons = [run.partial] if run.partial else []
    if len(published) < store.units:
        reasons.append(f"{len(published)} of {store.units} units")
    text = "; ".join(reasons)
    return summarise(tally, metrics, run, partial=text, load_features=store.feature_set, intervals=intervals)


def summary_text(summary: Summary) -> str:
    """Return the text of ``summary.json``."""
    return json.dumps(summary.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def metrics_of(store: Store, plugins: Plugins) -> dict[str, AnyMetric]:
    """Return the metrics of a result.

    Raises:
        ResultError: a metric has another revision or other code now. UsageError: a metric is not installed.
    """
    metrics: dict[str, AnyMetric] = {}
    for name in store.run.metrics:
        try:
            metrics[name] = plugins.load("metric", name)("cpu")
        except UsageError as error:
            raise UsageError(f"{store.folder}: {error}", error.remedy) from error
        if reason := other_code(store, plugins, name):
            raise ResultError(f"{store.folder} was measured with {reason}: run it again, or install what made it")
    return metrics


def other_code(store: Store, plugins: Plugins, name: str) -> str:
    """Return how a result's metric differs from the installed one of that name; "" if it does not.

    The revision decides, unless the metric's plugin is not released: then its code does.

    Raises:
        UsageError: the metric is not installed.
    """
    measured, installed = store.run.metrics[name].revision, plugins.load("metric", name)("cpu").info.revision
    if measured != installed:
        return f"{name} revision {measured}, installed is revision {installed}"
    code = Result(store).metric_code(name)
    engines = ("", *engines_of(plugins.load("metric", name)))
    if code and all(fingerprint_metric(plugins, name, engine).sha256 != code for engine in engines):
        return f"other code of {name} than that of the plugin now, under the same revision {installed}"
    return ""


def merge(store: Store, plugins: Plugins, *, allow_partial: bool) -> None:
    """Check that a result is complete and write its summary.

    Raises:
        ResultError: units are missing (and not ``allow_partial``), or one is not what was published; ``run.json``
            contradicts itself.
    """
    check_run(store)
    if not write_summary(store, metrics_of(store, plugins), allow_partial=allow_partial):
        missing = sorted(set(range(store.units)).difference(store.published()))
        numbers = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise ResultError(
            f"{store.folder}: {len(missing)} of {store.units} units are missing ({numbers}): run the same "
            f"command again, or allow a partial result",
            Remedy.ALLOW_PARTIAL,
        )
