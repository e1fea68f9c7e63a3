"""Build metrics by name."""

from __future__ import annotations

from collections.abc import Sequence

from vpbench.errors import PluginError, VpbenchError, describe
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import Metric, Setting
from vpbench.select.fingerprint import Fingerprint, fingerprint

__all__ = ["choose_metrics", "fingerprint_metric", "reason_against"]


def choose_metrics(plugins: Plugins, names: Sequence[str], device: str) -> dict[str, Metric]:
    """Build metrics by name, in the given order.

    Raises:
        UsageError: an unknown name. PluginError: an object that is no metric, or goes by another name.
    """
    metrics: dict[str, Metric] = {}
    for name in names:
        metric = _build_metric(plugins, name, device)
        if not isinstance(metric, Metric):
            raise PluginError(f"the metric {name!r} lacks one of info, why_not, measure, finalise, resample")
        if metric.info.name != name:
            raise PluginError(f"the metric registered as {name!r} calls itself {metric.info.name!r}")
        metrics[name] = metric
    return metrics


def fingerprint_metric(plugins: Plugins, name: str) -> Fingerprint:
    """Return the fingerprint of a metric as built for the CPU, so that the device does not decide it.

    Raises:
        UsageError, PluginError: as :meth:`Plugins.load`.
    """
    metric = _build_metric(plugins, name, "cpu")
    with plugin_errors(lambda error: PluginError(f"the `fingerprint()` of metric {name!r} fails: {describe(error)}")):
        return fingerprint(metric)


def reason_against(metric: Metric, setting: Setting) -> str:
    """Return why a metric cannot apply to a run, or "" if it can (raises PluginError)."""
    name = metric.info.name
    with plugin_errors(lambda error: PluginError(f"the `why_not` of metric {name!r} fails: {describe(error)}")):
        return metric.why_not(setting)


def _build_metric(plugins: Plugins, name: str, device: str) -> Metric:
    """Build a metric; an exception of its constructor names it."""
    target = plugins.load("metric", name)

    def fail(error: BaseException) -> VpbenchError:
        return (
            error
            if isinstance(error, VpbenchError)
            else PluginError(f"metric {name!r} cannot be built: {describe(error)}")
        )

    with plugin_errors(fail):
        metric: Metric = target(device)
    return metric
