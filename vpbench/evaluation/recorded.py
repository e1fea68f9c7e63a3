"""Build the predictor and the annotators of a result again, as its ``run.json`` records them."""

from __future__ import annotations

from typing import Any

from vpbench.errors import Remedy, ResultError
from vpbench.files import parse_json
from vpbench.names import Selector
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import members_of
from vpbench.results.records import RunRecord
from vpbench.select.component import Component, choose_predictor
from vpbench.select.options import Options


def recorded_predictor(run: RunRecord, plugins: Plugins, options: Options) -> Component:
    """Build the predictor of a run with its recorded options.

    Args:
        run: the record.
        plugins: loaded plugins.
        options: by name; ``weights`` of the predictor is a file, needed unless the recorded preset ships it.

    Raises:
        ResultError: the weights are not the recorded ones.
        VpbenchError: the predictor is not installed, or cannot be built.
    """
    name, override = run.predictor, options.get(run.predictor, {})
    presets = members_of(plugins.load("predictor", name), f"predictor {name!r}").presets
    shipped = "weights" in presets.get(run.preset, {}) and "weights" not in override
    text = str(Selector(name, run.preset if shipped else ""))
    component = choose_predictor(plugins, text, {name: {**run.identity.options, **override}}, run.protocol)
    recorded = run.weights.sha256 if run.weights else ""
    sha256 = component.trained.sha256 if component.trained else ""
    if recorded != sha256:
        raise ResultError(
            f"{run.label}: the result was made with the weights {recorded[:16] or 'none'} (sha256), and these are "
            f"{sha256[:16] or 'none'}: name the file of the recorded weights",
            Remedy.WEIGHTS,
            name,
        )
    return component


def recorded_annotators(run: RunRecord) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the names of the annotators of a run by modality, and their options by name.

    Raises:
        ResultError: the record does not describe them.
    """
    names: dict[str, str] = {}
    options: dict[str, Any] = {}
    for modality, text in run.identity.annotators.items():
        try:
            described = parse_json(text)
            names[modality] = str(described["name"])
            options[names[modality]] = dict(described["options"])
        except (ValueError, KeyError, TypeError) as error:
            raise ResultError(f"{run.label}: run.json does not describe the annotator of {modality}") from error
    return names, options
