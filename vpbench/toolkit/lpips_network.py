"""The network of LPIPS v0.1: the package's linear layers on torchvision's ImageNet AlexNet, on disk or downloaded once.

For AlexNet's five convolutions, each of :func:`vpbench.paths.weights_dirs` (``$VPBENCH_WEIGHTS``, then the cache) is
searched, in this order, for:

- ``lpips_alexnet_features.safetensors``: ten tensors with torchvision's names, ``features.0.weight`` and so on;
- ``alexnet-owt-7be5be79.pth``: torchvision's file, from which only these ten tensors are read.

Otherwise torchvision's file (233 MB) is downloaded, and its convolutions are saved in the cache under the first name.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import lpips
import torch
from safetensors.torch import save
from torch import Tensor
from torchvision.models import AlexNet_Weights

from vpbench.errors import DataError
from vpbench.files import write_atomic
from vpbench.paths import cache_dir
from vpbench.toolkit.weights import MissingWeightsError, check_name, download, find, reachable, read

_URL = AlexNet_Weights.IMAGENET1K_V1.url
_CONVOLUTIONS = "lpips_alexnet_features.safetensors"
_RAMPS = 0.51094
"""LPIPS of two ramps, with the backbone that gives the published example (0.722, 0.138)."""
_LAYERS = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
_SHAPES: Mapping[str, tuple[int, ...]] = {
    f"features.{layer}.{name}": shape if name == "weight" else shape[:1]
    for layer, shape in _LAYERS.items()
    for name in ("weight", "bias")
}


def lpips_network() -> lpips.LPIPS:
    """Return the network, ready for inference; it takes frames [N,3,H,W], scaled to [-1,1] with ``normalize=True``.

    Raises:
        MissingWeightsError: AlexNet's file is not here, and it cannot be downloaded.
        DataError: the file is not the ImageNet AlexNet.
    """
    path, convolutions = _convolutions()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # the package draws random weights first
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False).eval().requires_grad_(False)
    # "slice2.3.weight" is torchvision's "features.3.weight".
    names = {name: "features." + name.split(".", 1)[1] for name in network.net.state_dict()}
    network.net.load_state_dict({name: convolutions[source] for name, source in names.items()})
    ramp = torch.linspace(0.0, 1.0, 64).expand(1, 3, 64, 64)
    distance = float(network(ramp, ramp.mT, normalize=True))
    if not math.isclose(distance, _RAMPS, rel_tol=1e-3):
        raise DataError(
            f"{path}: LPIPS of a known pair is {distance:.4f} with it, not {_RAMPS:.4f}, so it is not the ImageNet "
            f"AlexNet; replace or remove it"
        )
    return network


def _convolutions() -> tuple[Path, dict[str, Tensor]]:
    path = find(_CONVOLUTIONS, Path(_URL).name)
    if path is None:
        return _download()
    check_name(path)
    return path, _checked(read(path), path)


def _checked(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    for name, shape in _SHAPES.items():
        if name not in tensors:
            raise DataError(f"{path}: has no tensor {name!r}, so it is not LPIPS's AlexNet; replace or remove it")
        if tuple(tensors[name].shape) != shape:
            raise DataError(
                f"{path}: {name!r} is {list(tensors[name].shape)}, not {list(shape)}, so it is not LPIPS's AlexNet; "
                f"replace or remove it"
            )
    return {name: tensors[name].float().contiguous() for name in _SHAPES}


def _download() -> tuple[Path, dict[str, Tensor]]:
    """Download torchvision's file into the cache and keep its convolutions only."""
    if not reachable(_URL):
        raise _missing("cannot be downloaded")
    try:
        checkpoint = download(_URL)
        path, tensors = checkpoint.with_name(_CONVOLUTIONS), _checked(read(checkpoint), checkpoint)
        write_atomic(path, save(tensors))
        checkpoint.unlink()
    except (OSError, RuntimeError) as error:  # no space, a broken connection, a wrong hash
        raise _missing(f"its download failed ({' '.join(str(error).split())})") from error
    return path, tensors


def _missing(reason: str) -> MissingWeightsError:
    return MissingWeightsError(
        f"the LPIPS backbone is not here and {reason}: put {_CONVOLUTIONS} (or torchvision's {Path(_URL).name}) into "
        f"$VPBENCH_WEIGHTS or {cache_dir() / 'weights'}"
    )
