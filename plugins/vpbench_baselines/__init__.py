"""Baselines and ceilings: the repeated last frame, extrapolated motion, saved predictions, oracles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_predictors(register: Register) -> None:
    """Register all; ``repeat`` and ``flow-extrapolation`` are defaults of a run."""
    register("repeat", "vpbench_baselines.repeat:Repeat", summary="the last frame repeated", default=True)
    register(
        "flow-extrapolation",
        "vpbench_baselines.extrapolation:FlowExtrapolation",
        summary="the last frame moved along its optical flow at constant velocity",
        default=True,
    )
    register("saved", "vpbench_baselines.saved:Saved", summary="predictions read from a folder (-m saved:DIR)")
    register("oracle", "vpbench_baselines.oracles:Oracle", summary="the truth: a ceiling, never ranked")
    register("oracle-flow", "vpbench_baselines.oracles:OracleFlow", summary="the last frame along true flow: a ceiling")
