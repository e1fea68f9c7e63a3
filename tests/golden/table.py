"""Each metric's file, tolerance, cases, and two or more sources."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytorch_msssim
from golden.cases import MULTISCALE, PERCEPTUAL, SMALL, SPACE, WITHOUT_CAMERA, WORLD, Case
from golden.sources import (
    WEIGHTS,
    WINDOW,
    Error,
    Source,
    by_channel,
    by_class,
    by_package,
    bytes_by_scikit_image,
    bytes_window_by_window,
    copy_index,
    decibels,
    epe_by_hypot,
    epe_by_opencv,
    in_region,
    iou_by_torchmetrics,
    iou_from_sets,
    lpips_by_numpy,
    lpips_by_package,
    map_by_numpy,
    map_by_package,
    mean_of_frames,
    ms_ssim_by_piqa,
    ms_ssim_by_scipy,
    near_by_loops,
    near_by_scipy,
    of_map,
    of_pixels,
    package_by_scipy,
    pooled_by_torchmetrics,
    regions_by_loops,
    regions_by_scipy,
    saved_as_picture,
    share_by_torchmetrics,
    share_of_sets,
    ssim_by_scikit_image,
    ssim_window_by_window,
    summed,
    tensors,
    torchmetrics,
    uniform_by_scikit_image,
)
from scipy import ndimage
from skimage import metrics as skimage

ERRORS: dict[str, dict[str, Error]] = {
    "mse": {
        "scikit-image": of_pixels(skimage.mean_squared_error),
        "scipy.ndimage": of_map(lambda p, t: ((p - t) ** 2).mean(0)),
    },
    "mae": {
        "math.fsum": of_pixels(partial(summed, power=1)),
        "scipy.ndimage": of_map(lambda p, t: np.abs(p - t).mean(0)),
    },
    "psnr": {
        "scikit-image": of_pixels(lambda p, t: min(skimage.peak_signal_noise_ratio(t, p, data_range=1.0), 100.0)),
        "scipy.ndimage": lambda p, t, mask: decibels(ndimage.mean(((p - t) ** 2).mean(0), mask, 1)),
    },
    "lpips": {"lpips": of_map(map_by_package), "numpy": of_map(map_by_numpy)},
}
MOVING = [i for i, name in enumerate(SPACE.names) if name in ("person", "car", "bus")]
CLASSES = list(range(len(SPACE)))
UNIFORM = np.full((7, 7), 1 / 49)
uniform = partial(ssim_window_by_window, window=UNIFORM, factor=49 / 48)

METRICS: dict[str, tuple[str, float, dict[str, Case], dict[str, Source]]] = {
    "mse": (
        "pixels",
        1e-7,
        SMALL | WORLD,
        {
            "scikit-image": mean_of_frames(skimage.mean_squared_error),
            "torchmetrics": mean_of_frames(tensors(torchmetrics("regression.mean_squared_error"))),
            "math.fsum": mean_of_frames(partial(summed, power=2)),
        },
    ),
    "mae": (
        "pixels",
        1e-7,
        SMALL | WORLD,
        {
            "torchmetrics": mean_of_frames(tensors(torchmetrics("regression.mean_absolute_error"))),
            "math.fsum": mean_of_frames(partial(summed, power=1)),
        },
    ),
    "psnr": (
        "pixels",
        1e-5,
        SMALL | WORLD,
        {
            "scikit-image": mean_of_frames(lambda p, t: skimage.peak_signal_noise_ratio(t, p, data_range=1.0)),
            "torchmetrics": mean_of_frames(tensors(torchmetrics("image.peak_signal_noise_ratio", data_range=1.0))),
            "math.fsum": mean_of_frames(lambda p, t: decibels(summed(p, t, 2))),
        },
    ),
    "psnr@pooled": (
        "pixels",
        1e-5,
        WORLD,
        {
            "torchmetrics": pooled_by_torchmetrics,
            "math.fsum": lambda case: decibels(mean_of_frames(partial(summed, power=2))(case)),
        },
    ),
    "copy-index": (
        "pixels",
        1e-6,
        WORLD,
        {
            "scikit-image": partial(copy_index, mse=skimage.mean_squared_error),
            "math.fsum": partial(copy_index, mse=partial(summed, power=2)),
        },
    ),
    "ssim": (
        "structure",
        3e-6,
        SMALL,
        {
            "scikit-image": by_channel(ssim_by_scikit_image),
            "numpy, window by window": by_channel(partial(ssim_window_by_window, window=WINDOW)),
        },
    ),
    **{
        f"ssim@{name}": (
            "structure",
            3e-6,
            SMALL,
            {
                "scikit-image": mean_of_frames(partial(uniform_by_scikit_image, data_range=data_range)),
                "numpy, window by window": by_channel(partial(uniform, data_range=data_range)),
            },
        )
        for name, data_range in (("uniform7", 1.0), ("openstl", 2.0))
    },
    "ssim@uint8": (
        "structure",
        3e-6,
        SMALL,
        {
            "scikit-image": mean_of_frames(bytes_by_scikit_image),
            "numpy, window by window": by_channel(bytes_window_by_window),
        },
    ),
    "ms-ssim": (
        "structure",
        3e-6,
        MULTISCALE,
        {"scipy": by_channel(ms_ssim_by_scipy), "piqa": mean_of_frames(ms_ssim_by_piqa)},
    ),
    "ms-ssim@fvs": (
        "structure",
        3e-6,
        MULTISCALE,
        {
            "scipy": saved_as_picture(by_channel(ms_ssim_by_scipy)),
            "piqa": saved_as_picture(mean_of_frames(ms_ssim_by_piqa)),
        },
    ),
    "ssim@pytorch-msssim": (
        "structure",
        1e-9,
        SMALL,
        {"pytorch-msssim": by_package(pytorch_msssim.ssim), "scipy": by_channel(package_by_scipy)},
    ),
    "ms-ssim@pytorch-msssim": (
        "structure",
        1e-9,
        MULTISCALE,
        {
            "pytorch-msssim": by_package(pytorch_msssim.ms_ssim),
            "scipy": by_channel(partial(package_by_scipy, weights=WEIGHTS)),
        },
    ),
    "lpips": (
        "perceptual",
        1e-6,
        PERCEPTUAL,
        {"lpips": mean_of_frames(lpips_by_package), "numpy": mean_of_frames(lpips_by_numpy)},
    ),
    "lpips@vgg": (
        "perceptual",
        1e-6,
        PERCEPTUAL,
        {
            "lpips": mean_of_frames(partial(lpips_by_package, net="vgg")),
            "numpy": mean_of_frames(partial(lpips_by_numpy, net="vgg")),
        },
    ),
    "lpips@predrnn": (
        "perceptual",
        1e-6,
        PERCEPTUAL,
        {
            "lpips": mean_of_frames(partial(lpips_by_package, scaled=False)),
            "numpy": mean_of_frames(partial(lpips_by_numpy, scaled=False)),
        },
    ),
    **{
        name: (
            "labels",
            1e-6,
            WORLD,
            {
                "torchmetrics": partial(iou_by_torchmetrics, classes=classes),
                "sets of pixels": partial(iou_from_sets, classes=classes),
            },
        )
        for name, classes in (("miou", CLASSES), ("miou@moving", MOVING))
    },
    "epe": ("motion", 1e-9, WORLD, {"math.hypot": epe_by_hypot, "OpenCV": epe_by_opencv}),
    "epe/boundary": (
        "motion",
        1e-9,
        WORLD,
        {
            "math.hypot, distances by loops": partial(epe_by_hypot, near=near_by_loops),
            "OpenCV, distances by scipy": partial(epe_by_opencv, near=near_by_scipy),
        },
    ),
    **{
        f"disocclusion-{name}": (
            "motion",
            1e-6,
            WORLD,
            {
                "torchmetrics": partial(share_by_torchmetrics, name=name),
                "sets of pixels": partial(share_of_sets, name=name),
            },
        )
        for name in ("precision", "recall")
    },
    **{
        f"{metric}/{region}": (
            "regions",
            1e-5 if metric == "psnr" else 1e-7,
            WORLD | (WITHOUT_CAMERA if region in ("moving", "static") else {}),
            {
                f"{name}, masks by {method}": partial(in_region, region=region, masks=masks, error=error)
                for (name, error), (method, masks) in zip(
                    errors.items(), (("loops", regions_by_loops), ("scipy", regions_by_scipy)), strict=True
                )
            },
        )
        for metric, errors in ERRORS.items()
        for region in ("disoccluded", "covisible", "moving", "static")
    },
    **{
        f"{metric}/classes": (
            "regions",
            1e-5 if metric == "psnr" else 1e-7,
            WORLD,
            {name: partial(by_class, error=error) for name, error in errors.items()},
        )
        for metric, errors in ERRORS.items()
    },
}
