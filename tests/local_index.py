"""A package index on this machine: source archives whose build needs nothing else, served to pip over loopback."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from vpbench.toolkit.package_index import SourceArchive

BUILD = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import os, pathlib

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    pathlib.Path(os.environ["BUILD_MARK"]).touch()
    info = pathlib.Path(folder, "{top}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: {project}\\nVersion: {version}\\n")
    return info.name
"""


def write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a .tar.gz archive."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


class LocalIndex:
    """Hold archives, and serve them while :meth:`served` lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.silent = False
        """True makes the server leave requests unanswered."""
        self._end = Event()

    def add(self, project: str, files: Mapping[str, bytes], version: str = "0.1.0") -> SourceArchive:
        """Add a source archive that holds ``files``, and return its name and hash."""
        top = f"{project.replace('-', '_')}-{version}"
        path = self.folder / f"{top}.tar.gz"
        backend = BACKEND.format(top=top, project=project, version=version)
        texts = {
            "pyproject.toml": BUILD,
            "backend.py": backend,
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {project}\n",
        }
        encoded = {name: text.encode() for name, text in texts.items()}
        write_archive(path, {f"{top}/{name}": content for name, content in {**encoded, **files}.items()})
        data = path.read_bytes()
        return SourceArchive(project, version, hashlib.sha256(data).hexdigest(), len(data))

    def answer(self, path: str) -> bytes | None:
        """Return the page or the file at an address."""
        self.requests.append(path)
        if self.silent:
            self._end.wait(60)
            return None
        name = path.strip("/").split("/")[-1]
        if path.startswith("/files/"):
            return (self.folder / name).read_bytes()
        links = [file.name for file in self.folder.glob(f"{name.replace('-', '_')}-*")]
        return "".join(f'<a href="/files/{link}">{link}</a>' for link in links).encode() if links else None

    @contextmanager
    def served(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Serve the archives as the only index that pip knows."""
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = index.answer(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.send_header("Content-Type", "text/html" if "/simple/" in self.path else "application/gzip")
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        monkeypatch.setenv("BUILD_MARK", str(self.folder / "built"))
        try:
            yield
        finally:
            self._end.set()
            server.shutdown()
            thread.join()
            server.server_close()

    @property
    def built(self) -> bool:
        """True once pip has run the build of an archive."""
        return (self.folder / "built").exists()
