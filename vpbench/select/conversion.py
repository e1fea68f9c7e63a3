"""Weights of another program under the names of a predictor here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vpbench.errors import Remedy, UsageError, VpbenchError
from vpbench.plugin.loader import Plugins
from vpbench.select.component import choose_predictor
from vpbench.select.options import Options
from vpbench.select.trained import adapt_weights, differences, prefix_remedy


@dataclass(frozen=True)
class Conversion:
    """Tensors of another program, as a predictor names them."""

    tensors: Mapping[str, Tensor]
    differences: Sequence[str]
    """A text for each tensor that does not fit the predictor."""
    unused: Sequence[str]
    """Names in the other program of tensors that the predictor leaves out."""
    remedy: Remedy | None = None
    """How to change ``prefix``, if the names differ by it alone."""
    prefix: str = ""


def convert_for(plugins: Plugins, text: str, options: Options, tensors: Mapping[str, Tensor], file: Path) -> Conversion:
    """Return tensors as a predictor names them, and what does not fit it.

    Args:
        plugins: where the predictor is looked up.
        text: ``NAME`` or ``NAME:PRESET``.
        options: by name.
        tensors: of the other program.
        file: for messages.

    Raises:
        UsageError: there is no such predictor, preset or option, or it has no weights.
        DataError: a tensor's layout cannot be changed.
        PluginError: the predictor cannot be built, or its ``adapt_state_dict`` fails.
    """
    predictor = choose_predictor(plugins, text, options)
    module = predictor.value
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"predictor {predictor.name!r} has no weights: {file} cannot be converted for it")
    adapted = adapt_weights(module, tensors, predictor.name, file)
    if differ := differences(module.state_dict(), adapted):
        return Conversion(adapted, differ, (), *prefix_remedy(module, tensors, adapted))
    return Conversion(adapted, (), _unused(module, tensors, file))


def _unused(module: torch.nn.Module, tensors: Mapping[str, Tensor], file: Path) -> list[str]:
    """Return the names of tensors that a predictor leaves out. One that it cannot adapt alone is in use."""
    names = []
    for name, tensor in tensors.items():
        with suppress(VpbenchError):
            names += [] if adapt_weights(module, {name: tensor}, "", file) else [name]
    return names
