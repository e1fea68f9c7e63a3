"""The windows and constants of SSIM, which metrics and losses share.

Source: Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment, IEEE TIP 13(4), 2004.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

K1, K2 = 0.01, 0.03


@dataclass(frozen=True)
class Window:
    """A separable window and the factor of its (co)variances: n/(n-1) for those of a sample."""

    weights: tuple[float, ...]
    factor: float = 1.0

    @property
    def radius(self) -> int:
        """Pixels lost at each border."""
        return len(self.weights) // 2


def _gaussian(side: int, sigma: float) -> tuple[float, ...]:
    weights = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())


GAUSSIAN = Window(_gaussian(11, 1.5))
"""Wang et al. 2004: 11x11, sigma 1.5, population covariance."""
UNIFORM7 = Window((1 / 7,) * 7, 49 / 48)
"""scikit-image's default: 7x7, sample covariance."""
