"""BAIR robot pushing (Ebert et al. 2017): a robot arm pushes objects, and the usual protocol on it."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the reader of the official TFRecords."""
    register("bair", "vpbench_bair.dataset:BAIR", summary="BAIR robot pushing: 43,264 + 256 clips of 30 frames, 64x64")


@hookimpl
def register_protocols(register: Register) -> None:
    """Register the setting of SVG, SRVP and MCVD."""
    register(
        "bair-2to28",
        "vpbench_bair:protocols/bair-2to28.toml",
        summary="BAIR, 64x64, 2 -> 28 frames, the 256 test clips",
    )
