"""The recurrent family: ConvLSTM and its successors, with one rollout, one trainer and one set of options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register

_TRAINER = "vpbench_recurrent.training:stages"


@hookimpl
def register_predictors(register: Register) -> None:
    """Register all; ``convlstm`` is a default of a run."""
    register(
        "convlstm",
        "vpbench_recurrent.convlstm:ConvLSTM",
        trainer=_TRAINER,
        default=True,
        summary="convolutional LSTM (Shi et al. 2015), trained",
    )
    register(
        "predrnn",
        "vpbench_recurrent.predrnn:PredRNN",
        trainer=_TRAINER,
        summary="stacked ST-LSTMs with a zigzag memory (Wang et al. 2017), trained",
    )
    register(
        "predrnn-v2",
        "vpbench_recurrent.predrnn:PredRNNV2",
        trainer=_TRAINER,
        summary="PredRNN with decoupled memories and reverse scheduled sampling (Wang et al. 2022), trained",
    )
    register(
        "mim",
        "vpbench_recurrent.mim:MIM",
        trainer=_TRAINER,
        summary="memory in memory: differences of neighbouring states (Wang et al. 2019), trained",
    )
    register(
        "motionrnn",
        "vpbench_recurrent.motionrnn:MotionRNN",
        trainer=_TRAINER,
        summary="PredRNN with motion units between its layers (Wu et al. 2021), trained",
    )
    register(
        "phydnet",
        "vpbench_recurrent.phydnet:PhyDNet",
        trainer=_TRAINER,
        summary="a cell of partial differential equations next to ConvLSTMs (Le Guen and Thome 2020), trained",
    )
    register(
        "crevnet",
        "vpbench_recurrent.crevnet:CrevNet",
        trainer=_TRAINER,
        summary="reversible predictive modules in a reversible autoencoder (Yu et al. 2020), trained",
    )
