"""Obtain the weights of a submitted result, if its predictor ships them or its card names an address."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from vpbench.errors import DataError
from vpbench.files import write_errors
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import members_of
from vpbench.results.records import RunRecord

MAX_WEIGHTS = 2 * 2**30
"""Bytes of a file of weights that is downloaded."""
_CHUNK = 2**20
_TIMEOUT = 60
"""Seconds that a server may stay silent."""


class _HttpsOnly(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        """Refuse to leave https."""
        if not newurl.startswith("https://"):
            raise URLError("it leads to an address without https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(address: str) -> IO[bytes]:
    response: IO[bytes] = build_opener(_HttpsOnly).open(address, timeout=_TIMEOUT)
    return response


def ships_weights(run: RunRecord, plugins: Plugins) -> bool:
    """Return whether the recorded preset names weights, or the predictor needs none."""
    if run.weights is None or run.weights.clips == "none":
        return True
    presets = members_of(plugins.load("predictor", run.predictor), f"predictor {run.predictor!r}").presets
    return "weights" in presets.get(run.preset, {})


def download_weights(address: str, sha256: str, path: Path, open_address: Callable[[str], IO[bytes]] = _open) -> None:
    """Write a file of weights; it exists whole and with the recorded hash, or not at all.

    Args:
        address: of the file; https only.
        sha256: the hash that the file must have.
        path: where it is written.
        open_address: opens the address.

    Raises:
        DataError: the address cannot be read, or leads to another or too large a file.
        ResultError: the file cannot be written.
    """
    if not address.startswith("https://"):
        raise DataError(f"weights {address}: only https addresses are opened")
    digest, size = hashlib.sha256(), 0
    partial = path.with_name(f"{path.name}.part")
    try:
        with write_errors(path), partial.open("wb") as file:
            for chunk in _chunks(address, open_address):
                size += len(chunk)
                if size > MAX_WEIGHTS:
                    raise DataError(f"weights {address}: the file has more than {MAX_WEIGHTS // 2**20} MiB")
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            raise DataError(
                f"weights {address}: the file has the sha256 {digest.hexdigest()[:16]}, run.json records {sha256[:16]}"
            )
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _chunks(address: str, open_address: Callable[[str], IO[bytes]]) -> Any:
    try:
        with open_address(address) as response:
            while chunk := response.read(_CHUNK):
                yield chunk
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(f"weights {address}: cannot be downloaded ({error})") from error
