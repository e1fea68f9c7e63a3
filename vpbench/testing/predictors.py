"""The checks of a predictor, on synthetic clips."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vpbench.clips.batch import Batch
from vpbench.errors import PredictorError, describe
from vpbench.evaluation.repeat_check import differences, excess_of
from vpbench.plugin.clip import Prediction, arrays_of, with_arrays
from vpbench.plugin.process_state import other_randomness, settings_changes
from vpbench.select.component import choose_predictor
from vpbench.testing.check import BreachError, Check, NotApplicableError, checks_into
from vpbench.testing.components import check_identity, check_options, check_presets, pickled, report_changes
from vpbench.testing.material import reversed_batch
from vpbench.testing.subject import PredictorSubject, RawCall, accepted_size, context_limits

CHECKS: list[Check[PredictorSubject]] = []
"""In the order in which they run."""
_check = checks_into(CHECKS)
_ODD_SIDES = (37, 53)
"""An odd height and an odd width, which no network's stride divides."""
_LONGER_CONTEXTS = (5, 7)
"""Numbers of context frames beyond those of the other checks."""
_SEEDS = (0x5EED, 0xFACE)
_DEVICE_WORDS = ("is not on the expected device", "to be on the same device", "should be on the same device")
"""Words of torch's errors if tensors lie on two devices."""


def _agree(first: Prediction, second: Prediction, circumstance: str, advice: str) -> None:
    """Check that two predictions of the same clips agree."""
    if excess := excess_of(first, second):
        raise BreachError(f"{circumstance}: {excess}. {advice}")


def _cut(prediction: Prediction, clips: slice = slice(None), steps: slice = slice(None)) -> Prediction:
    tensors = {name: tensor[clips, steps] for name, tensor in prediction.tensors().items()}
    return replace(prediction, **tensors)  # type: ignore[arg-type]


@_check("builds", "The predictor can be built, and its `info` is a `vpbench.PredictorInfo`.", gate=True)
def _builds(subject: PredictorSubject) -> None:
    assert subject.component.info is not None


@_check("presets", "Every preset can be built.")
def _presets(subject: PredictorSubject) -> None:
    check_presets(subject.plugins, "predictor", subject.component.name, choose_predictor)


@_check("options", "Options survive JSON, since results and weights record them so.")
def _options(subject: PredictorSubject) -> None:
    check_options(subject.plugins.load("predictor", subject.component.name), subject.component)


@_check("identity", "Two builds have the same values, so that an earlier result is reused.")
def _identity(subject: PredictorSubject) -> None:
    component = subject.component
    check_identity(component, choose_predictor(subject.plugins, subject.text, subject.options))


@_check("output", "It returns a `vpbench.Prediction` with the declared shapes, types and ranges.", gate=True)
def _output(subject: PredictorSubject) -> None:
    assert subject.prediction is not None


@_check("uses", "It predicts without the modalities that it only `uses`.")
def _uses(subject: PredictorSubject) -> None:
    info = subject.info
    if not (optional := set(info.uses) - set(info.requires)):
        raise NotApplicableError("its `info.uses` is empty")
    subject.predict(subject.batch(without=optional))


@_check("context", "It accepts every number of context frames that `info.context` promises.")
def _context(subject: PredictorSubject) -> None:
    low, high = context_limits(subject.info)
    if low == high:
        raise NotApplicableError(f"it takes exactly {low} context frames")
    highest = low + 8 if high is None else min(high, low + 8)
    lengths = {low, low + 2 if high is None else highest, *_LONGER_CONTEXTS} - {subject.shape.context}
    for length in sorted(number for number in lengths if low <= number <= highest):
        with _blamed(f"a context of {length} frames", "declare the limits in `info.context`"):
            subject.predict(subject.batch(replace(subject.shape, context=length)))


@_check("size", "It accepts every frame size that `info.size` promises.")
def _sizes(subject: PredictorSubject) -> None:
    size = accepted_size(subject.info, _ODD_SIDES)
    if isinstance(subject.info.size, tuple):
        raise NotApplicableError(f"it takes frames of {size[0]}x{size[1]} alone")
    with _blamed(f"frames of {size[0]}x{size[1]}", "declare the multiple of its sides in `info.size`, or pad frames"):
        subject.predict(subject.batch(replace(subject.shape, size=size)))


class _blamed:  # noqa: N801  (reads as a verb)
    """Name the circumstance in which the predictor fails, and what to do."""

    def __init__(self, circumstance: str, advice: str) -> None:
        self.circumstance, self.advice = circumstance, advice

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PredictorError):
            raise BreachError(f"{self.circumstance}: {error}: {self.advice}") from error.__cause__


@_check("batch", "The other clips of a batch do not decide about a clip.")
def _batch(subject: PredictorSubject) -> None:
    batch = subject.batch()
    for place in range(len(batch.refs)):
        with _blamed("a batch of one clip", "accept batches of any size"):
            single = subject.predict(batch.clip(place))
        first = _cut(subject.prediction, slice(place, place + 1))
        advice = "Treat each clip separately: no statistics over the batch, one generator per clip"
        _agree(first, single, f"clip {place + 1} of a batch of {len(batch.refs)} and alone", advice)


@_check("order", "The order of the clips in a batch does not matter.")
def _order(subject: PredictorSubject) -> None:
    turned = subject.predict(reversed_batch(subject.batch()))
    tensors = {name: tensor.flip(0) for name, tensor in turned.tensors().items()}
    first = replace(turned, **tensors)  # type: ignore[arg-type]
    _agree(subject.prediction, first, "the clips in the opposite order", "Treat each clip separately")


@_check("repeated calls", "The same clips and generators give the same prediction, whatever was predicted before.")
def _repeat(subject: PredictorSubject) -> None:
    advice = "Keep no state between calls, and do not read clocks: each call starts from the context"
    with other_randomness(_SEEDS[0]):
        first = subject.predict(subject.batch())
        subject.predict(subject.batch(replace(subject.shape, clips=1)), seed=1)
    with other_randomness(_SEEDS[0]):
        _agree(first, subject.predict(subject.batch()), "a second call", advice)
    new = choose_predictor(subject.plugins, subject.text, subject.options).value
    subject.predict(subject.batch().clip(subject.shape.clips - 1), predictor=new)
    with other_randomness(_SEEDS[0]):
        second = subject.predict(subject.batch(), predictor=new)
    _agree(first, second, "a new build after a first call with one of the clips", advice)


@_check("randomness", "Global random states do not decide: all noise comes from `generators`.")
def _randomness(subject: PredictorSubject) -> None:
    predictions = []
    for seed in _SEEDS:
        with other_randomness(seed):
            predictions.append(subject.predict(subject.batch()))
    advice = "Draw from `generators`, one per clip, and not from torch.rand, numpy.random or random"
    _agree(predictions[0], predictions[1], "global random states with another seed", advice)


@_check("samples", "Samples differ if `info.stochastic` is True, and are equal if it is False.")
def _samples(subject: PredictorSubject) -> None:
    if not subject.info.stochastic:
        _check_equal_samples(subject)
    elif not any(differences(subject.prediction, subject.predict(subject.batch(), seed=1, sample=1)).values()):
        raise BreachError("two samples are equal: draw from `generators`, or set `info.stochastic` to False")


def _check_equal_samples(subject: PredictorSubject) -> None:
    if excess := excess_of(subject.prediction, subject.predict(subject.batch(), seed=1)):
        raise BreachError(f"with other generators, {excess}: set `info.stochastic` to True")
    with suppress(PredictorError):  # a folder of predictions may hold no second sample
        if excess := excess_of(subject.prediction, subject.predict(subject.batch(), sample=1)):
            raise BreachError(f"with `context.sample` 1 instead of 0, {excess}: set `info.stochastic` to True")


@_check("causal", "With `info.causal`, the first steps of a long prediction equal a short prediction.")
def _causal(subject: PredictorSubject) -> None:
    if not subject.info.causal:
        raise NotApplicableError("its `info.causal` is False")
    if subject.shape.horizon == 1:
        raise NotApplicableError("it predicts one step")
    for horizon in (1, subject.shape.horizon - 1):
        short = subject.predict(subject.batch(replace(subject.shape, horizon=horizon)))
        first = _cut(subject.prediction, steps=slice(horizon))
        advice = "Set `info.causal` to False, or predict each step from earlier ones"
        _agree(first, short, f"a horizon of {horizon} instead of {subject.shape.horizon}", advice)


@_check("future", "It does not peek at the future: other truth after the same context changes nothing.")
def _future(subject: PredictorSubject) -> None:
    if subject.info.oracle:
        raise NotApplicableError("it is an oracle, which is shown the truth")
    predictions = [subject.predict(_with_other_future(subject.batch(), value)) for value in (0.25, 0.75)]
    _agree(predictions[0], predictions[1], "the same context before another future", "Predict from `context` alone")


def _with_other_future(batch: Batch, value: float) -> Batch:
    arrays = {
        name: torch.full_like(array, value) if isinstance(array, Tensor) and array.is_floating_point() else array
        for name, array in arrays_of(batch.future).items()
        if name != "last"  # a frame of the context
    }
    return replace(batch, future=with_arrays(batch.future, {**arrays, "last": batch.future.last}, _cache={}))


@_check("input", "A call leaves the tensors of the context as they are.")
def _input(subject: PredictorSubject) -> None:
    with RawCall(subject) as (context, noise):
        before = {name: a.clone() for name, a in arrays_of(context).items() if isinstance(a, Tensor)}
        subject.component.value.predict(context, subject.shape.horizon, noise)
        after = arrays_of(context)
    same = {name: torch.equal(torch.nan_to_num(b), torch.nan_to_num(after[name])) for name, b in before.items()}  # type: ignore[arg-type]
    if changed := [name for name, is_same in same.items() if not is_same]:
        raise BreachError(f"it writes into context.{changed[0]}: clone it first")


@_check("state", "A call leaves settings and random states of the process as they are.")
def _state(subject: PredictorSubject) -> None:
    with RawCall(subject) as (context, noise), settings_changes() as changes:
        subject.component.value.predict(context, subject.shape.horizon, noise)
    report_changes("predict", changes)


@_check("pickling", "It can be pickled, and its copy predicts the same.")
def _pickling(subject: PredictorSubject) -> None:
    copied = pickled(subject.component.value)
    advice = "Let __getstate__ hold all that decides"
    _agree(subject.prediction, subject.predict(subject.batch(), predictor=copied), "its pickled copy", advice)


@_check("device", "It predicts on the device of the context.")
def _device(subject: PredictorSubject) -> None:
    if torch.cuda.is_available():
        _on_gpu(subject)
    else:
        _on_meta(subject)


def _moved(value: Any, device: str) -> Any:
    moved = copy.deepcopy(value)
    return moved.to(device) if isinstance(moved, torch.nn.Module) else moved


def _on_gpu(subject: PredictorSubject) -> None:
    predicted = subject.predict(subject.batch(device="cuda"), predictor=_moved(subject.component.value, "cuda"))
    tensors = {name: tensor.cpu() for name, tensor in predicted.tensors().items()}
    on_cpu = replace(predicted, **tensors)  # type: ignore[arg-type]
    if excess := excess_of(subject.prediction, on_cpu, rounded=True):
        raise BreachError(f"on a GPU, {excess}: do not let the device decide about values")


def _on_meta(subject: PredictorSubject) -> None:
    """Trace a call with tensors that have no values: torch refuses to mix them with tensors on the CPU."""
    with RawCall(subject) as (context, noise):
        arrays: Mapping[str, Any] = {
            name: a.to("meta") if isinstance(a, Tensor) else a for name, a in arrays_of(context).items()
        }
        if subject.info.oracle:
            raise NotApplicableError("there is no GPU here")
        value = _moved(subject.component.value, "meta")
        try:
            returned = value.predict(with_arrays(context, arrays), subject.shape.horizon, noise)
        except Exception as error:
            if any(words in str(error) for words in _DEVICE_WORDS):
                raise BreachError(
                    f"it mixes tensors of two devices: {describe(error)}: register tensors as buffers, and make new "
                    f"ones on context.frames.device"
                ) from error
            raise NotApplicableError("there is no GPU here, and it computes with values") from error
    stray = [name for name, tensor in returned.tensors().items() if tensor.device.type != "meta"]
    if stray:
        raise BreachError(f"its {stray[0]} lie on the CPU if the context does not: return them on the context's device")
