"""Arrays of damaged files: every fault is a ValueError of one line."""

from __future__ import annotations

import io

import numpy as np
import pytest

from vpbench.toolkit.arrays import load_array

ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


def stored(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays) if arrays else np.save(file, ARRAY)
    return file.getvalue()


@pytest.mark.parametrize("mapped", [False, True])
def test_an_array_is_loaded_or_mapped(tmp_path, mapped):
    (tmp_path / "a.npy").write_bytes(stored())
    array = load_array(tmp_path / "a.npy", mapped=mapped)
    np.testing.assert_array_equal(array, ARRAY)
    assert isinstance(array.base, np.memmap) == mapped


def test_a_member_is_named_or_the_only_one():
    several = {"flow": ARRAY, "depth": ARRAY + 1}
    for arrays in (several, {"anything": ARRAY}):
        np.testing.assert_array_equal(load_array(io.BytesIO(stored(**arrays)), member="flow"), ARRAY)


@pytest.mark.parametrize(
    ("data", "member", "reason"),
    [
        (stored().replace(b"(3, 4)", b"((3, 4"), "", "EOF in multi-line statement"),
        (stored()[:8] + b"\xff\xff" + b"{" * 70000, "", "Header info length"),
        (stored()[:-1], "", "cannot reshape|read"),
        (stored(a=ARRAY), "", "it holds 1 named arrays$"),
        (stored(a=ARRAY, b=ARRAY), "flow", "it holds 2 named arrays; name one of them flow$"),
        (stored(a=ARRAY)[:60] + b"\xff" * 40 + stored(a=ARRAY)[100:], "flow", "decompressing|File name|CRC"),
        (b"", "", "No data left in file"),
    ],
)
def test_a_damaged_file_is_one_line(data, member, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        load_array(io.BytesIO(data), member=member)
    assert "\n" not in str(caught.value)
