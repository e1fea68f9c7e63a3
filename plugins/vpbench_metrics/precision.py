"""Full float32 in convolutions and products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32(device: str) -> Iterator[None]:
    """Keep float32 what it is: no autocast, no TF32 or bfloat16 in convolutions and products; then all as before."""
    cuda, cudnn, mkldnn = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.mkldnn
    if hasattr(cuda, "fp32_precision"):
        switches = [(part, "fp32_precision", "ieee") for part in (cuda, cudnn.conv, mkldnn.conv, mkldnn.matmul)]
    else:  # before torch 2.9
        switches = [(cuda, "allow_tf32", False), (cudnn, "allow_tf32", False)]
    before = [getattr(part, name) for part, name, _ in switches]
    try:
        for part, name, exact in switches:
            setattr(part, name, exact)
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        for (part, name, _), value in zip(switches, before, strict=True):
            setattr(part, name, value)
