"""LPIPS's backbone: the five convolutions of torchvision's ImageNet AlexNet, found on disk or downloaded once.

Searched, in this order, in each of :func:`vpbench.paths.weights_dirs` (``$VPBENCH_WEIGHTS``, then the cache):

- ``lpips_alexnet_features.safetensors``: ten tensors with torchvision's names, ``features.0.weight`` and so on;
- ``alexnet-owt-7be5be79.pth``: torchvision's own file, of which only these ten tensors are used.

Else torchvision's file (233 MB) is downloaded and its convolutions are kept in the cache as the former.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import AlexNet_Weights

from vpbench.errors import MetricError
from vpbench.paths import cache_dir, weights_dirs
from vpbench.toolkit.weights import reachable

__all__ = ["FILE", "SHAPES", "TORCHVISION_FILE", "find_or_download"]

FILE = "lpips_alexnet_features.safetensors"
TORCHVISION_FILE = Path(AlexNet_Weights.IMAGENET1K_V1.url).name
SHAPES: Mapping[str, tuple[int, ...]] = {
    f"features.{layer}.{name}": (weight if name == "weight" else weight[:1])
    for layer, weight in {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }.items()
    for name in ("weight", "bias")
}
"""The ten tensors, by torchvision's names."""


def find_or_download() -> tuple[Path, dict[str, Tensor]] | str:
    """Return the file that the backbone is read from, and its tensors (float32); or why it cannot be had, in one line.

    A machine without internet learns so within ten seconds, once per process.

    Raises:
        MetricError: a file is there but is not the backbone; names it.
    """
    for folder in weights_dirs():
        for name, read in ((FILE, _read_safetensors), (TORCHVISION_FILE, _read_torchvision)):
            if (path := folder / name).is_file():
                return path, _checked(read(path), path)
    into = cache_dir() / "weights" / FILE
    if not reachable(AlexNet_Weights.IMAGENET1K_V1.url):
        return _absent("cannot be downloaded")
    try:
        return into, _download(into)
    except (OSError, RuntimeError) as error:  # no space, a connection that broke, a hash that does not match
        return _absent(f"its download failed ({' '.join(str(error).split())})")


def _absent(why: str) -> str:
    return (
        f"the LPIPS backbone is not here and {why}: put {FILE} (or torchvision's {TORCHVISION_FILE}) into "
        f"$VPBENCH_WEIGHTS or {cache_dir() / 'weights'}"
    )


def _checked(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    for key, shape in SHAPES.items():
        if key not in tensors:
            raise MetricError(f"{path}: has no tensor {key!r}, so it is not LPIPS's AlexNet; replace or remove it")
        if tuple(tensors[key].shape) != shape:
            raise MetricError(
                f"{path}: {key!r} is {list(tensors[key].shape)}, not {list(shape)}, so it is not LPIPS's AlexNet; "
                f"replace or remove it"
            )
    return {key: tensors[key].float().contiguous() for key in SHAPES}


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise MetricError(f"{path}: cannot be read ({error}); replace or remove it") from error


def _read_torchvision(path: Path) -> Mapping[str, Tensor]:
    content = path.read_bytes()
    prefix = path.stem.rsplit("-", 1)[1]
    if not hashlib.sha256(content).hexdigest().startswith(prefix):
        raise MetricError(f"{path}: its sha256 does not begin with {prefix}, as its name says; get it again")
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    assert isinstance(tensors, Mapping)  # the hash says what it is
    return tensors


def _download(into: Path) -> dict[str, Tensor]:
    """Download torchvision's AlexNet and keep its convolutions at ``into`` (renamed there when complete)."""
    print(f"lpips: downloading torchvision's AlexNet (233 MB, once); its convolutions go to {into}", file=sys.stderr)
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".download-") as folder:
        everything = AlexNet_Weights.IMAGENET1K_V1.get_state_dict(
            model_dir=folder, progress=True, check_hash=True, weights_only=True, map_location="cpu"
        )
        tensors = _checked(everything, into)
        part = Path(folder) / FILE
        save_file(tensors, part)
        part.replace(into)
    return tensors
