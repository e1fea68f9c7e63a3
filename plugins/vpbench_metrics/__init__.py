"""The canonical metrics: MSE, MAE, PSNR, SSIM, MS-SSIM, LPIPS and mIoU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the seven, all measured where a protocol names none."""
    register("mse", "vpbench_metrics.pixels:MSE", summary="mean squared error per value", default=True)
    register("mae", "vpbench_metrics.pixels:MAE", summary="mean absolute error per value", default=True)
    register("psnr", "vpbench_metrics.pixels:PSNR", summary="peak signal-to-noise ratio per frame, dB", default=True)
    register("ssim", "vpbench_metrics.structure:SSIM", summary="SSIM, Gaussian 11x11 window", default=True)
    register("ms-ssim", "vpbench_metrics.structure:MSSSIM", summary="MS-SSIM over 5 scales", default=True)
    register("lpips", "vpbench_metrics.perceptual:LPIPS", summary="LPIPS v0.1, AlexNet", default=True)
    register("miou", "vpbench_metrics.semantic:MIoU", summary="mean IoU of pooled class counts", default=True)
