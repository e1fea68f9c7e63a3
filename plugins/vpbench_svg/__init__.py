"""SVG: stochastic video generation with a learned prior, a fixed prior, or no latent variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_predictors(register: Register) -> None:
    """Register ``svg``."""
    register(
        "svg",
        "vpbench_svg.predictor:SVG",
        trainer="vpbench_svg.training:stages",
        summary="stochastic video generation with a learned prior (Denton and Fergus 2018), trained",
    )
