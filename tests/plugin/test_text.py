"""Text files and file names that people and other systems bring."""

from __future__ import annotations

import os

import pytest

from vpbench.errors import DataError
from vpbench.plugin.names import file_stem
from vpbench.plugin.text import read_text, read_toml


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf8_with_and_without_a_byte_order_mark(tmp_path, mark):
    (tmp_path / "a.toml").write_bytes(mark + 'name = "größe"\n'.encode())
    assert read_toml(tmp_path / "a.toml") == {"name": "größe"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(tmp_path, encoding):
    (tmp_path / "a.toml").write_bytes("x = 1\n".encode(encoding))
    with pytest.raises(ValueError, match=r"not encoded in UTF-8 \(probably in UTF-16\); save it as UTF-8"):
        read_text(tmp_path / "a.toml")


def test_latin_1_and_deep_nesting_and_a_fifo(tmp_path):
    (tmp_path / "a.toml").write_bytes('x = "größe"'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"byte 7\); save it as UTF-8"):
        read_toml(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("x = " + "[" * 20000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_toml(tmp_path / "b.toml")
    os.mkfifo(tmp_path / "c.toml")
    with pytest.raises(DataError, match=r"c\.toml: is a FIFO, not a regular file"):
        read_toml(tmp_path / "c.toml")


class TestFileStem:
    def test_short_ids_are_kept(self):
        for clip in ("a@0", "drive/a.mp4@14", "x" * 200):
            assert file_stem(clip) == clip

    def test_long_ids_are_cut_and_stay_unique(self):
        stems = [file_stem(f"trip/{'é' * 120}.mp4@{i}") for i in (0, 14, 28)]
        assert len(set(stems)) == 3
        assert all(stem.startswith(f"trip/{'é' * 90}~") for stem in stems)
        assert all(len(f".{stem}.sample12.disocclusion.npy.12345-abcdef.tmp".encode()) < 256 + 5 for stem in stems)

    @pytest.mark.parametrize("clip", ["../a@0", "a/../../b@0", "/etc/a@0", "", "a\0b@0"])
    def test_ids_that_lead_elsewhere_are_refused(self, clip):
        with pytest.raises(DataError, match="no path below a folder; rename"):
            file_stem(clip)
