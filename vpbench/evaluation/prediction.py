"""Call one predictor on one batch: pass it copies, then check and copy its prediction.

A predictor never holds a tensor that another predictor or a metric sees, neither before nor after the call.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from vpbench.clips.batch import Batch
from vpbench.errors import PredictorError, VpbenchError, describe, text_of
from vpbench.evaluation.returned import Checked, check_prediction
from vpbench.plugin.clip import Context, Future, Modality, arrays_of, with_arrays
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.predictor import Predictor, PredictorInfo
from vpbench.plugin.process_state import process_state
from vpbench.select.members import modules_of

_Shared = TypeVar("_Shared", Context, Future)


class _BatchError(PredictorError):
    """The predictor raised; the clip of the batch that caused it is not known."""


@dataclass(frozen=True)
class Caller:
    """Calls one predictor; holds everything that stays the same from batch to batch."""

    name: str
    predictor: Predictor
    info: PredictorInfo
    outputs: Sequence[Modality]
    """Modalities that it must predict."""
    seed: int
    lower: str = "the batch size"
    """The setting to lower if memory runs out."""

    @property
    def half_precision(self) -> bool:
        """True if the predictor holds weights in half precision."""
        parameters = (p for module in modules_of(self.predictor) for p in module.parameters())
        return any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in parameters)

    def predict(self, batch: Batch, sample: int) -> Checked:
        """Predict one batch and check the prediction.

        Raises:
            PredictorError: an exception, a wrong type, shape or dtype, NaN, or values out of range; names the clip.
        """
        try:
            return self._predict(batch, sample)
        except _BatchError as error:
            raise self._blame(batch, sample, error) from error.__cause__

    def _predict(self, batch: Batch, sample: int) -> Checked:
        context = replace(_copied_context(self.info, batch), sample=sample)
        noise = generators(batch.context.clips, self.seed, sample)
        with plugin_errors(lambda error: self._failure(error, batch)), process_state(), torch.no_grad():
            with torch.inference_mode():
                returned = self.predictor.predict(context, batch.horizon, noise)
            return check_prediction(returned, self.outputs, batch)

    def seconds(self, batch: Batch, synchronize: Callable[[], None]) -> float:
        """Return the wall time of predicting one batch, without the copy of its inputs and the checks.

        Args:
            batch: the clips.
            synchronize: waits for the device's queued work, before and after.

        Raises:
            PredictorError: the predictor fails.
        """
        context = _copied_context(self.info, batch)
        noise = generators(batch.context.clips, self.seed, 0)
        with plugin_errors(lambda error: self._failure(error, batch)), process_state(), torch.inference_mode():
            synchronize()
            start = time.perf_counter()
            self.predictor.predict(context, batch.horizon, noise)
            synchronize()
            return time.perf_counter() - start

    def _failure(self, error: BaseException, batch: Batch) -> PredictorError:
        count, size = len(batch.refs), "x".join(map(str, batch.context.frames.shape[-2:]))
        if isinstance(error, VpbenchError):
            return PredictorError(f"predictor {self.name!r}: {text_of(error)}")
        if no_memory(error):
            clips = f"{count} clip{'s' if count > 1 else ''} of {size}"
            return PredictorError(f"predictor {self.name!r} ran out of memory on {clips}: lower {self.lower}")
        return _BatchError(f"predictor {self.name!r} failed on clip {batch.refs[0].id!r}: {describe(error)}")

    def _blame(self, batch: Batch, sample: int, error: _BatchError) -> PredictorError:
        """Predict each clip separately; return an error that names the first clip that fails."""
        count = len(batch.refs)
        for place in range(count if count > 1 else 0):
            try:
                self._predict(batch.clip(place), sample)
            except _BatchError as single:
                single.__cause__, error.__cause__ = error.__cause__, single.__cause__
                return PredictorError(str(single))
            except PredictorError:
                continue
        if count == 1:
            return PredictorError(str(error))
        return PredictorError(
            f"predictor {self.name!r} failed on the {count} clips from {batch.refs[0].id!r} together, and on none of "
            f"them alone: {describe(error.__cause__ or error)}"
        )


def generators(clips: Sequence[str], seed: int, sample: int) -> list[torch.Generator]:
    """Return one CPU generator per clip, seeded from (run seed, clip id, sample) and nothing else."""
    return [torch.Generator().manual_seed(clip_seed(clip, seed, sample)) for clip in clips]


def clip_seed(clip: str, seed: int, sample: int) -> int:
    """Return the seed of a clip's noise, 63 bits, for the seed of a run and the number of a sample."""
    digest = hashlib.sha256(f"{seed}/{sample}/{clip}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def no_memory(error: BaseException) -> bool:
    """Return whether a GPU, numpy or torch's CPU allocator ran out of memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in text_of(error)


@contextmanager
def evaluation_mode(name: str, predictor: object) -> Iterator[None]:
    """Put every module that a predictor is or holds into eval mode, and restore the mode of each afterwards.

    Raises:
        PredictorError: a module cannot be put into eval mode.
    """
    outermost = modules_of(predictor)
    modes = [(module, module.training) for outer in outermost for module in outer.modules()]
    try:
        with plugin_errors(lambda error: PredictorError(f"predictor {name!r} has no eval mode: {describe(error)}")):
            for outer in outermost:
                outer.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _copied_context(info: PredictorInfo, batch: Batch) -> Context:
    """Return a copy of the context with the modalities that the predictor declared, and the truth for an oracle."""
    declared = {"frames", *info.requires, *info.uses}
    visible = {name: array for name, array in arrays_of(batch.context).items() if name in declared}
    future = _copied(replace(batch.future, _cache={})) if info.oracle else None
    return _copied(with_arrays(batch.context, visible, future=future))


def _copied(shared: _Shared) -> _Shared:
    """Return a context or a future with copies of its tensors and its label space."""
    copies = {name: a.clone() if isinstance(a, Tensor) else a for name, a in arrays_of(shared).items()}
    return with_arrays(shared, copies, label_space=deepcopy(shared.label_space))
