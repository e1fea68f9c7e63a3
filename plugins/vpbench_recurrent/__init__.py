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
