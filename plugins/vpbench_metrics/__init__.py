"""The canonical seven metrics, other repositories' conventions, and metrics of sets, samples, motion and regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_networks(register: Register) -> None:
    """Register the network of FVD; those of LPIPS go by the names of their metrics."""
    register("i3d", "vpbench_metrics.i3d_weights:I3D_NETWORK", summary="I3D, Kinetics-400: the network of FVD (47 MB)")


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the seven that are measured where a protocol names none, then those that one asks for."""
    register("mse", "vpbench_metrics.pixels:MSE", summary="mean squared error per value", default=True)
    register("mae", "vpbench_metrics.pixels:MAE", summary="mean absolute error per value", default=True)
    register("psnr", "vpbench_metrics.pixels:PSNR", summary="peak signal-to-noise ratio per frame, dB", default=True)
    register("ssim", "vpbench_metrics.structure:SSIM", summary="SSIM, Gaussian 11x11 window", default=True)
    register("ms-ssim", "vpbench_metrics.structure:MSSSIM", summary="MS-SSIM over 5 scales", default=True)
    register("lpips", "vpbench_metrics.perceptual:LPIPS", summary="LPIPS v0.1, AlexNet", default=True)
    register("miou", "vpbench_metrics.semantic:MIoU", summary="mean IoU of pooled class counts", default=True)

    register("psnr@pooled", "vpbench_metrics.pixels:PooledPSNR", summary="PSNR of the mean MSE (torchmetrics)")
    register("ssim@uniform7", "vpbench_metrics.structure:UniformSSIM", summary="SSIM, uniform 7x7 (scikit-image)")
    register("ssim@openstl", "vpbench_metrics.structure:OpenSTLSSIM", summary="SSIM, uniform 7x7, data range 2")
    register("ssim@uint8", "vpbench_metrics.structure:Uint8SSIM", summary="SSIM, uniform 7x7 on 8 bits (PredRNN)")
    register("ms-ssim@fvs", "vpbench_metrics.structure:MSSSIMofPNG", summary="MS-SSIM of 8-bit predictions")
    register("ssim@pytorch-msssim", "vpbench_metrics.structure:PytorchSSIM", summary="SSIM of pytorch-msssim (DMVFN)")
    register(
        "ms-ssim@pytorch-msssim",
        "vpbench_metrics.structure:PytorchMSSSIM",
        summary="MS-SSIM of pytorch-msssim (DMVFN)",
    )
    register("lpips@vgg", "vpbench_metrics.perceptual:VGGLPIPS", summary="LPIPS v0.1, VGG-16")
    register("lpips@predrnn", "vpbench_metrics.perceptual:PredRNNLPIPS", summary="LPIPS fed [0,1] unscaled")

    register("fvd", "vpbench_metrics.fvd:FVD", summary="Frechet video distance of the future frames")
    register("fvd@context", "vpbench_metrics.fvd:ContextFVD", summary="FVD of context and future frames (MCVD)")
    register("fvd@first16", "vpbench_metrics.fvd:First16FVD", summary="FVD of the first 16 future frames")
    register("kvd", "vpbench_metrics.fvd:KVD", summary="kernel video distance of the future frames, unbiased")

    register("crps", "vpbench_metrics.probabilistic:CRPS", summary="CRPS of all samples per value, fair estimator")
    register("energy", "vpbench_metrics.probabilistic:EnergyScore", summary="energy score of all samples, whole frames")
    register("truth-rank", "vpbench_metrics.probabilistic:TruthRank", summary="rank histogram of the truth")
    register("diversity-mse", "vpbench_metrics.diversity:DiversityMSE", summary="MSE between samples")
    register("diversity-lpips", "vpbench_metrics.diversity:DiversityLPIPS", summary="LPIPS between samples")

    register("miou@moving", "vpbench_metrics.semantic:MovingMIoU", summary="mIoU over the eight moving classes")
    register("epe", "vpbench_metrics.motion:EndPointError", summary="flow end-point error, pixels")
    register("epe/boundary", "vpbench_metrics.motion:BoundaryEndPointError", summary="epe near class boundaries")
    for name in ("precision", "recall"):
        target = f"vpbench_metrics.motion:Disocclusion{name.capitalize()}"
        register(f"disocclusion-{name}", target, summary=f"{name} of predicted dis-occlusion, pooled")
    register("copy-index", "vpbench_metrics.motion:CopyIndex", summary="distance to the last frame over that to truth")
    for metric in ("mse", "mae", "psnr", "lpips"):
        for region in ("disoccluded", "covisible", "moving", "static"):
            target = f"vpbench_metrics.regional:{metric.upper()}{region.capitalize()}"
            register(f"{metric}/{region}", target, summary=f"{metric} over {region} pixels")
        target = f"vpbench_metrics.regional:{metric.upper()}ByClass"
        register(f"{metric}/classes", target, summary=f"{metric} of each true semantic class")
