"""Annotators: who supplies flow and labels, and who spoils them on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_annotators(register: Register) -> None:
    """Register the estimators and a reader of maps, and the noises, which need the dataset's own flow or labels."""
    register("dis", "vpbench_annotators.dis:Dis", summary="optical flow by OpenCV's DIS, without weights")
    register("raft", "vpbench_annotators.raft:Raft", summary="optical flow by RAFT, torchvision's weights")
    register(
        "deeplabv3",
        "vpbench_annotators.deeplab:DeepLabV3",
        summary="labels by DeepLabV3: Pascal VOC's, or a checkpoint's",
    )
    register("saved", "vpbench_annotators.saved:Saved", summary="flow or labels in a folder: saved:DIR")
    register("flow-noise", "vpbench_annotators.noise:FlowNoise", summary="the true flow with smooth noise, or none")
    register("label-noise", "vpbench_annotators.noise:LabelNoise", summary="the true labels, shaky at boundaries")
