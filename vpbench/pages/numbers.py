"""How numbers are written for people: files hold them in full, pages round."""

from __future__ import annotations


def number(value: float | None, decimals: int) -> str:
    """Return a number with that many decimals; small ones with two significant digits; "—" for None."""
    if value is None:
        return "—"
    if value and abs(value) < 10.0**-decimals:
        return f"{value:.1e}"
    return f"{value:.{decimals}f}"


def interval_text(ends: tuple[float, float] | None, decimals: int) -> str:
    """Return an interval as its two ends; "—" for None."""
    return "—" if ends is None else " to ".join(number(end, decimals) for end in ends)


def step_text(step: int) -> str:
    """Return how pages print a step: ``t-1``, ``t`` for the last context frame, ``t+1``."""
    return f"t{step:+d}" if step else "t"


def percent(share: float | None) -> str:
    """Return a share as a whole percentage; "—" for None."""
    return "—" if share is None else f"{100 * share:.0f} %"


def count_clips(clips: int, recordings: int) -> str:
    """Return how many clips there are, and of how many independent recordings."""
    return f"{clips} clip{'s' * (clips != 1)} of {recordings} recording{'s' * (recordings != 1)}"


def count_samples(samples: int) -> str:
    """Return how many predictions each clip has."""
    return f"{samples} sample{'s' * (samples != 1)} per clip"
