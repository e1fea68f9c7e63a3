"""Files in a folder where processes are killed, removals work, and the file system has oddities."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from vpbench.errors import ResultError
from vpbench.files import write_atomic, write_exclusive
from vpbench.pages.replacing import replaced
from vpbench.temporary import remove_temporary_files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "file"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail(code):
    def function(*args, **settings):
        raise OSError(code, os.strerror(code))

    return function


def meet_once(monkeypatch, owner, name, event):
    """Let an event happen before the first call of a function."""
    function = getattr(owner, name)

    def call(*args):
        monkeypatch.setattr(owner, name, function)
        event()
        return function(*args)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(("owner", "name"), [(Path, "replace"), (os, "link")])
@pytest.mark.parametrize("remove", [remove_temporary_files, shutil.rmtree], ids=["the file", "the folder"])
def test_what_another_process_removes_meanwhile_is_written_again(path, monkeypatch, owner, name, remove):
    meet_once(monkeypatch, owner, name, lambda: remove(path.parent))
    (write_atomic if owner is Path else write_exclusive)(path, "text")
    assert names(path.parent) == ["file"] and path.read_text() == "text"


def test_each_of_many_processes_may_remove_it_once(path, monkeypatch):
    replace, removals = Path.replace, iter(range(63))

    def meet(temporary, target):
        if next(removals, None) is not None:
            remove_temporary_files(path.parent)
        return replace(temporary, target)

    monkeypatch.setattr(Path, "replace", meet)
    write_atomic(path, "text")
    assert names(path.parent) == ["file"] and next(removals, None) is None


def test_it_gives_up_on_a_folder_that_is_removed_each_time(path, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda *_: fail(errno.ENOENT)())
    with pytest.raises(ResultError, match=r"cannot write .*file: No such file or directory"):
        write_atomic(path, "text")
    assert names(path.parent) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_the_first_file_stays(path, monkeypatch, code):
    monkeypatch.setattr(os, "link", fail(code))
    assert write_exclusive(path, "first")
    assert not write_exclusive(path, "second")
    assert names(path.parent) == ["file"] and path.read_text() == "first"


@pytest.mark.parametrize(("code", "fails"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_file_system_may_be_unable_to_flush_folders(path, monkeypatch, code, fails):
    fsync = os.fsync

    def files_only(number):
        return fail(code)() if Path(f"/proc/self/fd/{number}").resolve().is_dir() else fsync(number)

    monkeypatch.setattr(os, "fsync", files_only)
    if fails:
        with pytest.raises(ResultError, match=r"cannot write .*file: Input/output error"):
            write_atomic(path, "text")
    else:
        write_atomic(path, "text")
    assert names(path.parent) == ["file"]


def test_only_temporary_files_are_removed(path):
    for name in ("clip.tmp", ".hidden", ".run.json.7-abcdef.tmp"):
        write_atomic(path.with_name(name), "text")
    remove_temporary_files(path.parent.parent)
    assert names(path.parent) == [".hidden", "clip.tmp"]


def write_site(out, text):
    with replaced(out) as folder:
        (folder / "index.html").write_text(text)


def orphan(out, suffix, text="orphan"):
    folder = out.with_name(f".{out.name}.0a1b2c.{suffix}")
    folder.mkdir()
    (folder / "index.html").write_text(text)
    return folder


def test_folders_of_killed_processes_are_removed_and_others_stay(tmp_path):
    out = tmp_path / "site"
    orphan(out, "new")
    orphan(out, "old")
    (tmp_path / ".site.backup.old").mkdir()
    (tmp_path / ".site2.0a1b2c.new").mkdir()
    out.mkdir()
    write_site(out, "text")
    assert names(tmp_path) == [".site.backup.old", ".site2.0a1b2c.new", "site"]
    assert (out / "index.html").read_text() == "text"


def test_the_folder_of_a_process_that_is_still_writing_stays(tmp_path):
    out = tmp_path / "site"
    with replaced(out) as first:
        write_site(out, "second")
        (first / "index.html").write_text("first")
    assert names(tmp_path) == ["site"] and (out / "index.html").read_text() == "first"


def test_an_earlier_folder_that_a_killed_process_had_moved_away_comes_back(tmp_path):
    out = tmp_path / "site"
    orphan(out, "old", "earlier")
    with pytest.raises(ResultError), replaced(out):
        fail(errno.ENOSPC)()
    assert names(tmp_path) == ["site"] and (out / "index.html").read_text() == "earlier"


def test_without_locks_the_folders_of_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", fail(errno.ENOLCK))
    out = tmp_path / "site"
    orphan(out, "new")
    write_site(out, "text")
    assert names(tmp_path) == [".site.0a1b2c.new", "site"]
