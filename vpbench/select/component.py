"""Build predictors and annotators from names, presets and options."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from vpbench.errors import DataError, PluginError, UsageError, describe, did_you_mean, type_name
from vpbench.files import canonical
from vpbench.names import Selector, slug
from vpbench.plugin.annotator import FLOW_STEPS, AnnotatorInfo
from vpbench.plugin.clip import Modality
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import Configurable, Members, member, members_of
from vpbench.plugin.predictor import BasePredictor, PredictorInfo
from vpbench.plugin.process_state import process_state
from vpbench.protocol.protocol import Protocol
from vpbench.select.fingerprint import fingerprint
from vpbench.select.info import read_info
from vpbench.select.options import Options, validate_options
from vpbench.select.trained import Trained, fit_weights, merge_options, open_trained


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
    members = members_of(target, subject)
    model = members.Options
    preset, values = _preset(members, selector, subject)
    derived = {} if protocol is None else _protocol_options(target, members, protocol, subject)
    sources = dict.fromkeys(derived, "protocol") | dict.fromkeys(values, f"preset {preset}")
    sources |= dict.fromkeys(options, "user")
    values |= options
    trained: Trained | None = None
    if "weights" in values and entry.trainer:
        if "weights" in members.presets.get(preset, {}) and "weights" in options:
            raise UsageError(f"{subject}: the preset {preset!r} names weights already: leave out one of the two")
        trained = open_trained(Path(values.pop("weights")).expanduser())
        recorded = _recorded_options(trained, members, selector, values, derived, subject)
        values |= recorded
        sources |= dict.fromkeys(recorded, "weights")
        if not set(options) - {"weights"}:
            preset = preset or _recorded_preset(trained, members)
    elif model is None and options:
        raise UsageError(f"{subject} takes no options, so {selector.name}.{next(iter(options))} cannot be set")
    _check_argument(members, selector, options, values, subject)
    _check_namesake(plugins, kind, selector.name, options, members)
    named = {name: value for name, value in values.items() if sources[name] != "weights"}
    with _recorded_errors(model, {**derived, **named}, trained, subject):
        validated = None if model is None else _validated(model, derived, values, subject)
    with plugin_errors(failed_as(PluginError, f"{subject} cannot be built")), process_state():
        torch.manual_seed(seed)  # untrained weights are drawn the same in every process: shards must agree
        value = target() if validated is None else target(options=validated)
        if trained is not None:
            fit_weights(value, trained, selector.name)
        digest = fingerprint(value)
        if selector.argument and selector.argument not in members.presets:
            preset = _result_name(value) or preset
    plain = {} if validated is None else json.loads(validated.model_dump_json())
    sources = {key: sources.get(key, "default") for key in plain}
    return Component(
        selector.name,
        preset,
        value,
        plain,
        sources,
        digest.sha256,
        digest.unproven,
        trained,
        trainable=bool(entry.trainer),
    )


def _preset(members: Members, selector: Selector, subject: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a preset or an argument, as it labels results, and the option values that it stands for."""
    argument = selector.argument
    if not argument or argument in members.presets:
        return argument, dict(members.presets.get(argument, {}))
    if not members.argument:
        raise UsageError(f"{subject} has no preset {argument!r}{did_you_mean(argument, members.presets)}")
    return _argument_label(argument), {members.argument: argument}


def _protocol_options(target: Any, members: Members, protocol: Protocol, subject: str) -> dict[str, Any]:
    """Return the option values that a predictor's class takes from a protocol.

    Raises:
        PluginError: its ``protocol_options`` fails, or names an option that does not exist.
    """

    def fail(error: BaseException) -> PluginError:
        return PluginError(f"{subject}: `protocol_options` fails on protocol {protocol.name!r}: {describe(error)}")

    with plugin_errors(fail):
        values = {
            str(name): value for name, value in member(target, BasePredictor, "protocol_options")(protocol).items()
        }
    fields = members.Options.model_fields if members.Options else {}
    if unknown := [name for name in values if name not in fields]:
        hint = did_you_mean(unknown[0], fields)
        raise PluginError(f"{subject}: `protocol_options` names no option {unknown[0]!r}{hint}")
    return values


def _validated(
    model: type[BaseModel], derived: Mapping[str, Any], values: Mapping[str, Any], subject: str
) -> BaseModel:
    """Return all options; ``values`` override those that are ``derived`` from the protocol.

    Raises:
        UsageError: one of the values does not fit. PluginError: they fit, but not with those of the protocol.
    """
    try:
        return validate_options(model, {**derived, **values}, subject)
    except UsageError as error:
        validate_options(model, values, subject)
        named = ", ".join(f"{name} = {value!r}" for name, value in derived.items() if name not in values)
        raise PluginError(f"{error}; `protocol_options` takes {named} from the protocol") from error


def _recorded_options(
    trained: Trained,
    members: Members,
    selector: Selector,
    values: Mapping[str, Any],
    derived: Collection[str],
    subject: str,
) -> Mapping[str, Any]:
    """Return the options that a file of weights records, for those that ``values`` leave open.

    Raises:
        UsageError: the file is of another predictor, or was trained with other values.
    """
    training_only = members.training_only
    preset = members.presets.get(selector.argument)
    only_training = bool(preset) and set(preset or {}) <= training_only
    if preset is not None and members.Options and not only_training and "weights" not in preset:
        # A preset also fixes every option that it leaves at its default, unless it only says how to train or names the
        # weights, or the option follows from the protocol.
        all_values = json.loads(validate_options(members.Options, values, subject).model_dump_json())
        fixed = {name: value for name, value in all_values.items() if name in values or name not in derived}
        merge_options(trained, selector.name, fixed, training_only)
    return merge_options(trained, selector.name, values, training_only)


def _recorded_preset(trained: Trained, members: Members) -> str:
    """Return the preset that weights were trained with, unless it names other weights, which were their start."""
    preset = trained.record.preset if trained.record else ""
    return "" if "weights" in members.presets.get(preset, {}) else preset


@contextmanager
def _recorded_errors(
    model: type[BaseModel] | None, named: Mapping[str, Any], trained: Trained | None, subject: str
) -> Iterator[None]:
    """Blame the file of weights for options that do not fit, if those that it does not record fit.

    Raises:
        DataError: the file was trained with options that this version does not have.
    """
    try:
        yield
    except UsageError as error:
        if trained is None or model is None:
            raise
        validate_options(model, named, subject)
        raise DataError(f"{trained.path}: its options do not fit this version ({error}): train again") from error


def _check_argument(
    members: Members, selector: Selector, options: Mapping[str, Any], values: Mapping[str, Any], subject: str
) -> None:
    option, model = members.argument, members.Options
    if option and option not in values and model is not None and model.model_fields[option].is_required():
        raise UsageError(f"{subject} needs its {option}: write {selector.name}:{option.upper()}")
    if option in options and selector.argument and selector.argument not in members.presets:
        raise UsageError(
            f"{subject}: {selector} and the option {option} = {options[option]} name it twice: leave out one of them"
        )


def _check_namesake(plugins: Plugins, kind: str, name: str, options: Mapping[str, Any], members: Members) -> None:
    """Check that no option belongs to the plugin object of the same name alone: an annotator's, or a predictor's.

    Raises:
        UsageError: one is. Options are given by name alone, so both would take it.
    """
    namesake = "annotator" if kind == "predictor" else "predictor"
    if (namesake, name) not in plugins.entries:
        return
    model = members_of(plugins.load(namesake, name), f"{namesake} {name!r}").Options
    fields, namesake_fields = (set(m.model_fields) if m else set() for m in (members.Options, model))
    if strangers := [option for option in options if option in namesake_fields - fields]:
        raise UsageError(
            f"{kind} {name!r} has no option {strangers[0]!r}, the {namesake} {name!r} has it: use them in separate runs"
        )


def _result_name(value: Any) -> str:
    """Return the name that an object gives its results, as it labels them; "" for none."""
    name = str(member(value, Configurable, "result_name")())
    return slug(name) if name else ""


def _argument_label(text: str) -> str:
    """Return a folder name for an argument: the last part of the path, and a hash that distinguishes equal ones."""
    return f"{slug(Path(text).name)[:80]}-{hashlib.sha256(str(Path(text).resolve()).encode()).hexdigest()[:6]}"
