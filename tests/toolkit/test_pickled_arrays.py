"""Pickles of arrays: arrays come out as they went in, and a pickle that asks for anything else is refused unread."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from vpbench.errors import DataError
from vpbench.toolkit.pickled_arrays import read_arrays

ARRAYS = {"net": {"kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "bias": np.ones(3, np.float32)}}


def pickled(content: object) -> bytes:
    """A pickle as numpy 1 wrote it."""
    return pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_arrays_are_named_by_their_keys():
    arrays = read_arrays(pickled(ARRAYS), "net.ckpt")
    assert list(arrays) == ["net.kernel", "net.bias"]
    assert np.array_equal(arrays["net.kernel"], ARRAYS["net"]["kernel"])
    assert arrays["net.bias"].dtype == np.float32


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (Call(os.system, "touch ran"), r"(posix|nt).system"),
        ({"net": Call(eval, "open('ran', 'w')")}, r"builtins.eval"),
        ({"net": np.float32(1)}, r"numpy.core.multiarray.scalar"),
        ({"net": np.array([Call(os.mkdir, "ran")], dtype=object)}, r"(posix|nt).mkdir"),
    ],
)
def test_a_pickle_that_asks_for_anything_else_runs_nothing(content, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"net.ckpt: is not a pickle of arrays \(it asks for {name}, and nothing was"):
        read_arrays(pickled(content), "net.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_name_with_dots_is_no_way_around():
    data = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    with pytest.raises(DataError, match=r"it asks for numpy.ndarray.tofile"):
        read_arrays(data, "net.ckpt")


@pytest.mark.parametrize(
    "content",
    [
        {"net": ARRAYS["net"]["kernel"].astype(np.float64)},
        {"net": ARRAYS["net"]["kernel"].astype(">f4")},
        {"net": np.asfortranarray(ARRAYS["net"]["kernel"])},
        {"net": np.array(["a"], dtype=object)},
    ],
)
def test_arrays_of_another_kind(content):
    with pytest.raises(DataError, match="is not float32, little-endian and row-major"):
        read_arrays(pickled(content), "net.ckpt")


@pytest.mark.parametrize("content", [{"net": [1]}, {"net": {"name": "text"}}, 3])
def test_values_that_are_no_arrays(content):
    with pytest.raises(DataError, match="is neither an array nor a dictionary"):
        read_arrays(pickled(content), "net.ckpt")


def test_a_dictionary_that_holds_itself():
    content = {}
    content["net"] = content
    with pytest.raises(DataError, match="is not a pickle of arrays"):
        read_arrays(pickled(content), "net.ckpt")


@pytest.mark.parametrize("data", [b"", b"text", pickled(ARRAYS)[:-40], pickled(ARRAYS).replace(b"K\x03", b"K\x07")])
def test_a_broken_pickle(data):
    with pytest.raises(DataError, match="is not a pickle of arrays"):
        read_arrays(data, "net.ckpt")
