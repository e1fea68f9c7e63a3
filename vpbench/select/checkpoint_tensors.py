"""The tensors of other people's checkpoints: which ones are weights, and the file that they are written to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from vpbench.errors import DataError
from vpbench.output import brief
from vpbench.select.checkpoint_names import counted
from vpbench.toolkit.weights import kind

_PARAMETER = re.compile(r"weight|bias|kernel|packed")
"""Last part of a parameter's name. Integer buffers have others: num_batches_tracked, position_ids."""
_BYTES = 2**30
"""Memory that tensors may take however small their file is. Beyond it, four times the file."""


def checked_tensors(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return tensors that safetensors can hold and a network can use, each with memory of its own.

    Raises:
        DataError: names the first that is quantised, an integer where weights belong, or without plain values.
    """
    for name, tensor in tensors.items():
        if problem := _unusable(name, tensor):
            raise DataError(f"{file}: '{brief(name)}' {problem}")
    if not any(kind(tensor) in ("floating-point", "complex") for tensor in tensors.values()):
        raise DataError(f"{file}: none of its {counted(len(tensors))} is floating-point: these are no weights")
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > max(_BYTES, 4 * file.stat().st_size):
        raise DataError(f"{file}: its tensors would take {size / 2**30:.1f} GiB, far more than the file: get it again")
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def _unusable(name: str, tensor: Tensor) -> str:
    if name == "__metadata__":
        return "is a name that safetensors keeps for itself: rename it"
    if kind(tensor) == "quantised" or (kind(tensor) == "integer" and _PARAMETER.search(name.rpartition(".")[2])):
        return f"is {dtype_name(tensor)}, and weights must be floating-point: save them dequantised"
    if tensor.is_nested or tensor.layout != torch.strided:
        return "is a tensor that safetensors cannot hold (sparse or nested): save it dense"
    return "has no values (device meta): save it from a device that has them" if tensor.is_meta else ""


def encoded(tensors: Mapping[str, Tensor], file: Path) -> bytes:
    """Return the content of a safetensors file.

    Raises:
        DataError: it cannot hold a tensor or its name.
    """
    try:
        return save(dict(tensors), metadata={"format": "pt"})
    except (ValueError, RuntimeError, KeyError) as error:  # half a character in a name, a dtype that is too new
        raise DataError(f"{file}: holds a tensor that safetensors cannot ({brief(str(error))})") from error


def dtype_name(tensor: Tensor) -> str:
    """Return the name of a dtype, such as float32."""
    return str(tensor.dtype).removeprefix("torch.")
