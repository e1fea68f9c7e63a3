"""Independent computations of every metric, in float64: other packages, and plain formulas. Nothing of vpbench."""

from __future__ import annotations

import importlib
import math
import os
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from golden.cases import SPACE, Case
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from scipy.signal import convolve2d
from skimage import metrics as skimage

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
OFFSETS = np.arange(-5, 6)
WINDOW = np.exp(-(OFFSETS[:, None] ** 2 + OFFSETS[None] ** 2) / (2 * 1.5**2))
WINDOW /= WINDOW.sum()
C1, C2 = 0.01**2, 0.03**2
Source = Callable[[Case], float]


def mean_of_frames(function: Callable[[np.ndarray, np.ndarray], float]) -> Source:
    """Return the mean over all frames of a function of a predicted and a true frame [3,H,W]."""
    return lambda case: float(np.mean([function(p, t) for p, t in case.frames()]))


def tensors(function: Callable[..., torch.Tensor], **options: object) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return a torch function of [1,3,H,W] as one of arrays [3,H,W]."""
    return lambda p, t: float(function(torch.from_numpy(p)[None], torch.from_numpy(t)[None], **options))


def summed(p: np.ndarray, t: np.ndarray, power: int) -> float:
    """Return the mean of |p-t|^power, the values taken one by one."""
    differences = [abs(a - b) ** power for a, b in zip(p.ravel().tolist(), t.ravel().tolist(), strict=True)]
    return math.fsum(differences) / len(differences)


def decibels(mse: float) -> float:
    return -10 * math.log10(max(mse, 1e-10))


def torchmetrics(name: str, **options: object) -> Callable[..., torch.Tensor]:
    """Return a function of torchmetrics, which is imported when it is called."""
    module, function = f"torchmetrics.functional.{name}".rsplit(".", 1)
    return lambda *args: getattr(importlib.import_module(module), function)(*args, **options)


def pooled_by_torchmetrics(case: Case) -> float:
    p, t = (torch.from_numpy(frames).double() for frames in (case.predicted, case.true))
    return float(torchmetrics("image.peak_signal_noise_ratio", data_range=1.0)(p, t))


def copy_index(case: Case, mse: Callable[[np.ndarray, np.ndarray], float]) -> float:
    last = case.last.astype(np.float64).repeat(case.true.shape[1], axis=0)
    return float(np.mean([math.sqrt(mse(p, x) / mse(p, t)) for (p, t), x in zip(case.frames(), last, strict=True)]))


def by_channel(function: Callable[[np.ndarray, np.ndarray], float]) -> Source:
    return mean_of_frames(lambda p, t: np.mean([function(*planes) for planes in zip(p, t, strict=True)]))


def ssim_by_scikit_image(x: np.ndarray, y: np.ndarray) -> float:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return skimage.structural_similarity(x, y, data_range=1.0, **options)


def ssim_window_by_window(
    x: np.ndarray, y: np.ndarray, window: np.ndarray, factor: float = 1.0, data_range: float = 1.0
) -> float:
    """Wang et al. 2004, equation 13, with deviations from each window's mean."""
    a, b = (sliding_window_view(m, window.shape) for m in (x, y))
    ma, mb = ((window * m).sum((2, 3), keepdims=True) for m in (a, b))
    va, vb, cov = (factor * (window * m).sum((2, 3)) for m in ((a - ma) ** 2, (b - mb) ** 2, (a - ma) * (b - mb)))
    c1, c2 = C1 * data_range**2, C2 * data_range**2
    ma, mb = ma[..., 0, 0], mb[..., 0, 0]
    return float(((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def uniform_by_scikit_image(p: np.ndarray, t: np.ndarray, data_range: float) -> float:
    return skimage.structural_similarity(p, t, channel_axis=0, data_range=data_range)


def bytes_by_scikit_image(p: np.ndarray, t: np.ndarray) -> float:
    return skimage.structural_similarity(*(np.uint8(np.float32(m) * np.float32(255)) for m in (p, t)), channel_axis=0)


def bytes_window_by_window(x: np.ndarray, y: np.ndarray) -> float:
    x, y = (np.floor(np.float32(m) * np.float32(255)).astype(np.float64) for m in (x, y))
    return ssim_window_by_window(x, y, np.full((7, 7), 1 / 49), 49 / 48, 255.0)


def blurred_by_scipy(plane: np.ndarray) -> np.ndarray:
    """Filter with the 2-D window at its valid positions; large planes down the columns, then along the rows."""
    if plane.size < 2**16:
        return convolve2d(plane, WINDOW, mode="valid")
    line = WINDOW.sum(axis=0)
    return ndimage.correlate1d(ndimage.correlate1d(plane, line, axis=0), line, axis=1)[5:-5, 5:-5]


def ms_ssim_by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    """tf.image.ssim_multiscale of one channel: symmetric padding of odd sides."""
    result = 1.0
    for scale, weight in enumerate(WEIGHTS):
        ma, mb, aa, bb, ab = (blurred_by_scipy(m) for m in (x, y, x * x, y * y, x * y))
        cs = (2 * (ab - ma * mb) + C2) / (aa - ma**2 + bb - mb**2 + C2)
        luminance = (2 * ma * mb + C1) / (ma**2 + mb**2 + C1)
        result *= max((luminance * cs if scale == 4 else cs).mean(), 0.0) ** weight
        x, y = (
            np.pad(m, [(0, s % 2) for s in m.shape], mode="symmetric")
            .reshape((m.shape[0] + 1) // 2, 2, (m.shape[1] + 1) // 2, 2)
            .mean((1, 3))
            for m in (x, y)
        )
    return float(result)


def ms_ssim_by_piqa(p: np.ndarray, t: np.ndarray) -> float:
    import piqa.ssim

    kernel = piqa.ssim.gaussian_kernel(11, 1.5).double()  # computed in float32
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    x, y = torch.from_numpy(p)[None], torch.from_numpy(t)[None]
    return float(piqa.ssim.ms_ssim(x, y, kernel, torch.tensor(WEIGHTS, dtype=torch.float64)))


def by_package(function: Callable[..., torch.Tensor]) -> Source:
    return mean_of_frames(lambda p, t: float(function(*(torch.from_numpy(m)[None] for m in (p, t)), data_range=1.0)))


def package_by_scipy(x: np.ndarray, y: np.ndarray, weights: tuple[float, ...] = (1.0,)) -> float:
    """pytorch-msssim of one channel: weights rounded to float32, and zeros beyond the border of odd sides."""
    weight_32 = torch.exp(-(torch.arange(-5.0, 6.0) ** 2) / (2 * 1.5**2))
    line = (weight_32 / weight_32.sum()).double().numpy()
    result = 1.0
    for scale, weight in enumerate(weights):
        blurred = [ndimage.correlate1d(m, line, axis=0) for m in (x, y, x * x, y * y, x * y)]
        ma, mb, aa, bb, ab = (ndimage.correlate1d(m, line, axis=1)[5:-5, 5:-5] for m in blurred)
        cs = (2 * (ab - ma * mb) + C2) / (aa - ma**2 + bb - mb**2 + C2)
        luminance = (2 * ma * mb + C1) / (ma**2 + mb**2 + C1)
        term = (luminance * cs if scale == len(weights) - 1 else cs).mean()
        result *= term if len(weights) == 1 else max(term, 0.0) ** weight
        padded = (np.pad(m, [(s % 2, s % 2) for s in m.shape]) for m in (x, y))
        x, y = (sliding_window_view(m, (2, 2))[::2, ::2].mean((2, 3)) for m in padded)
    return float(result)


def saved_as_picture(source: Source) -> Source:
    """Let the predictions go through a PNG file in memory."""

    def through(frame: np.ndarray) -> np.ndarray:
        _, file = cv2.imencode(".png", np.rint(frame.transpose(1, 2, 0) * 255).astype(np.uint8))
        return cv2.imdecode(file, cv2.IMREAD_COLOR).transpose(2, 0, 1) / 255

    return lambda case: source(Case(np.array([[through(f) for f in clip] for clip in case.predicted]), case.true))


NETWORKS = {"alex": "alexnet", "vgg": "vgg16"}
LAYERS = {
    "alex": {
        0: (4, 2, 0, True), 3: (1, 2, 3, True), 6: (1, 1, 3, True), 8: (1, 1, 0, True), 10: (1, 1, 0, True)
    },
    "vgg": {
        layer: (1, 1, 2 if layer in (5, 10, 17, 24) else 0, layer in (2, 7, 14, 21, 28))
        for layer in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    },
}  # fmt: skip
"""Stride, padding, size of the pooling before it, and whether its output is a feature, of each convolution."""


@cache
def backbone(net: str) -> dict[str, np.ndarray]:
    """Return the backbone that is found in VPBENCH_WEIGHTS and the linear layers of the package ``lpips``."""
    import lpips
    from safetensors.numpy import load_file

    file = Path(os.environ["VPBENCH_WEIGHTS"]) / f"lpips_{NETWORKS[net]}_features.safetensors"
    lins = torch.load(Path(lpips.__file__).parent / f"weights/v0.1/{net}.pth", map_location="cpu", weights_only=True)
    return load_file(file) | {f"lin{i}": lins[f"lin{i}.model.1.weight"].flatten().numpy() for i in range(5)}


@cache
def lpips_package(spatial: bool, net: str = "alex") -> torch.nn.Module:
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False, spatial=spatial).eval().double()
    tensors = backbone(net)
    state = {key: torch.from_numpy(tensors[f"features.{key.split('.', 1)[1]}"]) for key in network.net.state_dict()}
    network.net.load_state_dict(state)
    return network


def map_by_package(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return lpips_package(True)(*(torch.from_numpy(m)[None] for m in (p, t)), normalize=True)[0, 0].numpy()


def lpips_by_package(p: np.ndarray, t: np.ndarray, scaled: bool = True, net: str = "alex") -> float:
    with torch.no_grad():
        return float(lpips_package(False, net)(*(torch.from_numpy(m)[None] for m in (p, t)), normalize=scaled))


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    windows = sliding_window_view(np.pad(x, [(0, 0), (padding,) * 2, (padding,) * 2]), weight.shape[2:], axis=(1, 2))
    out = np.tensordot(weight.astype(np.float64), windows[:, ::stride, ::stride], axes=([1, 2, 3], [0, 3, 4]))
    return np.maximum(out + bias[:, None, None], 0.0)


def features(frame: np.ndarray, scaled: bool, net: str) -> Iterator[np.ndarray]:
    """Yield the features of a backbone, of unit length at each position."""
    tensors = backbone(net)
    x = 2 * frame - 1 if scaled else frame
    x = (x - np.array([-0.030, -0.088, -0.188])[:, None, None]) / np.array([0.458, 0.448, 0.450])[:, None, None]
    for layer, (stride, padding, pool, is_feature) in LAYERS[net].items():
        if pool:
            x = sliding_window_view(x, (pool, pool), axis=(1, 2))[:, ::2, ::2].max((3, 4))
        x = convolved(x, tensors[f"features.{layer}.weight"], tensors[f"features.{layer}.bias"], stride, padding)
        if is_feature:
            yield x / (np.sqrt((x**2).sum(0)) + 1e-10)


def lpips_maps(p: np.ndarray, t: np.ndarray, scaled: bool = True, net: str = "alex") -> list[np.ndarray]:
    """Zhang et al. 2018, equation 1, before the mean over positions."""
    layers = enumerate(zip(features(p, scaled, net), features(t, scaled, net), strict=True))
    return [np.tensordot(backbone(net)[f"lin{i}"].astype(np.float64), (a - b) ** 2, axes=1) for i, (a, b) in layers]


def lpips_by_numpy(p: np.ndarray, t: np.ndarray, scaled: bool = True, net: str = "alex") -> float:
    return float(sum(m.mean() for m in lpips_maps(p, t, scaled, net)))


def map_by_numpy(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    size = p.shape[:0:-1]
    return np.sum([cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in lpips_maps(p, t)], axis=0)


def iou_from_sets(case: Case, classes: list[int]) -> float:
    """Return the mean over classes that occur of |A and B| / |A or B|, where A and B are sets of labelled pixels."""
    pixels = list(np.ndindex(case.labels.shape))
    values = []
    for label in classes:
        true = {at for at in pixels if case.labels[at] == label}
        guess = {at for at in pixels if case.guess[at] == label and case.labels[at] != 255}
        if true | guess:
            values.append(len(true & guess) / len(true | guess))
    return math.fsum(values) / len(values)


def iou_by_torchmetrics(case: Case, classes: list[int]) -> float:
    counted = case.labels != 255
    guess, true = (torch.from_numpy(labels[counted]) for labels in (case.guess, case.labels))
    guess = torch.where(guess == 255, len(SPACE), guess)  # a class of its own: a miss
    options = {"task": "multiclass", "num_classes": len(SPACE) + 1, "average": "none"}
    score = torchmetrics("classification.jaccard_index", **options)(guess, true)
    present = [i for i in classes if i in guess or i in true]
    return float(score.double()[present].mean())


Near = Callable[[np.ndarray], np.ndarray]
"""From labels [H,W] to which pixels are counted."""


def near_by_loops(labels: np.ndarray) -> np.ndarray:
    """Return which pixels are 3 or less from one beside a pixel of another class, a pixel at a time."""
    height, width = labels.shape

    def at(y: int, x: int) -> bool:
        neighbours = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        labels_around = [labels[j, i] for j, i in neighbours if 0 <= j < height and 0 <= i < width]
        return any({255, labels[y, x]}.isdisjoint({label}) for label in labels_around) and labels[y, x] != 255

    edges = [(y, x) for y in range(height) for x in range(width) if at(y, x)]
    near = np.zeros(labels.shape, dtype=bool)
    for y, x in np.ndindex(*labels.shape):
        near[y, x] = labels[y, x] != 255 and any(max(abs(y - j), abs(x - i)) <= 3 for j, i in edges)
    return near


def near_by_scipy(labels: np.ndarray) -> np.ndarray:
    """Return which pixels are 3 or less, by the chessboard distance, from one where erosion changes a class."""
    cross = ndimage.generate_binary_structure(2, 1)
    void = labels == 255
    inner = [ndimage.binary_erosion((labels == c) | void, cross, border_value=1) for c in np.unique(labels[~void])]
    edges = ~void & ~np.logical_or.reduce(inner)
    distance = ndimage.distance_transform_cdt(~edges, "chessboard")
    return (distance <= 3) & ~void


def known_flows(case: Case, near: Near | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    flows = (flow.reshape(-1, *case.flow.shape[2:]) for flow in (case.predicted_flow, case.flow))
    for p, t, labels in zip(*flows, case.labels.reshape(-1, *case.labels.shape[2:]), strict=True):
        finite = np.isfinite(t).all(0)
        if near is not None:
            finite &= near(labels)
        yield p[:, finite].astype(np.float64), t[:, finite].astype(np.float64)


def epe_by_hypot(case: Case, near: Near | None = None) -> float:
    means = []
    for p, t in known_flows(case, near):
        lengths = [math.hypot(*d) for d in (p - t).T.tolist()]
        means.append(math.fsum(lengths) / len(lengths))
    return math.fsum(means) / len(means)


def epe_by_opencv(case: Case, near: Near | None = None) -> float:
    return float(np.mean([cv2.magnitude(*(p - t)).mean() for p, t in known_flows(case, near)]))


def share_of_sets(case: Case, name: str) -> float:
    guess, true = (
        {at for at in np.ndindex(m.shape) if m[at]} for m in (case.predicted_disocclusion, case.disocclusion)
    )
    return len(guess & true) / len(guess if name == "precision" else true)


def share_by_torchmetrics(case: Case, name: str) -> float:
    masks = (torch.from_numpy(m.astype(np.int64)).flatten() for m in (case.predicted_disocclusion, case.disocclusion))
    return float(torchmetrics(f"classification.{name}", task="binary")(*masks))


def regions_by_loops(case: Case, region: str) -> Iterator[np.ndarray]:
    """Yield each frame's mask, a pixel at a time."""
    clips, steps, _, height, width = case.true.shape
    for i in range(clips):
        visible = {(y, x) for y in range(height) for x in range(width)}
        for k in range(steps):
            mask = np.zeros((height, width), dtype=bool)
            now = set()
            for y, x in np.ndindex(height, width):
                dx, dy = case.flow[i, k, :, y, x].tolist()
                unknown = math.isnan(dx) or math.isnan(dy)
                if not unknown and not case.disocclusion[i, k, y, x] and (y + round(dy), x + round(dx)) in visible:
                    now.add((y, x))
                if case.camera_flow is None:
                    before = case.last[i] if k == 0 else case.true[i, k - 1]
                    moves = max(abs(case.true[i, k, :, y, x] - before[:, y, x])) > np.float32(0.05)
                    unknown = False
                else:
                    cx, cy = case.camera_flow[i, k, :, y, x].tolist()
                    moves = not unknown and math.hypot(dx - cx, dy - cy) > 1
                inside = {
                    "covisible": (y, x) in now,
                    "disoccluded": (y, x) not in now,
                    "moving": moves,
                    "static": not moves,
                }
                mask[y, x] = inside[region] and not unknown
            visible = now
            yield mask


def regions_by_scipy(case: Case, region: str) -> Iterator[np.ndarray]:
    """Yield each frame's mask from warped pictures of what was visible."""
    rows, columns = np.indices(case.true.shape[-2:])
    for i in range(len(case.true)):
        visible = np.ones(rows.shape)
        for k in range(case.true.shape[1]):
            finite = np.isfinite(case.flow[i, k]).all(0)
            if region in ("covisible", "disoccluded"):
                dx, dy = np.nan_to_num(case.flow[i, k], nan=1e6)
                at = np.rint(columns + dx), np.rint(rows + dy)
                warped = ndimage.map_coordinates(visible, at[::-1], order=0, mode="constant", cval=0)
                visible = warped * ~case.disocclusion[i, k]
                mask = visible == 1
            elif case.camera_flow is None:
                stack = np.concatenate([case.last[i][None], case.true[i]])
                mask, finite = (np.abs(stack[k + 1] - stack[k]) > np.float32(0.05)).any(0), True
            else:
                mask = np.linalg.norm(np.nan_to_num(case.flow[i, k]) - case.camera_flow[i, k], axis=0) > 1
            yield (mask if region in ("covisible", "moving") else ~mask) & finite


Error = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""A score of a predicted and a true frame, over the pixels of a mask."""


def in_region(case: Case, region: str, masks: Callable[[Case, str], Iterator[np.ndarray]], error: Error) -> float:
    pairs = zip(case.frames(), masks(case, region), strict=True)
    return float(np.mean([error(p, t, mask) for (p, t), mask in pairs if mask.any()]))


def by_class(case: Case, error: Error) -> float:
    labels = case.labels.reshape(-1, *case.labels.shape[2:])
    scores = []
    for label in range(len(SPACE)):
        pairs = zip(case.frames(), labels == label, strict=True)
        values = [error(p, t, mask) for (p, t), mask in pairs if mask.any()]
        scores += [np.mean(values)] if values else []
    return float(np.mean(scores))


def of_pixels(function: Callable[[np.ndarray, np.ndarray], float]) -> Error:
    return lambda p, t, mask: function(p[:, mask], t[:, mask])


def of_map(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Error:
    return lambda p, t, mask: float(ndimage.mean(function(p, t), mask, 1))
