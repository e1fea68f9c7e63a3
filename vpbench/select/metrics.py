"""Build metrics by name."""

from __future__ import annotations

from collections.abc import Sequence

from vpbench.errors import PluginError
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import Metric
from vpbench.select.fingerprint import Fingerprint, fingerprint

__all__ = ["choose_metrics", "fingerprint_metric"]


def choose_metrics(plugins: Plugins, names: Sequence[str], device: str) -> dict[str, Metric]:
    """Build metrics by name, in the given order.

    Raises:
        UsageError: an unknown name. PluginError: an object that is no metric, or goes by another name.
    """
    metrics: dict[str, Metric] = {}
    for name in names:
        metric = plugins.load("metric", name)(device)
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
    return fingerprint(plugins.load("metric", name)("cpu"))
