"""The 3-D convolution for a single clip: equal to PyTorch's, and by oneDNN where that is possible."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from vpbench.toolkit.convolution import conv3d

BY_ONEDNN = torch.ops.aten.mkldnn_convolution.default
with_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")


class Calls(TorchDispatchMode):
    """Record the operators that are called."""

    def __init__(self):
        super().__init__()
        self.operators = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operators.append(function)
        return function(*args, **kwargs or {})


def operators_of(*args, **settings):
    with Calls() as calls:
        conv3d(*args, **settings)
    return calls.operators


def noise(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=dtype)


@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (1, 1, 1)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_values_and_gradients_are_those_of_pytorch(clips, kernel, stride, layout):
    tensors = [noise(clips, 5, 3, 7, 6).contiguous(memory_format=layout), noise(4, 5, *kernel), noise(4)]
    results = []
    for convolve in (conv3d, functional.conv3d):
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        output = convolve(*inputs, stride=stride, padding=tuple(side // 2 for side in kernel))
        output.square().sum().backward()
        results.append([output.detach(), *(tensor.grad for tensor in inputs)])
    for value, expected in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, atol=1e-4, rtol=1e-4)


@with_onednn
def test_a_single_clip_is_convolved_by_onednn():
    assert operators_of(noise(1, 5, 3, 7, 6), noise(4, 5, 3, 3, 3), padding=(1, 1, 1)) == [BY_ONEDNN]


@pytest.mark.parametrize(
    ("clips", "kernel", "dtype"), [(2, 3, torch.float32), (1, 1, torch.float32), (1, 3, torch.float64)]
)
def test_others_are_convolved_as_pytorch_chooses(clips, kernel, dtype):
    x, weight = noise(clips, 5, 3, 7, 6, dtype=dtype), noise(4, 5, kernel, kernel, kernel, dtype=dtype)
    assert BY_ONEDNN not in operators_of(x, weight)


def test_autocast_and_onednn_switched_off_are_respected():
    x, weight = noise(1, 5, 3, 7, 6), noise(4, 5, 3, 3, 3)
    with torch.backends.mkldnn.flags(enabled=False):
        assert BY_ONEDNN not in operators_of(x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv3d(x, weight).dtype == torch.bfloat16


def test_a_compiled_graph_holds_the_convolution_of_pytorch(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert BY_ONEDNN not in operators_of(noise(1, 5, 3, 7, 6), noise(4, 5, 3, 3, 3))
