"""A 3-D convolution that is also fast for a single clip on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def conv3d(
    x: Float[Tensor, "n c t h w"],
    weight: Float[Tensor, "d c i j k"],
    bias: Float[Tensor, " d"] | None = None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
) -> Float[Tensor, "n d t2 h2 w2"]:
    """Convolve as ``torch.nn.functional.conv3d`` does, with the same result up to rounding.

    PyTorch convolves a single small clip with a general kernel, which takes as long as a batch of two. This function
    calls oneDNN for it instead. Gradients work; PyTorch computes them, for a single clip still with its general kernel.
    Other devices, dtypes and batches, autocast and ``torch.compile`` use PyTorch's choice.
    """
    if _is_single_clip(x, weight):
        convolved: Tensor = torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, stride, (1, 1, 1), 1)
        return convolved
    return functional.conv3d(x, weight, bias, tuple(stride), tuple(padding))


def _is_single_clip(x: Tensor, weight: Tensor) -> bool:
    """Return whether oneDNN is faster: kernels of one pixel gain nothing."""
    return (
        len(x) == 1
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and weight.shape[2:].numel() > 1
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
