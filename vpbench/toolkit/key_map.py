"""Weights of another program: rules that give its tensors the names and layouts of a predictor here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vpbench.errors import DataError, VpbenchWarning
from vpbench.output import brief


@dataclass(frozen=True)
class KeyRule:
    """State where a tensor of another program belongs."""

    pattern: str
    """A regular expression that matches the whole name in the other program."""
    name: str
    r"""The name here; ``\1`` is the first group of the pattern. "" for a tensor that the other program never uses."""
    change: Callable[[Tensor], Tensor] | None = None
    """The function that turns the tensor into the layout here, such as another order of gates."""
    caution: str = ""
    """A warning if the rule applies, for weights that fit and yet may predict wrongly."""


def apply_rules(state_dict: Mapping[str, Tensor], rules: Sequence[KeyRule]) -> dict[str, Tensor]:
    r"""Return tensors by their names here. A name that no rule matches stays, so that it can be reported.

    Every rule that matches a name applies: two rules can split a tensor. Tensors that get the same name are
    concatenated along their first axis, in the order of the rules.

    Warns with the ``caution`` of each rule that applies.

    Raises:
        DataError: A tensor's shape allows no change of its layout, or tensors cannot be concatenated.

    Example:
        >>> import torch
        >>> rules = [KeyRule(r"net\.(\d+)\.kernel", r"layers.\1.weight", lambda kernel: kernel.movedim(-1, 0))]
        >>> tensors = apply_rules({"net.0.kernel": torch.zeros(3, 3, 8)}, rules)
        >>> {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        {'layers.0.weight': (8, 3, 3)}
    """
    sources: dict[str, list[tuple[int, str]]] = {}
    cautions: dict[str, None] = {}
    for name in state_dict:
        matches = [(i, rule, match) for i, rule in enumerate(rules) if (match := re.fullmatch(rule.pattern, name))]
        if not matches:
            sources.setdefault(name, []).append((-1, name))
        for i, rule, match in matches:
            cautions[rule.caution] = None
            if rule.name:
                sources.setdefault(match.expand(rule.name), []).append((i, name))
    for caution in filter(None, cautions):
        warnings.warn(caution, VpbenchWarning, stacklevel=2)
    return {new: _layout(new, sorted(parts), state_dict, rules) for new, parts in sources.items()}


def _layout(
    new: str, parts: Sequence[tuple[int, str]], state_dict: Mapping[str, Tensor], rules: Sequence[KeyRule]
) -> Tensor:
    """Return the tensor that is called ``new`` here, from numbers of rules (-1: none) and names in the other program.

    Raises:
        DataError: The shapes do not allow it.
    """
    changes = [rules[i].change if i >= 0 else None for i, _ in parts]
    tensors = [state_dict[name] for _, name in parts]
    try:
        changed = [change(tensor) if change else tensor for change, tensor in zip(changes, tensors, strict=True)]
        return changed[0] if len(changed) == 1 else torch.cat(changed)
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        shapes = " and ".join(f"{brief(name)} is {list(state_dict[name].shape)}" for _, name in parts)
        raise DataError(f"{shapes}, which cannot become {brief(new)}") from error
