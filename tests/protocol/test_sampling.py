"""The four sampling kinds against brute-force enumeration, and the published tables of windows."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import DataError
from vpbench.plugin.dataset import SequenceInfo
from vpbench.protocol.protocol import Anchored, First, Random, Sliding
from vpbench.protocol.sampling import ClipRef, sample

frames = st.one_of(
    st.builds(lambda first, n: range(first, first + n), st.integers(0, 9), st.integers(0, 30)),
    st.lists(st.integers(0, 40), unique=True).map(sorted),
)
window = {"context": st.integers(1, 4), "horizon": st.integers(1, 4), "frame_step": st.integers(1, 3)}


def cut(sampling, *sequences):
    infos = [SequenceInfo(f"s{i}", frames) for i, frames in enumerate(sequences)]
    return sample(sampling, infos)


def windows(sampling, frames):
    """Every list of existing frames, evenly spaced, of the right length."""
    length, step = sampling.context + sampling.horizon, sampling.frame_step
    candidates = [tuple(first + i * step for i in range(length)) for first in range(100)]
    return [w for w in candidates if set(w) <= set(frames)]


@given(frames, st.integers(0, 5), st.fixed_dictionaries(window))
def test_first_is_the_one_window_at_start(frames, start, fields):
    sampling = First(kind="first", start=start, short="drop", **fields)
    manifest = cut(sampling, frames)
    expected = [w for w in windows(sampling, frames) if w[0] == frames[0] + start]
    assert [c.frames for c in manifest.clips] == expected
    assert manifest.dropped == (() if expected else ("s0",))


@given(frames, st.integers(0, 5), st.integers(1, 5), st.fixed_dictionaries(window))
def test_sliding_is_every_window_on_the_grid(frames, start, stride, fields):
    sampling = Sliding(kind="sliding", start=start, stride=stride, short="drop", **fields)
    offsets = {w: w[0] - frames[0] - start for w in windows(sampling, frames)}
    expected = [w for w, offset in offsets.items() if offset >= 0 and offset % stride == 0]
    clips = cut(sampling, frames).clips
    assert [c.frames for c in clips] == expected
    assert all(c.context == sampling.context and c.horizon == sampling.horizon for c in clips)
    assert all(c.steps == tuple(range(1, sampling.horizon + 1)) for c in clips)


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 3))
def test_windows_side_by_side_lie_in_the_middle_or_at_the_end(count, length, first):
    """Windows without an overlap, as STDiff and OpenSTL cut them from a list of frames."""
    numbers, spare = range(first, first + count), count % (length + 1)
    for start, covered in (("centred", numbers[spare // 2 :]), ("from-end", numbers[spare:])):
        sampling = Sliding(kind="sliding", start=start, stride=length + 1, context=length, horizon=1, short="drop")
        clips = [clip.frames for clip in cut(sampling, numbers).clips]
        assert clips == [tuple(covered[i : i + length + 1]) for i in range(0, len(covered) - length, length + 1)]


@given(frames, st.integers(1, 40), st.integers(0, 3), st.fixed_dictionaries(window))
def test_random_is_a_draw_without_replacement_from_every_window(frames, count, seed, fields):
    sampling = Random(kind="random", count=count, seed=seed, short="drop", **fields)
    candidates = windows(sampling, frames)
    drawn = [c.frames for c in cut(sampling, frames).clips]
    assert set(drawn) <= set(candidates)
    assert len(set(drawn)) == len(drawn) == min(count, len(candidates))
    assert drawn == sorted(drawn)


@given(
    frames,
    st.integers(1, 12),
    st.lists(st.integers(1, 6), min_size=1, unique=True),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_anchored_moves_the_context_and_keeps_the_target(frames, target, steps, context, step):
    sampling = Anchored(
        kind="anchored", context=context, target=target, steps=tuple(steps), frame_step=step, short="drop"
    )
    expected = []
    for k in sorted(steps):
        window = [frames[0] + target - step * back for back in range(context + k)][::-1] if frames else [None]
        if set(window) <= set(frames):
            expected.append((tuple(window), k))
    clips = cut(sampling, frames).clips
    assert [(c.frames, c.horizon) for c in clips] == expected
    assert all(c.steps == (c.horizon,) for c in clips)


def test_random_depends_on_the_seed_and_the_name_and_not_on_the_order():
    def draw(seed, *names):
        sampling = Random(kind="random", context=2, horizon=2, count=5, seed=seed)
        return {c.id for c in sample(sampling, [SequenceInfo(n, range(100)) for n in names]).clips}

    assert draw(0, "a", "b") == draw(0, "b", "a") == draw(0, "a") | draw(0, "b")
    assert draw(0, "a") != draw(1, "a")
    assert {i.split("@")[1] for i in draw(0, "a")} != {i.split("@")[1] for i in draw(0, "b")}


def test_random_draws_are_the_same_for_ever():
    """The windows with the smallest sha256 of "seed/sequence/first frame": no generator that a library may change."""
    sampling = Random(kind="random", context=2, horizon=2, count=3, seed=7)
    by_hash = sorted(range(97), key=lambda start: hashlib.sha256(f"7/s0/{start}".encode()).hexdigest())
    assert [c.frames[0] for c in cut(sampling, range(100)).clips] == sorted(by_hash[:3])


def test_a_missing_frame_costs_exactly_the_windows_that_need_it():
    sampling = Sliding(kind="sliding", context=2, horizon=1, stride=1)
    clips = cut(sampling, [5, 6, 7, 9, 10, 11, 12]).clips
    assert [c.frames for c in clips] == [(5, 6, 7), (9, 10, 11), (10, 11, 12)]
    assert [c.id for c in clips] == ["s0@5", "s0@9", "s0@10"]


def test_short_sequences_are_an_error_or_dropped_by_name():
    error = First(kind="first", context=2, horizon=2, frame_step=2)
    assert error.short == "error"
    with pytest.raises(DataError, match=r"sequence 's1' has 6 frames.*context 2, horizon 2, frame step 2"):
        cut(error, range(7), range(6))
    manifest = cut(error.model_copy(update={"short": "drop"}), range(7), range(6), [])
    assert manifest.clips == (ClipRef("s0", (0, 2, 4, 6), 2, (1, 2)),)
    assert manifest.dropped == ("s1", "s2")


@given(frames, st.integers(0, 5), st.integers(1, 5), st.fixed_dictionaries(window))
def test_padding_adds_windows_that_begin_before_the_sequence(frames, start, stride, fields):
    sampling = Sliding(kind="sliding", start=start, stride=stride, pad="replicate", short="drop", **fields)
    step, before = sampling.frame_step, (sampling.context - 1) * sampling.frame_step
    expected = []
    for first in range(frames[0] - before + start, 60, stride) if frames else ():
        numbers = [first + i * step for i in range(sampling.context + sampling.horizon)]
        real = [n for n in numbers if n >= frames[0]]
        if set(real) <= set(frames):
            expected.append((f"s0@{first}", (*[real[0]] * (len(numbers) - len(real)), *real)))
    clips = cut(sampling, frames).clips
    assert [(c.id, c.frames) for c in clips] == expected
    assert all(c.context == sampling.context and c.frames[c.context - 1] in frames for c in clips)


def test_kitti_flow_predicts_every_next_frame():
    """21 frames: 20 next frames with padding (KITTI Flow: 200 x 20 = 4,000 clips), 17 without (3,400)."""
    fields = {"kind": "sliding", "context": 4, "horizon": 1, "stride": 1}
    padded = cut(Sliding(pad="replicate", **fields), range(21)).clips
    assert [c.frames for c in padded[:4]] == [(0, 0, 0, 0, 1), (0, 0, 0, 1, 2), (0, 0, 1, 2, 3), (0, 1, 2, 3, 4)]
    assert [c.id for c in padded[:4]] == ["s0@-3", "s0@-2", "s0@-1", "s0@0"]
    assert [c.frames[-1] for c in padded] == list(range(1, 21))
    plain = cut(Sliding(**fields), range(21)).clips
    assert plain == padded[3:]
    assert len(plain) == 17
