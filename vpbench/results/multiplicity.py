"""Many tests at once: corrected p-values, and the step from which one result is better for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

LEVEL = 0.05
"""A corrected p-value below it, with an interval clear of zero, is called significant."""

Lead: TypeAlias = Literal["first", "second", ""]
"""Which result is significantly better; "" for neither."""


@dataclass(frozen=True)
class LeadFrom:
    """A result that is significantly better at one step and at every later one."""

    lead: Literal["first", "second"]
    step: int
    """The first such step: 1 is t+1."""


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values of a family of tests, corrected by Holm's step-down method (1979).

    In ascending order, the i-th of m p-values is multiplied by m + 1 - i. It is then raised to the one before it if it
    is smaller, and cut to 1. Calling values below 0.05 significant makes any false claim at all with a probability of
    at most 5 %, however the tests depend on each other. Tests without a p-value (None) do not count.
    """
    defined = [(p, place) for place, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(sorted(defined)):
        largest = min(1.0, max(largest, p * (len(defined) - rank)))
        corrected[place] = largest
    return corrected


def lead_of(p: float | None, advantage: tuple[float, float] | None) -> Lead:
    """Return which result is significantly better.

    Args:
        p: the corrected p-value.
        advantage: the interval of the second result's cost less the first's: positive if the first is better.
    """
    if p is None or advantage is None or p >= LEVEL or advantage[0] <= 0 <= advantage[1]:
        return ""
    return "first" if advantage[0] > 0 else "second"


def lead_from(steps: Sequence[int], leads: Sequence[Lead]) -> LeadFrom | None:
    """Return the first step from which on one result is significantly better at every step; None if there is none."""
    last: LeadFrom | None = None
    for step, lead in zip(reversed(steps), reversed(leads), strict=True):
        if not lead or (last and last.lead != lead):
            break
        last = LeadFrom(lead, step)
    return last
