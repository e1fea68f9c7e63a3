"""How numbers are written for people: files hold them in full, pages round."""

from __future__ import annotations

__all__ = ["number"]


def number(value: float | None, decimals: int) -> str:
    """Return a number with that many decimals; small ones with two significant digits; "—" for None."""
    if value is None:
        return "—"
    if value and abs(value) < 10.0**-decimals:
        return f"{value:.1e}"
    return f"{value:.{decimals}f}"
