"""SADM: semantic-aware dynamics, warping, and inpainting of what is newly visible (CVPR 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_predictors(register: Register) -> None:
    """Register ``sadm``."""
    register(
        "sadm",
        "vpbench_sadm.predictor:SADM",
        trainer="vpbench_sadm.training:stages",
        default=True,
        summary="semantic-aware dynamics, warping, inpainting; trained",
    )
