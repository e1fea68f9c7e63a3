"""UCF101: 13,320 clips of 101 human actions (Soomro et al. 2012), with protocols of CDNet and MCVD."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the reader of the official tree."""
    register("ucf101", "vpbench_ucf101.dataset:UCF101", summary="UCF101: 13,320 clips of 101 human actions, 320x240")


@hookimpl
def register_protocols(register: Register) -> None:
    """Register the two settings of CDNet's Table 3, and that of MCVD's clips."""
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
    register(
        "ucf101-64-4to12",
        "vpbench_ucf101:protocols/ucf101-64-4to12.toml",
        summary="UCF101, 64x64, 4 -> 12 frames, MCVD's 256 clips of test list 3 (FAR)",
    )
