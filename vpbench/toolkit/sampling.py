"""Scheduled sampling: recurrent networks read true frames in training, ever fewer, instead of their own predictions.

Bengio, Vinyals, Jaitly, Shazeer: Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks,
NeurIPS 2015, section 2.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True)
class ScheduledSampling:
    """The probability that a network reads a true frame next.

    It is ``start``, multiplied by ``decay`` every ``epochs`` epochs. It also falls linearly, to 0 at the share ``end``
    of the training. The linear schedule alone has ``decay`` 1; the exponential one alone has ``end`` None.

    Example:
        >>> ScheduledSampling(end=0.5).probability(progress=0.25, epoch=0)
        0.5
        >>> ScheduledSampling(start=0.8, decay=0.5, epochs=5).probability(progress=0.3, epoch=7)
        0.4
    """

    start: float = 1.0
    decay: float = 1.0
    epochs: int = 1
    end: float | None = None

    def probability(self, progress: float, epoch: int) -> float:
        """Return the probability after a share of the training, in an epoch from 0 on."""
        probability = self.start * self.decay ** (epoch // self.epochs)
        if self.end is None:
            return probability
        return 0.0 if progress >= self.end else probability * (1.0 - progress / self.end)


def reverse_sampling(progress: float, end: float) -> tuple[float, float]:
    """Return the probabilities of reading a true frame in the context and in the future (reverse scheduled sampling).

    Both are one half at first. After half of ``end``, a share of the training, that of the context approaches 1
    exponentially, and that of the future falls linearly to 0. From ``end`` on, they are 1 and 0.

    Wang, Wu, Zhang, Gao, Wang, Yu, Long: PredRNN, IEEE TPAMI 2022, section 4.3, with the constants of its code.
    """
    if progress >= end:
        return 1.0, 0.0
    late = max(0.0, 2.0 * progress / end - 1.0)
    return 1.0 - 0.5 * math.exp(-5.0 * late), 0.5 - 0.5 * late


def draw_truth(generators: Sequence[torch.Generator], probabilities: Sequence[float]) -> Bool[Tensor, "b n"]:
    """Draw for each clip and frame whether the true frame is read, on the CPU.

    Nothing is drawn if every probability is 0.

    Args:
        generators: One per clip.
        probabilities: One per frame.
    """
    if not any(probabilities):
        return torch.zeros(len(generators), len(probabilities), dtype=torch.bool)
    draws = torch.stack([torch.rand(len(probabilities), generator=generator) for generator in generators])
    return draws < torch.tensor(probabilities)
