"""3-D convolutions that are fast on a CPU, also for a single clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Conv(nn.Conv3d):
    """Convolve, and keep the size or divide it by the stride."""

    def __init__(
        self, inner: int, outer: int, kernel: int = 3, stride: tuple[int, int, int] = (1, 1, 1), *, bias: bool = True
    ) -> None:
        super().__init__(inner, outer, kernel, stride, kernel // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve in the faster layout."""
        return convolve(x, self.weight, self.bias, self.stride)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sequence[int] = (1, 1, 1)) -> Tensor:
    """Convolve with weights, and keep the size or divide it by the stride."""
    return conv3d(channels_last(x), weight, bias, stride, [side // 2 for side in weight.shape[2:]])


def channels_last(x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c t h w"]:
    """Use channels last on a CPU, where 3-D convolutions are faster with them (``benchmarks/cdnet.py``)."""
    return x.contiguous(memory_format=torch.channels_last_3d) if x.device.type == "cpu" else x


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
        not torch.compiler.is_compiling()  # the first, as a compiler cannot trace the question for oneDNN
        and len(x) == 1
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and weight.shape[2:].numel() > 1
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )
