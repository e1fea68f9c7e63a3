"""How large a predictor is: the parameters that inference uses, part by part."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["count_parameters"]


def count_parameters(predictor: Any) -> dict[str, int]:
    """Return the number of parameters of each direct part of a predictor; ``{}`` where it has none.

    A predictor with parts that inference does not use (discriminators) names those that it does in a method
    ``inference_parts()``, which returns ``{name: torch.nn.Module}``.
    """
    if hasattr(predictor, "inference_parts"):
        parts = dict(predictor.inference_parts())
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
