"""The manifest says which clips, and why they are not all; units are 16 of them, whatever the world."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import DataError
from vpbench.plugin.dataset import DatasetInfo, SequenceInfo
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.units import UNIT_CLIPS, Manifest, build_manifest


class Dataset:
    info = DatasetInfo()

    def __init__(self, *sequences):
        self.listing = sequences

    def sequences(self, split):
        assert split == "test"
        return self.listing


def seq(name, frames=4, problem=""):
    return SequenceInfo(name, range(frames), problem)


def protocol(**fields):
    sampling = {"kind": "first", "context": 2, "horizon": 2, "short": "drop"}
    base = {"schema": 1, "name": "toy", "version": 1, "dataset": {"name": "toys"}, "sampling": sampling}
    return Protocol.parse(base | fields, "here")


MANY = Dataset(*(seq(f"s{i:02d}") for i in range(40)))


def test_units_are_sixteen_clips_and_the_rest():
    manifest = build_manifest(protocol(), MANY)
    assert UNIT_CLIPS == 16
    assert [len(u.clips) for u in manifest.units] == [16, 16, 8]
    assert [u.number for u in manifest.units] == [0, 1, 2]
    assert tuple(c for u in manifest.units for c in u.clips) == manifest.clips
    assert manifest.partial == ""


CLIP = ClipRef("a", (0, 1, 2), 1, (1, 2))


@pytest.mark.parametrize(
    "variant",
    [ClipRef("b", (0, 1, 2), 1, (1, 2)), ClipRef("a", (1, 2, 3), 1, (1, 2)), ClipRef("a", (0, 1, 2), 2, (1,)),
     ClipRef("a", (0, 1, 2), 1, (2,))],
)  # fmt: skip
def test_the_hash_is_of_every_clip(variant):
    second = ClipRef("z", (0, 1, 2), 1, (1, 2))
    hashes = [Manifest(clips).hash for clips in [(CLIP, second), (variant, second), (CLIP,), (second, CLIP)]]
    assert len(set(hashes)) == 4
    assert Manifest((CLIP,), dropped=("x",), partial="why").hash == Manifest((CLIP,)).hash


@given(st.integers(1, 40))
def test_a_limit_takes_clips_spread_evenly_and_says_so(limit):
    manifest = build_manifest(protocol(), MANY, limit=limit)
    chosen = [int(c.sequence[1:]) for c in manifest.clips]
    assert len(chosen) == limit
    gaps = {b - a for a, b in zip(chosen, [*chosen[1:], 40], strict=True)}
    assert chosen[0] == 0 and max(gaps) - min(gaps) <= 1
    assert manifest.partial == (f"limited to {limit} of 40 clips" if limit < 40 else "")


@pytest.mark.parametrize("count", [39, 41])
def test_another_count_than_the_protocols_is_an_error_or_partial(count):
    with pytest.raises(DataError, match=f"toy has {count} clips, the data give 40: .*allow a partial"):
        build_manifest(protocol(clips=count), MANY)
    manifest = build_manifest(protocol(clips=count), MANY, allow_partial=True)
    assert (len(manifest.clips), manifest.partial) == (40, f"40 of {count} clips")


def test_the_right_count_is_complete_even_where_partial_is_allowed():
    assert build_manifest(protocol(clips=40), MANY, allow_partial=True).partial == ""


def test_the_count_is_of_all_clips_not_of_those_taken():
    assert build_manifest(protocol(clips=40), MANY, limit=3).partial == "limited to 3 of 40 clips"
    manifest = build_manifest(protocol(clips=50), MANY, limit=3, allow_partial=True)
    assert manifest.partial == "40 of 50 clips; limited to 3 of 40 clips"


def test_a_broken_sequence_is_an_error_or_left_out():
    data = Dataset(seq("a"), seq("b", problem="b.avi is empty"), seq("c", problem="c.avi is empty"))
    with pytest.raises(DataError, match=r"b.avi is empty \(and 1 more\); allow a partial"):
        build_manifest(protocol(), data)
    manifest = build_manifest(protocol(), data, allow_partial=True)
    assert [c.sequence for c in manifest.clips] == ["a"]
    assert manifest.partial == "2 unreadable sequences left out"


def test_short_sequences_are_counted_and_do_not_make_it_partial():
    manifest = build_manifest(protocol(), Dataset(seq("a"), seq("b", 3)))
    assert (manifest.dropped, manifest.partial) == (("b",), "")


@pytest.mark.parametrize("allow", [False, True])
def test_no_clip_at_all_is_an_error(allow):
    message = r"toy: no clip in 1 sequences of toys \(split 'test'; 1 are too short for 2 \+ 2 frames at frame step 1"
    with pytest.raises(DataError, match=message):
        build_manifest(protocol(), Dataset(seq("a", 3)), allow_partial=allow)
    with pytest.raises(DataError, match="no clip in 0 sequences"):
        build_manifest(protocol(), Dataset(), allow_partial=allow)


def test_two_clips_with_one_id_are_an_error():
    with pytest.raises(DataError, match="two clips have the id 'a@0'"):
        build_manifest(protocol(), Dataset(seq("a"), seq("b"), seq("a")))
