"""Build metrics by name, each with one of its engines."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from vpbench.errors import PluginError, UsageError, VpbenchWarning, describe, did_you_mean, one_line
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import member
from vpbench.plugin.metric import MetricInfo, MetricMembers, Setting
from vpbench.plugin.sample_metric import AnyMetric, SampleMetric
from vpbench.plugin.set_metric import SetMetric
from vpbench.select.fingerprint import Fingerprint, fingerprint
from vpbench.select.info import read_info


def choose_metrics(plugins: Plugins, names: Sequence[str], device: str, engine: str = "") -> dict[str, AnyMetric]:
    """Build metrics by name, in the given order; those that have ``engine`` use it.

    Raises:
        UsageError: an unknown name, or an engine that no registered metric has.
        PluginError: an object that is no metric, or goes by another name.
    """
    engines = {name: engines_of(plugins.load("metric", name)) for name in names}
    if engine and not any(engine in choices for choices in engines.values()):
        engine_names = _engine_names(plugins)
        if engine not in engine_names:
            raise UsageError(f"there is no engine of metrics {engine!r}{did_you_mean(engine, engine_names)}")
        names_listed = ", ".join(names)
        warnings.warn(f"engine {engine!r} computes none of {names_listed}", VpbenchWarning, stacklevel=2)
    metrics: dict[str, AnyMetric] = {}
    for name in names:
        metric = _build_metric(plugins, name, device, engine)
        info = read_info("metric", name, metric, MetricInfo, ["why_not", *_methods(metric)])
        if info.name != name:
            raise PluginError(f"the metric registered as {name!r} calls itself {info.name!r}")
        metrics[name] = metric
    return metrics


def _methods(metric: AnyMetric) -> list[str]:
    """Return the methods that a metric of its kind must have."""
    if isinstance(metric, SetMetric):
        return ["features", "score"]
    return ["measure_samples" if isinstance(metric, SampleMetric) else "measure", "finalise", "resample"]


def engines_of(target: Any) -> tuple[str, ...]:
    """Return the engines that a metric's class offers, its default first; empty if it has no choice."""
    engines: tuple[str, ...] = member(target, MetricMembers, "engines")
    return engines


def _engine_names(plugins: Plugins) -> set[str]:
    """Return the engines of all metrics that can be loaded."""
    names: set[str] = set()
    for entry in plugins.of("metric"):
        with suppress(PluginError):
            names |= set(engines_of(entry.load()))
    return names


def fingerprint_metric(plugins: Plugins, name: str, engine: str = "") -> Fingerprint:
    """Return the fingerprint of a metric as built for the CPU, so that the device does not decide it.

    Raises:
        UsageError, PluginError: as :meth:`Plugins.load`.
    """
    metric = _build_metric(plugins, name, "cpu", engine)
    with plugin_errors(lambda error: PluginError(f"the `fingerprint()` of metric {name!r} fails: {describe(error)}")):
        return fingerprint(metric)


def reason_against(metric: AnyMetric, setting: Setting) -> str:
    """Return why a metric cannot apply to a run, or "" if it can (raises PluginError)."""
    name = metric.info.name
    with plugin_errors(lambda error: PluginError(f"the `why_not` of metric {name!r} fails: {describe(error)}")):
        return metric.why_not(setting)


def caution(metric: SetMetric, clips: int, samples: int) -> str:
    """Return why so few clips or samples give a doubtful score; "" if they are enough (raises PluginError)."""
    name = metric.info.name
    with plugin_errors(lambda error: PluginError(f"the `caution` of metric {name!r} fails: {describe(error)}")):
        return one_line(metric.caution(clips, samples))


def _build_metric(plugins: Plugins, name: str, device: str, engine: str) -> AnyMetric:
    """Build a metric; an exception of its constructor names it."""
    target = plugins.load("metric", name)
    with plugin_errors(failed_as(PluginError, f"metric {name!r} cannot be built")):
        metric: AnyMetric = target(device, engine=engine) if engine in engines_of(target) else target(device)
    return metric
