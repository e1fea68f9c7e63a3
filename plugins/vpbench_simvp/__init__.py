"""SimVP and TAU: convolutions over stacked frames that predict all steps at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_predictors(register: Register) -> None:
    """Register ``simvp`` and ``tau``."""
    register(
        "simvp",
        "vpbench_simvp.predictor:SimVP",
        trainer="vpbench_simvp.training:stages",
        summary="convolutions over stacked frames with gated attention (SimVP, gSTA), trained",
    )
    register(
        "tau",
        "vpbench_simvp.predictor:TAU",
        trainer="vpbench_simvp.training:stages",
        summary="SimVP with temporal attention units (TAU), trained",
    )
