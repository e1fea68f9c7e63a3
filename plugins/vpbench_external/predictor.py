"""Predictions of a worker: a process in any environment that answers batches on standard output."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vpbench.errors import PluginError, PredictorError
from vpbench.plugin.clip import Context, Prediction, arrays_of
from vpbench.toolkit.folders import hash_files, is_hidden
from vpbench_external.messages import (
    HEADER_LIMIT,
    NPY_LIMIT,
    Hello,
    MessageError,
    check_shape,
    message,
    parse_array,
    parse_header,
    parse_hello,
)
from vpbench_external.worker import Worker

_SCRIPT = re.compile(r"[^-].*\.(py|sh|jl|lua|js)")
"""A word that names a program's file, whether or not it exists."""
_CLASSES = 256
"""The most classes of semantic scores."""
_KINDS = {"frames": "f", "semantics": "iuf", "flow": "f", "disocclusion": "b"}
_DTYPES = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float32}


class WorkerError(Exception):
    """The worker reports an error of its own; the message is its last line."""


class External:
    """Asks a worker for each batch: a program that reads contexts from standard input and writes predictions.

    ``docs/external.md`` states the protocol and has a worker of twenty lines. The worker's first message says what it
    predicts, from which modalities. It is started here, and again after it failed; it ends with this object.

    The identity of a result covers the command and the contents of the worker's files: every word of the command that
    is the path of a file, and the option ``files``. Other files that decide its predictions belong into that option.

    Raises:
        PredictorError: The command names no file, a file is missing, or the worker does not start as it should.
    """

    class Options(BaseModel):
        """The worker. Its files' contents are part of a result's identity; paths, name and time limit are not."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        command: str = Field(exclude=True, min_length=1, description="the command that starts the worker")
        files: tuple[Path, ...] = Field(
            default=(), exclude=True, description="further files and folders that decide its predictions"
        )
        timeout: float = Field(
            default=600.0,
            gt=0,
            allow_inf_nan=False,
            exclude=True,
            description="seconds that the worker may take to start, or for a batch",
        )
        name: str = Field(default="", exclude=True, description="name of the result (default: the worker's)")

    argument = "command"

    def __init__(self, options: Options) -> None:
        self.options = options
        self._words = _split(options.command)
        self._files = _named_files(options.files)
        if not self._files and not any(_file(word, i) for i, word in enumerate(self._words)):
            if scripts := [word for word in self._words if _SCRIPT.fullmatch(word)]:
                raise PredictorError(f"external: there is no file {scripts[0]}, which the command names")
            raise PredictorError(
                f"external: the command {options.command!r} names no file, so a change of the worker would go "
                f"unnoticed: name the worker's files with the option files"
            )
        self._worker: Worker | None = None
        try:
            self._hello = self._start()
            self.info = self._hello.info()
        except PredictorError as error:
            raise PredictorError(f"external:{shlex.quote(options.command)}: {error}") from error
        except PluginError as error:
            text = f"external:{shlex.quote(options.command)}: its worker describes itself wrongly: {error}"
            raise PredictorError(text) from error

    def __reduce__(self) -> tuple[type[External], tuple[Options]]:
        """Let a copy start a worker of its own."""
        return External, (self.options,)

    def fingerprint(self) -> str:
        """Return a sha256 of the words of the command and of the contents of the worker's files."""
        words = [_content(path) if (path := _file(word, i)) else word for i, word in enumerate(self._words)]
        words[0] = words[0] if _file(self._words[0], 0) else Path(self._words[0]).name
        files = sorted((name, _content(path)) for name, path in self._files)
        return hashlib.sha256(json.dumps([words, files]).encode()).hexdigest()

    def result_name(self) -> str:
        """Return the name of results: the option's, the worker's, or that of the command's first file."""
        paths = [path for i, word in enumerate(self._words) if (path := _file(word, i))]
        return self.options.name or self._hello.name or (paths[0].stem if paths else "")

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Send a batch to the worker and read its answer.

        Raises:
            PredictorError: The worker ends, takes too long, or breaks the protocol; names the end of its standard
                error. WorkerError: The worker reports an error.
        """
        if self._worker is None or not self._worker.runs:
            self._start()
        assert self._worker is not None
        header = {
            "clips": list(context.clips),
            "horizon": horizon,
            "seeds": [generator.initial_seed() for generator in generators],
            "sample": context.sample,
            "labels": list(context.label_space.names) if context.label_space else [],
        }
        deadline = time.monotonic() + self.options.timeout
        self._worker.send(message(header, _arrays(context)), deadline)
        try:
            arrays = self._answer(self._worker, context, horizon, deadline)
        except MessageError as error:
            raise self._worker.failure(str(error)) from error
        tensors = {name: torch.from_numpy(array).to(context.frames.device) for name, array in arrays.items()}
        return Prediction(label_space=context.label_space, **tensors)

    def _start(self) -> Hello:
        """Start the worker and return its first header, which must be that of its first start."""
        self._worker = worker = Worker(self._words)
        deadline = time.monotonic() + self.options.timeout
        try:
            hello = parse_hello(worker.receive(HEADER_LIMIT, "its first header", deadline))
            if getattr(self, "_hello", hello) != hello:
                raise MessageError("describes itself differently after a restart")
        except MessageError as error:
            raise worker.failure(str(error)) from error
        return hello

    def _answer(self, worker: Worker, context: Context, horizon: int, deadline: float) -> dict[str, NDArray[Any]]:
        """Read the arrays of a prediction.

        Raises:
            MessageError: they break the protocol. WorkerError: the worker reports an error instead.
        """
        header = parse_header(worker.receive(HEADER_LIMIT, "a header", deadline))
        if "error" in header:
            text = str(header["error"]).strip() or "no reason given"
            error = WorkerError(text.splitlines()[-1])
            error.add_note(text)
            raise error
        names = header.get("arrays")
        if not isinstance(names, list) or not all(name in self.info.outputs for name in names):
            raise MessageError(f"answers with arrays {names!r}; its outputs are {', '.join(self.info.outputs)}")
        if len(set(names)) < len(names):
            raise MessageError(f"answers with one array twice: {', '.join(names)}")
        shapes = _shapes(context, horizon)
        arrays: dict[str, NDArray[Any]] = {}
        for name in names:
            limit = NPY_LIMIT + 8 * max(int(np.prod([size or _CLASSES for size in shape])) for shape in shapes[name])
            array = parse_array(worker.receive(limit, name, deadline), name)
            check_shape(array, name, shapes[name], _KINDS[name])
            arrays[name] = array.astype(_DTYPES[array.dtype.kind], copy=False)
        return arrays


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise PredictorError(f"external: the command {command!r} cannot be split into words: {error}") from error
    if not words:
        raise PredictorError("external: the command is empty; write external:COMMAND, such as external:'python w.py'")
    return words


def _file(word: str, place: int) -> Path | None:
    """Return a word of the command as the path of one of the worker's files; None if it is none, or an interpreter."""
    path = Path(word)
    if place == 0 and ("/" not in word or re.fullmatch(r"python[\d.]*", path.name)):
        return None
    return path if path.is_file() else None


def _named_files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the files that the option names, and those below its folders, each with its name there.

    Raises:
        PredictorError: one does not exist.
    """
    files = []
    for path in (path.expanduser() for path in paths):
        if path.is_dir():
            relative = ((inner.relative_to(path), inner) for inner in path.rglob("*") if inner.is_file())
            files += [(f"{path.name}/{name}", inner) for name, inner in relative if not _is_skipped(name)]
        elif path.is_file():
            files.append((path.name, path))
        else:
            raise PredictorError(f"external: files: there is no {path}; name files or folders that the worker reads")
    return files


def _is_skipped(path: Path) -> bool:
    return "__pycache__" in path.parts or any(map(is_hidden, path.parts))


def _content(path: Path) -> str:
    """Return the sha256 of a file's content."""
    return hash_files({"": path})


def _arrays(context: Context) -> dict[str, NDArray[Any]]:
    """Return the context's modalities as arrays; text becomes an array of strings."""
    arrays: Mapping[str, Any] = arrays_of(context)
    return {name: a.cpu().numpy() if isinstance(a, Tensor) else np.asarray(a) for name, a in arrays.items()}


def _shapes(context: Context, horizon: int) -> dict[str, list[tuple[int | None, ...]]]:
    """Return the shapes that each output may have."""
    b, _, _, h, w = context.frames.shape
    return {
        "frames": [(b, horizon, 3, h, w)],
        "semantics": [(b, horizon, h, w), (b, horizon, None, h, w)],
        "flow": [(b, horizon, 2, h, w)],
        "disocclusion": [(b, horizon, h, w)],
    }
