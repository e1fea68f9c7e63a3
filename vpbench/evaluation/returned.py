"""Copy and check a returned prediction, and clamp it to the value range that metrics rely on."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vpbench.clips.batch import Batch
from vpbench.errors import VpbenchError, type_name
from vpbench.plugin.clip import LabelSpace, Modality, Prediction

CLAMP = 1e-4
"""How far a prediction may leave [0,1]: clamped and counted up to here, an error beyond."""

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_DTYPES = {
    "frames": "floating point in [0,1]",
    "semantics": "floating-point scores [B,K,C,H,W] or int64 labels [B,K,H,W]",
    "flow": "floating point",
    "disocclusion": "bool",
}


@dataclass(frozen=True)
class Checked:
    """A prediction that keeps the contract; its tensors are copies."""

    raw: Prediction
    """As it was returned; frames and flow as float32."""
    prediction: Prediction
    """With frames clamped to [0,1]."""
    clamped: Tensor | None
    """[B,K] bool: frames that had values beyond [0,1]."""


def check_prediction(returned: object, outputs: Sequence[Modality], batch: Batch) -> Checked:
    """Return a copy of a prediction that keeps the contract; ``outputs`` must be among it.

    Raises:
        VpbenchError: a wrong type, layout, shape, dtype or device, NaN, values out of range; names the clip.
    """
    if not isinstance(returned, Prediction):
        raise VpbenchError(f"it must return a vpbench.Prediction, not {type_name(returned)}")
    values = {name: getattr(returned, name) for name in _DTYPES}
    values = {name: value for name, value in values.items() if value is not None}
    if absent := [modality for modality in outputs if modality not in values]:
        raise VpbenchError(f"it declares the output {absent[0]!r} and did not predict it")
    tensors = {modality: _copy(modality, value, batch) for modality, value in values.items()}
    space = returned.label_space or batch.context.label_space
    if space is not None and type(space) is not LabelSpace:
        raise VpbenchError(f"label_space must be a vpbench.LabelSpace, not {type_name(space)}")
    raw = Prediction(label_space=deepcopy(space), **tensors)
    if raw.frames is None:
        return Checked(raw, raw, None)
    clamped = _excess(raw.frames, batch) > 0
    frames = raw.frames.clamp(0, 1) if clamped.any() else raw.frames
    return Checked(raw, replace(raw, frames=frames), clamped)


def _copy(modality: str, value: object, batch: Batch) -> Tensor:
    """Return a plain tensor of the right dtype, shape and device that shares no memory with ``value``."""
    tensor = _plain(modality, value)
    device, shape = batch.context.frames.device, _shape(modality, tensor, batch)
    if not _fits(modality, tensor):
        raise VpbenchError(f"{modality} must be {_DTYPES[modality]}; they are {tensor.dtype}")
    if tuple(tensor.shape) != shape:
        raise VpbenchError(f"{modality} must be {list(shape)}; they are {list(tensor.shape)}")
    if tensor.device != device:
        raise VpbenchError(f"{modality} must be on {device}, as the context is; they are on {tensor.device}")
    dtype = torch.float32 if modality in ("frames", "flow") else tensor.dtype
    copy = torch.empty(tensor.shape, dtype=dtype, device=device)
    copy.copy_(tensor.detach())
    if copy.is_floating_point():
        _check_finite(modality, copy, batch)
    return copy


def _plain(modality: str, value: object) -> Tensor:
    """Return ``value`` if it is a dense tensor whose values can be read.

    Raises:
        VpbenchError: sparse, quantized, complex, nested, without values, a subclass, or no tensor at all.
    """
    if type(value) not in (Tensor, torch.nn.Parameter):
        raise VpbenchError(f"{modality} must be a torch.Tensor, not {type_name(value)}")
    assert isinstance(value, Tensor)
    kinds = {"meta": value.is_meta, "nested": value.is_nested, "quantized": value.is_quantized}
    kinds |= {str(value.layout).removeprefix("torch."): value.layout is not torch.strided}
    if exotic := [kind for kind, is_so in kinds.items() if is_so]:
        raise VpbenchError(f"{modality} must be a dense torch.Tensor with values; it is {exotic[0]}")
    return value


def _shape(modality: str, tensor: Tensor, batch: Batch) -> tuple[int, ...]:
    """Return the shape that a modality must have; scores may have any number of classes."""
    b, _, _, h, w = batch.context.frames.shape
    if modality in ("frames", "flow"):
        return b, batch.horizon, 3 if modality == "frames" else 2, h, w
    true = batch.future.semantics
    # An oracle's labels may have the size of the true ones already.
    if modality == "semantics" and true is not None and tensor.shape[-2:] == true.shape[-2:]:
        h, w = true.shape[-2:]
    classes = tensor.shape[2:3] if modality == "semantics" and tensor.ndim == 5 else ()
    return b, batch.horizon, *classes, h, w


def _fits(modality: str, tensor: Tensor) -> bool:
    if modality == "semantics" and tensor.ndim == 4:
        return tensor.dtype == torch.int64
    return tensor.dtype == torch.bool if modality == "disocclusion" else tensor.dtype in _FLOATS


def _check_finite(modality: str, tensor: Tensor, batch: Batch) -> None:
    finite = torch.isfinite(tensor).flatten(2).all(dim=2)
    if (wrong := (~finite).nonzero()).numel():
        i, step = (int(v) for v in wrong[0])
        raise VpbenchError(f"{modality} of clip {batch.refs[i].id!r}, step {step + 1} hold NaN or inf")


def _excess(frames: Tensor, batch: Batch) -> Tensor:
    """Return by how much each frame leaves [0,1], [B,K]."""
    low, high = frames.amin(dim=(2, 3, 4)), frames.amax(dim=(2, 3, 4))
    excess = torch.maximum(-low, high - 1)
    if (wrong := (excess > CLAMP).nonzero()).numel():
        i, step = (int(v) for v in wrong[0])
        raise VpbenchError(
            f"frames must lie in [0,1]; clip {batch.refs[i].id!r}, step {step + 1} spans "
            f"[{low[i, step]:.4g}, {high[i, step]:.4g}] (clamping is the predictor's job)"
        )
    return excess
