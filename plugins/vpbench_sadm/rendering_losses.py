"""The losses of the rendering (equation 13 = 15), all but the perceptual one; sums over t, means over all else."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["covisible_loss", "discriminator_loss", "generator_loss"]


def covisible_loss(
    frames: Float[Tensor, "b k 3 h w"], warped: Float[Tensor, "b k 3 h w"], hole: Bool[Tensor, "b k h w"]
) -> Float[Tensor, ""]:
    """Return ``sum_t (1 - Omega) |completed - warped|``, a mean over all pixels, also those of the hole."""
    kept = (frames - warped).abs() * ~hole[:, :, None]
    return kept.mean(dim=(0, 2, 3, 4)).sum()


def generator_loss(fake: Float[Tensor, "*any"]) -> Float[Tensor, ""]:
    """Return what equation 13 writes as D(fake): the generator's part of the least-squares loss, ``(D - 1)^2``.

    Mao, Li, Xie, Lau, Wang, Smolley: Least Squares Generative Adversarial Networks, ICCV 2017, equation 9, as CycleGAN
    has it.
    """
    return (fake - 1).square().mean()


def discriminator_loss(real: Float[Tensor, "*any"], fake: Float[Tensor, "*any"]) -> Float[Tensor, ""]:
    """Return the discriminator's part, ``((D(real) - 1)^2 + D(fake)^2) / 2``."""
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())
