"""Count the operations of a prediction on torch's device ``meta``, which knows shapes only: nothing is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vpbench.errors import PredictorError, VpbenchError, describe
from vpbench.plugin.clip import Context, arrays_of, with_arrays
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.predictor import Predictor
from vpbench.plugin.process_state import process_state
from vpbench.select.members import modules_of


class UncountableError(VpbenchError):
    """A prediction has no count, since it depends on values or leaves torch."""


@contextmanager
def without_values() -> Iterator[None]:
    """Skip autocast, which does not know the device ``meta``, and checks of values, which it does not have."""
    finite = torch.ones((), dtype=torch.bool)  # on a CPU, so that Python can branch on it
    with (
        patch.object(torch, "autocast", lambda *args, **kwargs: nullcontext()),
        patch.object(torch.Tensor, "isfinite", lambda tensor: finite.expand(tensor.shape)),
    ):
        yield


def count_operations(predictor: Predictor, context: Context, horizon: int) -> int:
    """Return the operations of one prediction: a multiplication and an addition of a convolution or product are two.

    The predictor's modules are moved to ``meta`` and lose their weights.

    Args:
        predictor: in eval mode.
        context: on any device; its shapes decide the count.
        horizon: the number of steps.

    Raises:
        UncountableError: the prediction depends on values, or computes outside torch; says what failed.
    """
    counter = FlopCounterMode(display=False)
    generators = [torch.Generator() for _ in context.clips]
    shapes = _on_meta(context)
    for module in modules_of(predictor):
        module.to("meta")
    with plugin_errors(_uncountable), process_state(), without_values(), torch.no_grad(), counter:
        _check_on_meta(predictor.predict(shapes, horizon, generators).tensors())
    return int(counter.get_total_flops())


def _on_meta(context: Context) -> Context:
    arrays = {name: a.to("meta") if isinstance(a, Tensor) else a for name, a in arrays_of(context).items()}
    return with_arrays(replace(context), arrays)


def _check_on_meta(tensors: Mapping[str, Tensor]) -> None:
    """Check that the prediction was computed from the context: one from elsewhere was not counted."""
    if elsewhere := [name for name, tensor in tensors.items() if tensor.device.type != "meta"]:
        raise PredictorError(f"its {elsewhere[0]} are computed outside torch")


def _uncountable(error: BaseException) -> VpbenchError:
    reason = str(error) if isinstance(error, PredictorError) else f"it depends on values ({describe(error)})"
    return UncountableError(reason)
