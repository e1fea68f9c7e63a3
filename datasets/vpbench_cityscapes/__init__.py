"""Cityscapes (Cordts et al. 2016): street scenes, with protocols of SADM, semantic forecasting and diffusion models."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the reader of the official tree."""
    register(
        "cityscapes",
        "vpbench_cityscapes.dataset:Cityscapes",
        summary="Cityscapes: 5,000 snippets of 30 frames, 2048x1024, one frame of each annotated",
    )


@hookimpl
def register_protocols(register: Register) -> None:
    """Register the video protocols and the two conventions of semantic forecasting."""
    register(
        "cityscapes-video",
        "vpbench_cityscapes:protocols/cityscapes-video.toml",
        summary="Cityscapes, 512x1024, 4 -> 10 frames, val (SADM Tables 1 and 5)",
    )
    register(
        "cityscapes-semantic",
        "vpbench_cityscapes:protocols/cityscapes-semantic.toml",
        summary="Cityscapes labels 1, 3, 5 and 9 frames ahead, val (SADM Table 4)",
    )
    register(
        "cityscapes-semantic-stride3",
        "vpbench_cityscapes:protocols/cityscapes-semantic-stride3.toml",
        summary="Cityscapes labels from every third frame: short and mid term of S2S and F2MF, val",
    )
    register(
        "cityscapes-128-2to28",
        "vpbench_cityscapes:protocols/cityscapes-128-2to28.toml",
        summary="Cityscapes, 128x128, 2 -> 28 frames, all 1,525 snippets of test (STDiff, SyncVP)",
    )
    register(
        "cityscapes-128-2to28-mcvd",
        "vpbench_cityscapes:protocols/cityscapes-128-2to28-mcvd.toml",
        summary="Cityscapes, 128x128, 2 -> 28 frames, 256 snippets of test (MCVD, ExtDM)",
    )
