"""Weights files, for plugin authors: found on disk or downloaded once, checked by hash, read without running code.

A file is looked for in each of :func:`vpbench.paths.weights_dirs` (``$VPBENCH_WEIGHTS``, then the cache), else
downloaded into the cache. Files published as ``NAME-<start of the sha256>.pth`` are held to their name.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import threading
import urllib.request
import warnings
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from vpbench.errors import DataError
from vpbench.files import why_no_file
from vpbench.output import brief, say
from vpbench.paths import cache_dir, weights_dirs

_PROBE_SECONDS = 2.0
_REPLACED = (
    "builtins.getattr",
    "torch.optim.lr_scheduler.OneCycleLR",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
"""Names that trainings leave next to their weights: of a learning rate's function, saved by torch before 2.4, and of
numpy's numbers."""


class _Placeholder:
    """Stand for an object that is no weight, and is not made."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class MissingWeightsError(DataError):
    """Weights are neither here nor available; the message names the file and where to put it."""


def find(*names: str) -> Path | None:
    """Return the first file of one of these names, folder by folder; None where there is none."""
    places = (folder / name for folder in weights_dirs() for name in names)
    return next((path for path in places if path.is_file()), None)


def obtain(url: str) -> Path:
    """Return the file that ``url`` names: a file here, else downloaded into the cache with a progress bar.

    A machine without internet learns so within ten seconds, once per process.

    Raises:
        MissingWeightsError: it is not here and cannot be downloaded.
        DataError: the file is not what its name says.
    """
    name = Path(url).name
    path = find(name)
    if path is None:
        if not reachable(url):
            raise _missing(url, "cannot be downloaded from here")
        try:
            path = download(url)
        except (OSError, RuntimeError) as error:  # no space, a connection that broke, a hash that does not match
            raise _missing(url, f"its download failed ({' '.join(str(error).split())})") from error
    check_name(path)
    return path


def _missing(url: str, reason: str) -> MissingWeightsError:
    return MissingWeightsError(
        f"the weights {Path(url).name} are not here, and {reason}: get {url} elsewhere and put it into "
        f"$VPBENCH_WEIGHTS or {cache_dir() / 'weights'}"
    )


@cache
def reachable(url: str) -> bool:
    """Return whether the host answers for ``url``. In a thread, as no timeout bounds the look-up of a host's name."""
    answers: list[int] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_PROBE_SECONDS) as answer:
                answers.append(answer.status)
        except (OSError, ValueError):  # every kind of "no": the caller reports that it is not available
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return bool(answers)


def download(url: str) -> Path:
    """Download ``url`` into the cache, where the file appears only when complete and as its name says.

    Raises:
        OSError: no connection, or no space. RuntimeError: the hash does not match.
    """
    into = cache_dir() / "weights" / Path(url).name
    say(f"downloading {into.name} (once) to {into.parent}", err=True)
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".download-") as folder:
        incomplete = Path(folder) / into.name
        torch.hub.download_url_to_file(url, str(incomplete), hash_prefix=_prefix(into), progress=True)
        incomplete.replace(into)
    return into


def check_name(path: Path) -> None:
    """Check the sha256 of ``NAME-<its first characters>.pth``; a name without them promises nothing.

    Raises:
        DataError: the file is not what its name says.
    """
    prefix = _prefix(path)
    if prefix and not sha256(path).startswith(prefix):
        raise DataError(f"{path}: its sha256 does not begin with {prefix}, as its name says; get it again")


def _prefix(path: Path) -> str | None:
    match = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    return match and match[1]


def sha256(path: Path) -> str:
    """Return the sha256 of a file, computed once per process as long as it does not change."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular(path: Path) -> None:
    """Check that a path leads to a file: neither a folder, nor a pipe or device, which may never end.

    Raises:
        DataError: it does not.
    """
    if reason := why_no_file(path):
        raise DataError(f"{path}: {reason}")


def read(path: Path) -> dict[str, Tensor]:
    """Return a state dict from ``.safetensors``, or from a pickle of tensors alone, on the CPU.

    Raises:
        DataError: the file cannot be read, or holds anything else.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    content = unpickle(path)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DataError(f"{path}: holds more than tensors: `vpbench weights convert {path}` takes them out")
    return dict(content)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        DataError: the file cannot be read.
    """
    check_regular(path)
    try:
        return load_file(path)
    except Exception as error:  # a header may ask torch for what it cannot make
        raise DataError(
            f"{path}: is not a safetensors file that can be read ({brief(str(error))}); replace it"
        ) from error


def unpickle(path: Path) -> Any:
    """Return what ``torch.save`` saved, of tensors and plain values, on the CPU. Nothing in the file is run.

    A placeholder stands for numbers of numpy and for the function of a learning rate.

    Raises:
        DataError: it cannot be read, or asks for anything else; names that.
    """
    check_regular(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickle protocols: they load, or fail below
            _check_archive(path)
            with safe_globals([(_Placeholder, name) for name in _REPLACED]):
                return torch.load(path, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a broken archive or pickle may raise anything
        if match := re.search(r"GLOBAL (\S+)", str(error)):
            raise DataError(
                f"{path}: asks for {brief(match[1])} when loaded, which is not weights; nothing of it was run. If you "
                f"trust it, load it in its own program and torch.save(model.state_dict(), FILE)"
            ) from error
        reason = type(error).__name__
        raise DataError(f"{path}: is not a file of torch.save that loads ({reason}); get it again") from error


def _check_archive(path: Path) -> None:
    """Check that an archive is what ``torch.save`` writes: without compression, so that it cannot grow when it is read.

    Raises:
        DataError: it is compressed, or TorchScript.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise DataError(f"{path}: is a compressed archive, which torch.save does not write; get it again")
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise DataError(
            f"{path}: is TorchScript, which holds code and was not loaded. If you trust it, "
            f"torch.save(torch.jit.load(FILE).state_dict(), NEW) in a program of your own"
        )


def kind(tensor: Tensor) -> Literal["floating-point", "complex", "integer", "quantised"]:
    """Return what a tensor's numbers are. Those of eight bits and fewer need scales that are kept elsewhere."""
    dtype = tensor.dtype
    if tensor.is_quantized or (dtype.itemsize == 1 and dtype not in (torch.bool, torch.uint8)):
        return "quantised"
    return "floating-point" if dtype.is_floating_point else "complex" if dtype.is_complex else "integer"


def difference(expected: Tensor, tensor: Tensor) -> str:
    """Return why a tensor cannot stand where a network expects another, such as ``is [4], not [3]``; "" if it can."""
    if tensor.shape != expected.shape:
        return f"is {list(tensor.shape)}, not {list(expected.shape)}"
    if kind(tensor) != kind(expected):
        return f"is {tensor.dtype}, not {expected.dtype}".replace("torch.", "")
    return ""


def load_network(network: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> torch.nn.Module:
    """Give a network built on the device ``meta`` its tensors as float32, and return it ready for inference.

    Raises:
        DataError: a tensor is missing, has another shape, or is one too many; names it and the file.
    """
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise DataError(f"{path}: has no tensor {name!r}: it is of another network")
        if reason := difference(tensor, tensors[name]):
            raise DataError(f"{path}: {name!r} {reason}: it is of another network")
    if extra := sorted(set(tensors) - set(expected)):
        raise DataError(f"{path}: has a tensor '{brief(extra[0])}' too many: it is of another network")
    cast = {name: tensors[name].to(expected[name].dtype) for name in expected}
    network.load_state_dict(cast, assign=True)
    return network.eval().requires_grad_(False)
