"""Annotators: who supplies flow and labels, and who spoils them on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_annotators(register: Register) -> None:
    """Register the noises: they need the dataset's own flow or labels."""
    register("flow-noise", "vpbench_annotators.noise:FlowNoise", summary="the true flow with smooth noise, or none")
    register("label-noise", "vpbench_annotators.noise:LabelNoise", summary="the true labels, shaky at boundaries")
