"""How large a predictor is: the parameters that inference uses, part by part."""

from __future__ import annotations

from typing import Any

import torch

from vpbench.errors import PluginError, type_name
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.members import member
from vpbench.plugin.predictor import BasePredictor


def count_parameters(predictor: Any) -> dict[str, int]:
    """Return the number of parameters of each part that inference uses; ``{}`` for a predictor without parts.

    Raises:
        PluginError: the predictor's ``inference_parts`` fails.
    """
    with plugin_errors(failed_as(PluginError, f"`inference_parts` of {type_name(predictor)}")):
        modules = member(predictor, BasePredictor, "inference_parts")()
    counts: dict[str, int] = {}
    if modules is None:
        if not isinstance(predictor, torch.nn.Module):
            return {}
        modules = dict(predictor.named_children())
        if direct := sum(parameter.numel() for parameter in predictor.parameters(recurse=False)):
            counts["own"] = direct
    return counts | {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
