"""Build predictors and annotators from names, presets and options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pydantic import BaseModel

from vpbench.errors import PluginError, UsageError, describe, type_name
from vpbench.files import canonical
from vpbench.names import Selector, slug
from vpbench.plugin.annotator import FLOW_STEPS, AnnotatorInfo
from vpbench.plugin.clip import Modality
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import Configurable, member, members_of
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.process_state import process_state
from vpbench.protocol.protocol import Protocol
from vpbench.select.fingerprint import fingerprint
from vpbench.select.info import read_info
from vpbench.select.option_values import gather_options
from vpbench.select.options import Options
from vpbench.select.trained import Trained, fit_weights


@dataclass(frozen=True)
class Component:
    """A plugin's object, built from its name, preset and options."""

    name: str
    preset: str
    value: Any
    options: Mapping[str, Any]
    """All option values, JSON-able."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each option's value comes from: default, protocol, preset NAME, weights or user."""
    fingerprint: str = ""
    """sha256 of its values, its code and the globals that it names."""
    unproven: str = ""
    """Why the fingerprint proves nothing; "" if it does."""
    trained: Trained | None = None
    """The file that its weights were read from, where the harness read them."""
    info: Any = None
    """Its ``info``, read once: a plugin may compute it."""
    trainable: bool = False
    """Whether it is registered with a trainer."""

    def describe(self) -> str:
        """Return one string that names the object, its options, values and code: for the identity."""
        described = {"name": self.name, "options": dict(self.options), "fingerprint": self.fingerprint}
        if isinstance(self.info, AnnotatorInfo) and self.info.spec.pixels == "flow":
            described["rounding"] = f"1/{FLOW_STEPS} px"
        return canonical(described)


def choose_predictor(
    plugins: Plugins, text: str, options: Options, protocol: Protocol | None = None, seed: int = 0
) -> Component:
    """Build the predictor of ``NAME`` or ``NAME:PRESET`` (or ``NAME:ARGUMENT`` if it takes an argument).

    Args:
        plugins: where it is looked up.
        text: the name and the preset.
        options: by name. ``weights`` of a trainable predictor is a file; its options are the defaults.
        protocol: where the predictor's ``protocol_options`` come from; None for none.
        seed: of untrained weights.

    Raises:
        UsageError: an unknown name, preset or option, a value that does not fit, weights of another predictor.
        DataError: a file of weights cannot be read, or has other shapes.
        PluginError: the predictor cannot be built, or takes options from the protocol that do not fit.
    """
    selector = Selector.parse(text)
    component = _build(plugins, "predictor", selector, options.get(selector.name, {}), protocol, seed)
    return replace(component, info=_predictor_info(component.value, selector.name))


def choose_annotators(plugins: Plugins, texts: Mapping[str, str], options: Options) -> dict[Modality, Component]:
    """Build annotators from ``{modality: NAME[:PRESET]}``.

    Raises:
        UsageError: an unknown name, preset or option, or an annotator of another modality.
        PluginError: an annotator cannot be built, or its ``info`` cannot be read.
    """
    annotators: dict[Modality, Component] = {}
    for modality, text in texts.items():
        if modality == "frames":
            raise UsageError(f"annotator {modality}={text}: {modality!r} cannot be annotated")
        component = choose_annotator(plugins, text, options)
        if component.info.gives != modality:
            raise UsageError(
                f"annotator {modality}={text}: the annotator {component.name!r} gives {component.info.gives}"
            )
        annotators[modality] = component
    return annotators


def choose_annotator(plugins: Plugins, text: str, options: Options) -> Component:
    """Build the annotator of ``NAME[:PRESET]``.

    Raises:
        UsageError: an unknown name, preset or option.
        PluginError: it cannot be built, or its ``info`` cannot be read.
    """
    selector = Selector.parse(text)
    component = _build(plugins, "annotator", selector, options.get(selector.name, {}))
    return replace(component, info=read_info("annotator", selector.name, component.value, AnnotatorInfo, ["annotate"]))


def _predictor_info(predictor: Any, name: str) -> PredictorInfo:
    return read_info("predictor", name, predictor, PredictorInfo, ["predict"])


def wrap_predictor(predictor: Any) -> Component:
    """Wrap a predictor that a Python program made itself; its class's name labels the result."""
    if isinstance(predictor, type) or not callable(getattr(predictor, "predict", None)):
        raise UsageError(
            f"{type_name(predictor)} is neither a predictor's name nor an object with `info` and `predict`"
        )
    info = _predictor_info(predictor, type(predictor).__name__)
    text = slug(re.sub(r"(?<!^)(?=[A-Z])", "-", type(predictor).__name__).lower())
    options = getattr(predictor, "options", None)
    values = options.model_dump(mode="json") if isinstance(options, BaseModel) else {}
    problem = f"the `fingerprint()` of predictor {text!r} fails"
    with plugin_errors(lambda error: PluginError(f"{problem}: {describe(error)}")):
        digest = fingerprint(predictor)
    return Component(text, "", predictor, values, fingerprint=digest.sha256, unproven=digest.unproven, info=info)


def _build(
    plugins: Plugins,
    kind: str,
    selector: Selector,
    options: Mapping[str, Any],
    protocol: Protocol | None = None,
    seed: int = 0,
) -> Component:
    entry = plugins.entry(kind, selector.name)
    target = entry.load()
    subject = f"{kind} {selector.name!r}"
    values = gather_options(plugins, kind, selector, options, protocol)
    with plugin_errors(failed_as(PluginError, f"{subject} cannot be built")), process_state():
        torch.manual_seed(seed)  # untrained weights are drawn the same in every process: shards must agree
        value = target() if values.model is None else target(options=values.model)
        if values.trained is not None:
            fit_weights(value, values.trained, selector.name)
        digest = fingerprint(value)
        is_argument = selector.argument not in ("", *members_of(target, subject).presets)
        label = (is_argument and _result_name(value)) or values.preset
    return Component(
        name=selector.name,
        preset=label,
        value=value,
        options=values.plain,
        sources=values.sources,
        fingerprint=digest.sha256,
        unproven=digest.unproven,
        trained=values.trained,
        trainable=bool(entry.trainer),
    )


def _result_name(value: Any) -> str:
    """Return the name that an object gives its results, as it labels them; "" for none."""
    name = str(member(value, Configurable, "result_name")())
    return slug(name) if name else ""
