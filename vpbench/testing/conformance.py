"""Check a plugin by kind and name, in a program or as tests of pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpbench.errors import UsageError
from vpbench.names import Selector
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.testing.annotators import CHECKS as ANNOTATOR_CHECKS
from vpbench.testing.annotators import AnnotatorSubject
from vpbench.testing.check import Check, Outcome, run_check, run_checks
from vpbench.testing.datasets import CHECKS as DATASET_CHECKS
from vpbench.testing.datasets import DatasetSubject
from vpbench.testing.metric_subject import MetricSubject
from vpbench.testing.metrics import CHECKS as METRIC_CHECKS
from vpbench.testing.predictors import CHECKS as PREDICTOR_CHECKS
from vpbench.testing.subject import PredictorSubject


@dataclass(frozen=True)
class Request:
    """Which plugin to check, and with what."""

    plugins: Plugins
    kind: str
    """One of ``CHECKS``."""
    text: str
    """``NAME[:PRESET]``"""
    options: Mapping[str, Any] = field(default_factory=dict)
    roots: Mapping[str, Path] = field(default_factory=dict)
    extra: Sequence[str] = ()
    """Plugins that are not installed: files or modules."""

    def subject(self) -> Any:
        """Return what the checks of its kind are run on.

        Raises:
            UsageError: no such name.
        """
        name = Selector.parse(self.text).name
        self.plugins.entry(self.kind, name)
        match self.kind:
            case "predictor":
                return PredictorSubject(self.plugins, self.text, {name: self.options})
            case "dataset":
                return DatasetSubject(self.plugins, self.text, self.options, self.roots, self.extra)
            case "metric":
                return MetricSubject(self.plugins, self.text)
        return AnnotatorSubject(self.plugins, self.text, {name: self.options})


CHECKS: Mapping[str, Sequence[Check[Any]]] = {
    "predictor": PREDICTOR_CHECKS,
    "dataset": DATASET_CHECKS,
    "metric": METRIC_CHECKS,
    "annotator": ANNOTATOR_CHECKS,
}
"""The checks of each kind of plugin, in the order in which they run."""


def checks_of(kind: str) -> Sequence[Check[Any]]:
    """Return the checks of a kind of plugin.

    Raises:
        UsageError: a kind that has no checks.
    """
    if kind not in CHECKS:
        raise UsageError(f"a {kind} has no checks; those that have: {', '.join(CHECKS)}")
    return CHECKS[kind]


def check_plugin(request: Request) -> Iterator[Outcome]:
    """Yield the outcomes of all checks, one after another.

    Raises:
        UsageError: no such name, or a kind that has no checks.
    """
    checks, subject = checks_of(request.kind), request.subject()
    return run_checks(checks, lambda check: run_check(check, subject))


def check_predictor(name: str, *, plugin: str = "", options: Mapping[str, Any] | None = None) -> list[Outcome]:
    """Check a predictor on synthetic clips.

    Args:
        name: ``NAME[:PRESET]``, as registered.
        plugin: a file or module to load, if it is not installed.
        options: option values.

    Raises:
        UsageError: no such name.
    """
    return list(check_plugin(_request("predictor", name, plugin, options)))


def check_dataset(
    name: str, *, plugin: str = "", options: Mapping[str, Any] | None = None, root: Path | str | None = None
) -> list[Outcome]:
    """Check a dataset on the data at ``root`` (other arguments as :func:`check_predictor`)."""
    return list(check_plugin(_request("dataset", name, plugin, options, root)))


def check_metric(name: str, *, plugin: str = "") -> list[Outcome]:
    """Check a metric on distorted synthetic clips (arguments as :func:`check_predictor`)."""
    return list(check_plugin(_request("metric", name, plugin)))


def check_annotator(name: str, *, plugin: str = "", options: Mapping[str, Any] | None = None) -> list[Outcome]:
    """Check an annotator on synthetic clips (arguments as :func:`check_predictor`)."""
    return list(check_plugin(_request("annotator", name, plugin, options)))


def conformance(
    kind: str,
    name: str,
    *,
    plugin: str = "",
    options: Mapping[str, Any] | None = None,
    root: Path | str | None = None,
) -> Callable[[Any], None]:
    """Return a test for pytest, one case per check; a check that does not apply is skipped with its reason.

    Args:
        kind: ``"predictor"``, ``"dataset"``, ``"metric"`` or ``"annotator"``.
        name: as registered.
        plugin: a file or module to load, if it is not installed.
        options: option values.
        root: the data root of a dataset.

    Raises:
        UsageError: a kind that has no checks.

    Example:
        >>> test_mine = vpbench.testing.conformance("predictor", "mine")  # doctest: +SKIP
    """
    import pytest

    subjects: dict[str, Any] = {}

    @pytest.mark.parametrize("check", checks_of(kind), ids=lambda check: check.name.replace(" ", "-"))
    def test(check: Check[Any]) -> None:
        if name not in subjects:
            subjects[name] = _request(kind, name, plugin, options, root).subject()
        outcome = run_check(check, subjects[name])
        if outcome.status == "not applicable":
            pytest.skip(outcome.detail)
        if outcome.error is not None:
            raise AssertionError(f"{outcome.demand} {outcome.detail}") from outcome.error

    conforms: Callable[[Any], None] = test
    return conforms


def _request(
    kind: str,
    name: str,
    plugin: str = "",
    options: Mapping[str, Any] | None = None,
    root: Path | str | None = None,
) -> Request:
    extra = [plugin] if plugin else []
    roots = {} if root is None else {"": Path(root)}
    return Request(load_plugins(extra), kind, name, options or {}, roots, extra)
