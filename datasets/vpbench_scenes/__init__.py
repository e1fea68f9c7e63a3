"""Procedural street scenes with the whole truth: labels, instances, flow, dis-occlusion and branching futures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the dataset."""
    register("scenes", "vpbench_scenes.dataset:Scenes", summary="procedural street scenes with the whole truth")


@hookimpl
def register_protocols(register: Register) -> None:
    """Register the four protocols of the dataset."""
    register(
        "scenes",
        "vpbench_scenes:protocols/scenes.toml",
        summary="48 procedural street clips, 192x256, 4 to 5 frames: needs no download",
        default=True,
    )
    register(
        "scenes-1k",
        "vpbench_scenes:protocols/scenes-1k.toml",
        summary="1,000 procedural street clips, 192x256, 4 to 5 frames",
    )
    register(
        "scenes-small",
        "vpbench_scenes:protocols/scenes-small.toml",
        summary="procedural street clips, 64x96, 4 to 8 frames, for training on a CPU",
    )
    register(
        "scenes-static",
        "vpbench_scenes:protocols/scenes-static.toml",
        summary="procedural street clips under a fixed camera, 64x96, 4 to 4 frames",
    )
