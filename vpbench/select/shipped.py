"""Weights that plugins ship: the presets that name them, and the protocols for which they are the default."""

from __future__ import annotations

from collections.abc import Mapping

from vpbench.errors import PluginError, did_you_mean
from vpbench.names import Selector
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import member, members_of
from vpbench.plugin.predictor import BasePredictor
from vpbench.select.options import Options


def shipped_presets(plugins: Plugins, name: str) -> Mapping[str, str]:
    """Return the presets of a predictor whose weights its plugin ships, by the protocol that they fit.

    Raises:
        PluginError: the predictor's ``shipped`` names a preset that does not exist, or one without weights.
    """
    entry = plugins.entry("predictor", name)
    if not entry.trainer:
        return {}
    target, subject = entry.load(), f"predictor {name!r}"
    presets = members_of(target, subject).presets
    shipped: Mapping[str, str] = member(target, BasePredictor, "shipped")
    for preset in shipped.values():
        if preset not in presets:
            raise PluginError(f"{subject}: `shipped` names no preset {preset!r}{did_you_mean(preset, presets)}")
        if "weights" not in presets[preset]:
            raise PluginError(f"{subject}: `shipped` names the preset {preset!r}, which has no weights")
    return shipped


def with_shipped_weights(plugins: Plugins, text: str, options: Options, protocol: str) -> str:
    """Return ``NAME:PRESET`` of the weights that a plugin ships for a protocol.

    ``text`` is returned as it is if it names a preset, if the options name weights or change the network, or if no
    weights are shipped for this protocol.
    """
    selector = Selector.parse(text)
    entry = plugins.entry("predictor", selector.name)
    if selector.argument or not entry.trainer:
        return text
    training_only = members_of(entry.load(), f"predictor {selector.name!r}").training_only
    preset = shipped_presets(plugins, selector.name).get(protocol)
    changes = set(options.get(selector.name, {})) - training_only
    return text if preset is None or changes else str(Selector(selector.name, preset))


def default_predictors(plugins: Plugins, protocols: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the default predictors of a run, with the protocols that each is evaluated on.

    A predictor with a trainer takes part where its plugin ships weights.

    Args:
        plugins: where the defaults are looked up.
        protocols: the run's protocols as the user wrote them (a name or a path), with their names.
    """
    chosen = {}
    for name in plugins.defaults("predictor"):
        shipped = shipped_presets(plugins, name)
        learned = bool(plugins.entry("predictor", name).trainer)
        fitting = tuple(text for text, protocol in protocols.items() if protocol in shipped or not learned)
        if fitting:
            chosen[name] = fitting
    return chosen
