"""UCF101: 13,320 clips of 101 human actions (Soomro et al. 2012), and CDNet's two protocols on it."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the reader of the official tree."""
    register("ucf101", "vpbench_ucf101.dataset:UCF101", summary="UCF101: 13,320 clips of 101 human actions, 320x240")


@hookimpl
def register_protocols(register: Register) -> None:
    """Register the two settings of CDNet's Table 3."""
    register(
        "ucf101-120x160-4to10",
        "vpbench_ucf101:protocols/ucf101-120x160-4to10.toml",
        summary="UCF101, 120x160, 4 -> 10 frames, groups 20-25 (CDNet Table 3)",
    )
    register(
        "ucf101-64x88-10to10",
        "vpbench_ucf101:protocols/ucf101-64x88-10to10.toml",
        summary="UCF101, 64x88, 10 -> 10 frames, a random quarter (CDNet Table 3)",
    )
