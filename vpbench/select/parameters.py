"""How large a predictor is: the parameters that inference uses, part by part."""

from __future__ import annotations

from typing import Any

import torch

from vpbench.plugin.members import member
from vpbench.plugin.predictor import BasePredictor

__all__ = ["count_parameters"]


def count_parameters(predictor: Any) -> dict[str, int]:
    """Return the number of parameters of each part that inference uses; ``{}`` for a predictor without parts."""
    named = member(predictor, BasePredictor, "inference_parts")()
    if named is not None:
        parts = dict(named)
    elif isinstance(predictor, torch.nn.Module):
        parts = dict(predictor.named_children())
        own = sum(p.numel() for p in predictor.parameters(recurse=False))
        if own:
            return {"own": own, **{name: _count(part) for name, part in parts.items()}}
    else:
        return {}
    return {name: _count(part) for name, part in parts.items()}


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
