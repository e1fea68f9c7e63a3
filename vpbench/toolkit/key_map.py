"""Weights of another program: rules that give its tensors the names and layouts of a predictor here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KeyRule:
    """State where a tensor of another program belongs."""

    pattern: str
    """A regular expression that matches the whole name in the other program."""
    name: str
    r"""The name here; ``\1`` is the first group of the pattern. "" for a tensor that the other program never uses."""
    change: Callable[[Tensor], Tensor] | None = None
    """The function that turns the tensor into the layout here, such as another order of gates."""


def apply_rules(state_dict: Mapping[str, Tensor], rules: Sequence[KeyRule]) -> dict[str, Tensor]:
    r"""Return tensors by their names here. A name that no rule matches stays, so that it can be reported.

    Every rule that matches a name applies: two rules can split a tensor. Tensors that get the same name are
    concatenated along their first axis, in the order of the rules.

    Example:
        >>> import torch
        >>> rules = [KeyRule(r"net\.(\d+)\.kernel", r"layers.\1.weight", lambda kernel: kernel.movedim(-1, 0))]
        >>> tensors = apply_rules({"net.0.kernel": torch.zeros(3, 3, 8)}, rules)
        >>> {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        {'layers.0.weight': (8, 3, 3)}
    """
    parts: dict[str, dict[int, Tensor]] = {}
    for name, tensor in state_dict.items():
        matches = [(i, rule, match) for i, rule in enumerate(rules) if (match := re.fullmatch(rule.pattern, name))]
        if not matches:
            parts.setdefault(name, {})[-1] = tensor
        for i, rule, match in matches:
            if rule.name:
                parts.setdefault(match.expand(rule.name), {})[i] = rule.change(tensor) if rule.change else tensor
    return {name: _joined([tensor for _, tensor in sorted(part.items())]) for name, part in parts.items()}


def _joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
