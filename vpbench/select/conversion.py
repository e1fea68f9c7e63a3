"""Weights of another program under the names of a predictor here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vpbench.errors import UsageError
from vpbench.plugin.loader import Plugins
from vpbench.select.component import choose_predictor
from vpbench.select.options import Options
from vpbench.select.trained import adapt_weights, differences


def convert_for(
    plugins: Plugins, text: str, options: Options, tensors: Mapping[str, Tensor], file: Path
) -> tuple[dict[str, Tensor], Sequence[str]]:
    """Return tensors as a predictor names them, and what does not fit it.

    Args:
        plugins: where the predictor is looked up.
        text: ``NAME`` or ``NAME:PRESET``.
        options: by name.
        tensors: of the other program.
        file: for messages.

    Raises:
        UsageError: there is no such predictor, preset or option, or it has no weights.
        PluginError: the predictor cannot be built, or its ``adapt_state_dict`` fails.
    """
    predictor = choose_predictor(plugins, text, options)
    if not isinstance(predictor.value, torch.nn.Module):
        raise UsageError(f"predictor {predictor.name!r} has no weights: {file} cannot be converted for it")
    adapted = adapt_weights(predictor.value, tensors, predictor.name)
    return adapted, differences(predictor.value.state_dict(), adapted)
