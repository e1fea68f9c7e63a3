"""Predictors in processes of their own: a crash, a hang or a leak costs one predictor, and this process survives.

The child builds the predictor, so that this process never runs its code. It calls it exactly as this process would
(:class:`vpbench.evaluation.prediction.Caller`), with the same random states and threads: results have the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vpbench.allocator import keep_memory
from vpbench.clips.batch import Batch
from vpbench.errors import PredictorError
from vpbench.evaluation.prediction import Caller, evaluation_mode
from vpbench.evaluation.returned import Checked
from vpbench.plugin.clip import Context, Future, LabelSpace, Modality, Prediction, Text, arrays_of, with_arrays
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.select.component import Component, choose_predictor
from vpbench.select.options import Options
from vpbench.select.parameters import count_parameters
from vpbench.toolkit.processes import Child, ChildEndedError, TooLargeError, TooSlowError


@dataclass(frozen=True)
class Limits:
    """Limits of a predictor's process; None is no limit."""

    seconds: float | None = None
    """For one batch; how long building takes depends on the disk and on other programs."""
    memory: float | None = None
    """GiB of resident memory."""


@dataclass(frozen=True)
class _Recipe:
    """How a child builds its predictor."""

    plugins: tuple[str, ...]
    """Plugins that are not installed."""
    text: str
    options: Options
    protocol: Protocol
    threads: int


@dataclass(frozen=True)
class _Built:
    """A predictor that a child built."""

    component: Component
    """Without its value."""
    parameters: int
    has_weights: bool
    half_precision: bool


@dataclass(frozen=True)
class _Request:
    """A batch to predict; ``future`` is the truth for an oracle, and empty for others."""

    label: str
    outputs: tuple[Modality, ...]
    seed: int
    sample: int
    device: str
    refs: tuple[ClipRef, ...]
    context: Mapping[str, Any]
    context_labels: LabelSpace | None
    future: Mapping[str, Any]
    future_labels: LabelSpace | None
    label_shape: tuple[int, ...] | None
    """Shape of the true labels, which predicted labels may have, too."""
    randomness: tuple[Any, ...]


class IsolatedPredictor:
    """A predictor in a process of its own, which starts again after it ended.

    Raises:
        VpbenchError: the predictor cannot be built; PredictorError, if that ended the process or took too long.
    """

    def __init__(self, recipe: _Recipe, limits: Limits) -> None:
        self._recipe, self._limits = recipe, limits
        self._child: Child | None = None
        self.built = self._start()

    def predict(self, request: _Request) -> Checked:
        """Return a checked prediction, on the CPU (raises as :meth:`vpbench.evaluation.prediction.Caller.predict`)."""
        if self._child is None or not self._child.runs:
            self._start()
        assert self._child is not None
        self._child.send(request)
        count, first = len(request.refs), request.refs[0].id
        place = f"on clip {first!r}" if count == 1 else f"on the {count} clips from {first!r}"
        checked: Checked = self._receive(f"predictor {request.label!r}", place, self._limits)
        return checked

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()

    def _start(self) -> _Built:
        name = f"predictor {self._recipe.text!r}"
        self._child = Child("vpbench.evaluation.isolation:serve_predictor", self._recipe)
        self._child.send(None)
        self._receive(name, "while it started", Limits())
        self._child.send(self._recipe)
        built: _Built = self._receive(name, "while it was built", Limits(memory=self._limits.memory))
        return built

    def _receive(self, name: str, place: str, limits: Limits) -> Any:
        assert self._child is not None
        try:
            return self._child.receive(limits.seconds, limits.memory)
        except ChildEndedError as error:
            raise PredictorError(f"the process of {name} {error} {place}") from error
        except TooSlowError as error:
            raise PredictorError(
                f"{name} took more than {limits.seconds:g} seconds {place}, and was ended: it hangs, or needs more time"
            ) from error
        except TooLargeError as error:
            raise PredictorError(
                f"{name} used more than {limits.memory:g} GiB of memory {place}, and was ended: lower the batch size, "
                f"or allow more"
            ) from error


def isolate_predictor(plugins: Plugins, text: str, options: Options, protocol: Protocol, limits: Limits) -> Component:
    """Build a predictor in a process of its own (arguments and errors as :func:`choose_predictor`)."""
    recipe = _Recipe(plugins.extra, text, options, protocol, torch.get_num_threads())
    predictor = IsolatedPredictor(recipe, limits)
    return replace(predictor.built.component, value=predictor)


def count_all_parameters(predictor: Any) -> int:
    """Return the number of parameters that inference uses."""
    if isinstance(predictor, IsolatedPredictor):
        return predictor.built.parameters
    return sum(count_parameters(predictor).values())


def has_weights(predictor: Any) -> bool:
    """Return whether a predictor is a torch module with parameters."""
    if isinstance(predictor, IsolatedPredictor):
        return predictor.built.has_weights
    return isinstance(predictor, torch.nn.Module) and any(True for _ in predictor.parameters())


@dataclass(frozen=True)
class IsolatedCaller(Caller):
    """Calls a predictor in a process of its own."""

    predictor: Any

    @property
    def half_precision(self) -> bool:
        """True if the predictor holds weights in half precision."""
        built: _Built = self.predictor.built
        return built.half_precision

    def predict(self, batch: Batch, sample: int) -> Checked:
        """Predict one batch and check the prediction (raises as :meth:`Caller.predict`)."""
        context, future, device = batch.context, batch.future, batch.context.frames.device
        visible = {"frames", *self.info.requires, *self.info.uses}
        request = _Request(
            self.name,
            tuple(self.outputs),
            self.seed,
            sample,
            str(device),
            batch.refs,
            _plain({name: a for name, a in arrays_of(context).items() if name in visible}),
            context.label_space,
            _plain(arrays_of(future)) if self.info.oracle else {},
            future.label_space if self.info.oracle else None,
            None if future.semantics is None else tuple(future.semantics.shape),
            (random.getstate(), np.random.get_state(), torch.initial_seed(), torch.get_rng_state().numpy()),
        )
        return _moved(self.predictor.predict(request), device)


def serve_predictor(recipe: _Recipe) -> _Server:
    """Return what answers in a predictor's process."""
    keep_memory()
    torch.set_num_threads(recipe.threads)
    return _Server(load_plugins(recipe.plugins))


class _Server:
    """Builds the predictor, then predicts."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._component: Component | None = None
        self._modes = ExitStack()

    def __call__(self, request: _Recipe | _Request | None) -> _Built | Checked | None:
        """Answer None at once, a recipe with what was built, and a batch with its prediction."""
        if request is None:
            return None
        if isinstance(request, _Recipe):
            return self._build(request)
        assert self._component is not None
        predictor, device = self._component.value, torch.device(request.device)
        if isinstance(predictor, torch.nn.Module):
            predictor.to(device)
        caller = Caller(request.label, predictor, self._component.info, request.outputs, request.seed)
        _seed(request.randomness)
        self._modes.enter_context(evaluation_mode(request.label, predictor))
        return _moved(caller.predict(_batch(request, device), request.sample), torch.device("cpu"))

    def _build(self, recipe: _Recipe) -> _Built:
        component = choose_predictor(self._plugins, recipe.text, recipe.options, recipe.protocol)
        self._component = component
        caller = Caller(component.name, component.value, component.info, (), 0)
        parameters, weights = count_all_parameters(component.value), has_weights(component.value)
        return _Built(replace(component, value=None), parameters, weights, caller.half_precision)


def _seed(randomness: tuple[Any, ...]) -> None:
    """Give this process the global random states of its parent."""
    python, numpy, seed, state = randomness
    random.setstate(python)
    np.random.set_state(numpy)
    torch.manual_seed(seed)  # of GPUs, too
    torch.set_rng_state(torch.from_numpy(state))


def _batch(request: _Request, device: torch.device) -> Batch:
    clips, refs = tuple(ref.id for ref in request.refs), request.refs
    context = _tensors(request.context, device)
    frames = context["frames"]
    assert isinstance(frames, Tensor)
    future = _tensors(request.future, device)
    if not future:
        future = {"frames": torch.zeros(len(refs), 0), "last": torch.zeros(len(refs), 0)}
        if request.label_shape is not None:
            future["semantics"] = torch.zeros((), dtype=torch.int64).expand(request.label_shape)
    first, last = future["frames"], future["last"]
    assert isinstance(first, Tensor) and isinstance(last, Tensor)
    return Batch(
        refs,
        with_arrays(Context(frames, clips, label_space=request.context_labels), context),
        with_arrays(Future(first, refs[0].steps, clips, last, label_space=request.future_labels), future),
        refs[0].horizon,
        tuple({} for _ in refs),
    )


def _plain(arrays: Mapping[str, Tensor | Text]) -> dict[str, Any]:
    return {name: array.cpu().numpy() if isinstance(array, Tensor) else array for name, array in arrays.items()}


def _tensors(arrays: Mapping[str, Any], device: torch.device) -> dict[str, Tensor | Text]:
    return {
        name: torch.from_numpy(array).to(device) if isinstance(array, np.ndarray) else array
        for name, array in arrays.items()
    }


def _moved(checked: Checked, device: torch.device) -> Checked:
    """Return a checked prediction on a device."""
    raw, clamped = _prediction_on(checked.raw, device), checked.clamped
    frames = checked.prediction.frames
    if frames is None or frames is checked.raw.frames:
        return Checked(raw, raw, None if clamped is None else clamped.to(device))
    return Checked(raw, replace(raw, frames=frames.to(device)), None if clamped is None else clamped.to(device))


def _prediction_on(prediction: Prediction, device: torch.device) -> Prediction:
    tensors: dict[str, Any] = {name: value.to(device) for name, value in prediction.tensors().items()}
    return replace(prediction, **tensors)
