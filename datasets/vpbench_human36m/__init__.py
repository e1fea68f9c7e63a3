"""Human3.6M (Ionescu et al. 2014): people in a studio, seen by four cameras, with protocols of CDNet and OpenSTL."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the reader of the extracted images and the original videos."""
    register(
        "human36m",
        "vpbench_human36m.dataset:Human36M",
        summary="Human3.6M: extracted images or the original videos, about 1000x1000",
    )


@hookimpl
def register_protocols(register: Register) -> None:
    """Register the settings of CDNet's Tables 1, 2 and 4, of its Figure 8, and OpenSTL's."""
    register(
        "human36m",
        "vpbench_human36m:protocols/human36m.toml",
        summary="Human3.6M Walking, 128x128, 4 -> 4 frames at 5 Hz, S9 and S11 (CDNet Table 1)",
    )
    register(
        "human36m-4to8",
        "vpbench_human36m:protocols/human36m-4to8.toml",
        summary="the same, 4 -> 8 frames (CDNet Figure 8)",
    )
    register(
        "human36m-256-4to4",
        "vpbench_human36m:protocols/human36m-256-4to4.toml",
        summary="Human3.6M, 256x256, 4 -> 4 frames at 10 Hz (OpenSTL); leaks: all test videos are training videos",
    )
