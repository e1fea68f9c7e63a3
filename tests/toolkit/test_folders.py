"""Listing the folders of a data root: names and kinds only, sorted, never out of the root."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import DataError
from vpbench.toolkit.folders import Listing, data_file, evenly, list_folder, walk_folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with files, folders, and links that lead everywhere."""
    root = tmp_path / "root"
    for path in ("b/2.png", "b/1.png", "b/deep/x.png", "a/y.png", ".hidden/z.png", "top.png"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.png").touch()
    (root / "b/in.png").symlink_to(root / "b/1.png")
    (root / "b/out.png").symlink_to(tmp_path / "outside/secret.png")
    (root / "b/nowhere.png").symlink_to(root / "gone.png")
    (root / "b/loop").symlink_to(root)
    (root / "outside").symlink_to(tmp_path / "outside")
    return root


def test_a_folder(root):
    assert list_folder(root / "b", root) == Listing(
        ("deep",), ("1.png", "2.png", "in.png"), ("loop", "nowhere.png", "out.png")
    )


def test_a_folder_that_is_not_there_is_empty(root):
    assert list_folder(root / "c", root) == list_folder(root / "top.png", root) == Listing()


def test_a_folder_out_of_the_root_is_an_error(root):
    for folder in (root / "outside", root.parent):
        with pytest.raises(DataError, match="symbolic link out of the data root"):
            list_folder(folder, root)


def test_a_folder_that_cannot_be_listed(root, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="a: cannot be listed: Permission denied"):
        list_folder(root / "a", root)


def test_walking_comes_to_every_folder_once(root):
    walked = {folder.relative_to(root).as_posix(): listing.files for folder, listing in walk_folders(root)}
    assert list(walked) == [".", "a", "b", "b/deep"]
    assert walked["b/deep"] == ("x.png",)


def test_a_file_of_the_root(root):
    assert data_file(root / "b/1.png", root, "") == root / "b/1.png"
    assert data_file(root / "b/in.png", root, "") == root / "b/in.png"
    with pytest.raises(DataError, match=r"3\.png: is missing; unpack it again"):
        data_file(root / "b/3.png", root, "unpack it again")
    with pytest.raises(DataError, match=r"out\.png: is a symbolic link out of the data root"):
        data_file(root / "b/out.png", root, "")
    with pytest.raises(DataError, match=r"secret\.png: is a symbolic link out of the data root"):
        data_file(root / "outside/secret.png", root, "")


@given(st.lists(st.integers(0, 60), unique=True).map(sorted))
def test_evenly_changes_no_number(numbers):
    spaced = evenly(numbers)
    assert list(spaced) == numbers
    gaps = {b - a for a, b in pairwise(numbers)}
    assert isinstance(spaced, range) == (len(gaps) <= 1 and bool(numbers))
