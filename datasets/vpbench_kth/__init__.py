"""KTH (Schuldt et al. 2004): 25 persons, six actions, in grey, and the protocols of video prediction on it."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the reader of the official videos."""
    register("kth", "vpbench_kth.dataset:KTH", summary="KTH: 25 persons, six actions, 2,391 sequences, 160x120, grey")


@hookimpl
def register_protocols(register: Register) -> None:
    """Register three horizons at 64x64 and OpenSTL's at 128x128."""
    for name, size, horizon in (
        ("kth-10to20", "64x64", 20),
        ("kth-10to30", "64x64", 30),
        ("kth-10to40", "64x64", 40),
        ("kth-128-10to20", "128x128", 20),
    ):
        summary = f"KTH, {size}, 10 -> {horizon} frames, persons 17-25"
        register(name, f"vpbench_kth:protocols/{name}.toml", summary=summary)
