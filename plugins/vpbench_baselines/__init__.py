"""What a model is measured against: the last frame again, motion carried on, ConvLSTM, saved predictions, ceilings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_predictors(register: Register) -> None:
    """Register ``repeat`` and ``flow-extrapolation``, which a bare run runs, and the others."""
    register("repeat", "vpbench_baselines.repeat:Repeat", summary="the last frame again", default=True)
    register(
        "flow-extrapolation",
        "vpbench_baselines.extrapolation:FlowExtrapolation",
        summary="the last frame moved on at the velocity of its optical flow",
        default=True,
    )
    register(
        "convlstm",
        "vpbench_baselines.convlstm:ConvLSTM",
        trainer="vpbench_baselines.convlstm_training:stages",
        summary="convolutional LSTM (Shi et al. 2015), trained",
    )
    register("saved", "vpbench_baselines.saved:Saved", summary="predictions read from a folder (-m saved:DIR)")
    register("oracle", "vpbench_baselines.oracles:Oracle", summary="the truth: a ceiling, never ranked")
    register("oracle-flow", "vpbench_baselines.oracles:OracleFlow", summary="the last frame along true flow: a ceiling")
