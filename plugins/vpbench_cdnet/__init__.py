"""CDNet: a cascade of a motion LSTM and a refine LSTM over a reversible autoencoder (submitted to ICLR 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_predictors(register: Register) -> None:
    """Register ``cdnet``."""
    register(
        "cdnet",
        "vpbench_cdnet.predictor:CDNet",
        trainer="vpbench_cdnet.training:stages",
        default=True,
        summary="cascaded decoupling of motion and appearance, trained",
    )
