"""Names of files that are kept for clips."""

from __future__ import annotations

import pytest

from vpbench.errors import DataError
from vpbench.toolkit.file_names import file_stem


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
