"""Moving MNIST (Srivastava et al. 2015): two digits that bounce off the edges, and a variant without a download."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the fixed test clips of Moving MNIST, and the same motion of smaller digits."""
    register(
        "moving-mnist",
        "vpbench_moving_mnist.mnist:MovingMNIST",
        summary="Moving MNIST: 10,000 fixed test clips of two digits, 64x64, grey",
    )
    register(
        "moving-digits",
        "vpbench_moving_mnist.digits:MovingDigits",
        summary="two moving digits of 8x8 pixels, enlarged: needs no download",
    )


@hookimpl
def register_protocols(register: Register) -> None:
    """Register the usual setting, and the same for the variant."""
    register(
        "moving-mnist-10to10",
        "vpbench_moving_mnist:protocols/moving-mnist-10to10.toml",
        summary="Moving MNIST, 64x64, 10 -> 10 frames, the 10,000 fixed test clips",
    )
    register(
        "moving-digits-10to10",
        "vpbench_moving_mnist:protocols/moving-digits-10to10.toml",
        summary="moving digits, 64x64, 10 -> 10 frames, 256 test clips: needs no download",
    )
