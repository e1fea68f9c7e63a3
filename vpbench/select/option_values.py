"""Gather the option values of a plugin object from its defaults, a protocol, a preset, weights and the user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from vpbench.errors import DataError, PluginError, UsageError, describe, did_you_mean
from vpbench.names import Selector, slug
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import Members, member, members_of
from vpbench.plugin.predictor import BasePredictor
from vpbench.protocol.protocol import Protocol
from vpbench.select.options import validate_options
from vpbench.select.trained import Trained, merge_options, open_trained


@dataclass(frozen=True)
class OptionValues:
    """Every option of a plugin object, validated."""

    preset: str
    """The preset or the argument, as it labels results."""
    model: BaseModel | None
    """None if the object takes no options."""
    chosen: Mapping[str, str]
    """Where the values come from that are not defaults: protocol, preset NAME, weights or user."""
    trained: Trained | None
    """The file of weights that the harness loads."""

    @property
    def plain(self) -> dict[str, Any]:
        """The values as JSON holds them."""
        return {} if self.model is None else json.loads(self.model.model_dump_json())

    @property
    def sources(self) -> dict[str, str]:
        """Where each value comes from."""
        return {name: self.chosen.get(name, "default") for name in self.plain}


def gather_options(
    plugins: Plugins, kind: str, selector: Selector, options: Mapping[str, Any], protocol: Protocol | None = None
) -> OptionValues:
    """Return the options of a predictor or an annotator: ``options`` of the user override all others.

    Raises:
        UsageError: an unknown preset or option, a value that does not fit, weights of another predictor.
        DataError: a file of weights cannot be read. PluginError: the options from the protocol do not fit, or a preset
            sets options of a class that has none.
    """
    entry = plugins.entry(kind, selector.name)
    target = entry.load()
    subject = f"{kind} {selector.name!r}"
    members = members_of(target, subject)
    preset, values = _preset(members, selector, subject)
    if members.Options is None:
        _check_no_options(selector, {**values, **options}, options, bool(entry.trainer), subject)
    derived = {} if protocol is None else _protocol_options(target, members, protocol, subject)
    sources = dict.fromkeys(derived, "protocol") | dict.fromkeys(values, f"preset {preset}")
    sources |= dict.fromkeys(options, "user")
    values |= options
    trained: Trained | None = None
    if "weights" in values and entry.trainer:
        trained = _open_weights(values.pop("weights"), members, preset, options, subject)
        recorded = _recorded_options(trained, members, selector, values, derived, subject)
        values |= recorded
        sources |= dict.fromkeys(recorded, "weights")
        if not set(options) - {"weights"}:
            preset = preset or _recorded_preset(trained, members)
    _check_argument(members, selector, options, values, subject)
    _check_namesake(plugins, kind, selector.name, options, members)
    named = {name: value for name, value in values.items() if sources[name] != "weights"}
    with _recorded_errors(members.Options, {**derived, **named}, trained, subject):
        model = None if members.Options is None else _validated(members.Options, derived, values, subject)
    return OptionValues(preset, model, sources, trained)


def _preset(members: Members, selector: Selector, subject: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a preset or an argument, as it labels results, and the option values that it stands for."""
    argument = selector.argument
    if not argument or argument in members.presets:
        return argument, dict(members.presets.get(argument, {}))
    if not members.argument:
        raise UsageError(f"{subject} has no preset {argument!r}{did_you_mean(argument, members.presets)}")
    return _argument_label(argument), {members.argument: argument}


def _check_no_options(
    selector: Selector, values: Mapping[str, Any], options: Mapping[str, Any], trainable: bool, subject: str
) -> None:
    """Check that nobody sets an option of a class without ``Options``; the harness loads a trainable one's weights.

    Raises:
        UsageError: the user does. PluginError: the preset does.
    """
    unknown = [name for name in values if not (trainable and name == "weights")]
    if user := [name for name in unknown if name in options]:
        raise UsageError(f"{subject} takes no options, so {selector.name}.{user[0]} cannot be set")
    if unknown:
        raise PluginError(
            f"{subject}: its preset {selector.argument!r} sets {unknown[0]!r}, but its class has no `Options`: declare "
            f"the option in a pydantic model `Options`, or leave it out of the preset"
        )


def _argument_label(text: str) -> str:
    """Return a folder name for an argument: the last part of the path, and a hash that distinguishes equal ones."""
    return f"{slug(Path(text).name)[:80]}-{hashlib.sha256(str(Path(text).resolve()).encode()).hexdigest()[:6]}"


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


def _open_weights(path: Any, members: Members, preset: str, options: Mapping[str, Any], subject: str) -> Trained:
    if "weights" in members.presets.get(preset, {}) and "weights" in options:
        raise UsageError(f"{subject}: the preset {preset!r} names weights already: leave out one of the two")
    return open_trained(Path(path).expanduser())


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
