"""Inputs and weights for tests of recurrent cells."""

from __future__ import annotations

import torch


def noise(*shape, seed=0):
    """Return values in [-0.5,0.5]."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def randomised(module, scale=0.4):
    """Add noise to all parameters, so that none is 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn_like(parameter)
    return module
