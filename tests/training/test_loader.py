"""The loader: what it serves, in which order, to whom; and that any position can be gone on from."""

from __future__ import annotations

import folders
import pytest
import torch
import toys

import vpbench
from vpbench.clips.source import ClipSource
from vpbench.protocol.protocol import Resize
from vpbench.training.clips import TrainingClips
from vpbench.training.loader import TrainingLoader

MODALITIES = frozenset({"frames", "semantics", "flow"})


def loader(*, rank=0, stage=1, seed=0, training=None, pixels=(), **options):
    shape = {"batch_size": 2, "accumulate": 1, "world": 1, "workers": 0, "crop": None, "size": None}
    shape |= {name: options.pop(name) for name in shape if name in options}
    dataset = toys.Toy(None, options=toys.Options(sequences=11, **options))
    source = ClipSource(dataset, "toy", pixels, MODALITIES, frozenset(), {})
    clips = TrainingClips.of(folders.make_protocol(3, training=training or {}), dataset.sequences("train"), seed)
    serving = TrainingLoader(source, clips, stage=stage, **shape)
    serving.place(rank, torch.device("cpu"))
    return serving


def served(source, epochs=1):
    return [batch for _ in range(epochs) for batch in source]


def prints(batches):
    """All of a batch that must not change."""
    return [
        (b.step, b.context.clips, b.context.frames.sum().item(), [g.initial_seed() for g in b.generators])
        for b in batches
    ]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_any_position_can_be_gone_on_from(workers):
    undisturbed = prints(served(loader(), 2))
    assert len(undisturbed) == 10
    for position in (0, 3, 5, 7):
        state = {"served": position}
        resumed = loader(workers=workers)
        resumed.load_state_dict(state)
        epochs = 2 if position < 5 else 1
        assert prints(served(resumed, epochs)) == undisturbed[position:]
        assert resumed.state_dict() == {"served": 10}


def test_what_workers_have_read_ahead_is_not_counted():
    source = loader(workers=2)
    batches = iter(source)
    next(batches), next(batches)
    assert source.state_dict() == {"served": 2}
    batches.close()


def test_ranks_share_the_batch_of_one_process():
    expected = served(loader(batch_size=4))
    ranks = [served(loader(batch_size=4, world=2, rank=rank)) for rank in (0, 1)]
    assert len(expected) == len(ranks[0]) == len(ranks[1])
    for whole, *parts in zip(expected, *ranks, strict=True):
        pairs = zip(*(part.context.clips for part in parts), strict=True)
        assert whole.context.clips == tuple(clip for pair in pairs for clip in pair)
        seeds = {c: g.initial_seed() for p in parts for c, g in zip(p.context.clips, p.generators, strict=True)}
        assert seeds == dict(zip(whole.context.clips, (g.initial_seed() for g in whole.generators), strict=True))


def test_generators_differ_by_seed_stage_step_and_clip():
    runs = [served(loader(seed=s, stage=t, training={"clips": 22}))[:2] for s, t in ((0, 1), (1, 1), (0, 2))]
    seeds = [g.initial_seed() for batches in runs for batch in batches for g in batch.generators]
    assert len(set(seeds)) == len(seeds) == 12


def test_a_batch_is_what_the_dataset_gives():
    (batch, *_) = served(loader())
    dataset = toys.Toy(None, options=toys.Options(sequences=11))
    for i, clip in enumerate(batch.context.clips):
        sequence, _, first = clip.partition("@")
        numbers = range(int(first), int(first) + 5)
        frames = torch.from_numpy(dataset.read(sequence, numbers, "frames")).permute(0, 3, 1, 2) / 255
        labels = torch.from_numpy(dataset.read(sequence, numbers, "semantics")).long()
        assert torch.equal(torch.cat([batch.context.frames[i], batch.future.frames[i]]), frames)
        assert torch.equal(torch.cat([batch.context.semantics[i], batch.future.semantics[i]]), labels)
        assert torch.equal(batch.future.last[i], frames[1])
    assert batch.context.frames.shape == (2, 2, 3, 16, 24)
    assert batch.context.flow.shape == (2, 1, 2, 16, 24)
    assert batch.future.flow.shape == (2, 3, 2, 16, 24)
    assert batch.future.steps == (1, 2, 3)
    assert batch.context.label_space is toys.SPACE
    assert batch.to(torch.device("meta")).future.flow.device.type == "meta"
    assert batch.to(torch.device("meta")).context.clips == batch.context.clips


def test_crops_are_windows_at_one_place_of_all_frames_and_modalities():
    clips = zip(served(loader()), served(loader(crop=(8, 12))), strict=True)
    places = set()
    for whole, window in clips:
        assert window.context.frames.shape == (2, 2, 3, 8, 12)
        for i in range(2):
            full, cut = whole.context.frames[i], window.context.frames[i]
            (place,) = [
                (y, x) for y in range(9) for x in range(13) if torch.equal(full[..., y : y + 8, x : x + 12], cut)
            ]
            places.add(place)
            rows, columns = slice(place[0], place[0] + 8), slice(place[1], place[1] + 12)
            for modality in ("frames", "semantics", "flow"):
                full, cut = (getattr(batch.future, modality)[i] for batch in (whole, window))
                assert torch.equal(full[..., rows, columns], cut)
    assert len({y for y, _ in places}) > 2 and len({x for _, x in places}) > 2
    first, second = (prints(served(loader(crop=(8, 12)))) for _ in range(2))
    assert first == second
    assert prints(served(loader(crop=(8, 12), seed=1))) != first


def test_crops_reach_the_last_row_and_column():
    places = set()
    for whole, window in zip(served(loader(), 4), served(loader(crop=(15, 23)), 4), strict=True):
        for full, cut in zip(whole.context.frames, window.context.frames, strict=True):
            places |= {(y, x) for y in (0, 1) for x in (0, 1) if torch.equal(full[..., y:, x:][..., :15, :23], cut)}
    assert places == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_crop_that_does_not_fit_is_an_error():
    with pytest.raises(vpbench.DataError, match="a crop of 8x25 is larger than frames of 16x24"):
        next(iter(loader(crop=(8, 25))))
    with pytest.raises(ValueError, match="crop must be a height and a width of 1 or more, not"):
        vpbench.Recipe(crop=[8])


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_are_resized_in_training_and_their_flow_is_scaled(workers):
    resized = zip(served(loader()), served(loader(size=(8, 6), workers=workers)), strict=True)
    for whole, half in resized:
        assert half.context.frames.shape == (2, 2, 3, 8, 6)
        averages = torch.nn.functional.avg_pool2d(whole.future.frames.flatten(0, 1), (2, 4)).unflatten(0, (2, 3))
        assert torch.allclose(half.future.frames, averages, atol=0.6 / 255)
        assert torch.equal(half.future.semantics, whole.future.semantics[..., ::2, ::4])
        means = [clips.future.flow.mean(dim=(-2, -1)) for clips in (whole, half)]
        assert torch.allclose(means[1], means[0] * torch.tensor([1 / 4, 1 / 2]), atol=0.05)


def test_clips_are_cropped_after_they_were_resized():
    assert next(iter(loader(size=(8, 12), crop=(4, 12)))).context.frames.shape == (2, 2, 3, 4, 12)
    with pytest.raises(vpbench.DataError, match="a crop of 16x12 is larger than frames of 8x12"):
        next(iter(loader(size=(8, 12), crop=(16, 12))))
    with pytest.raises(ValueError, match="size must be a height and a width of 1 or more, not"):
        vpbench.Recipe(size=[8, 0])


def test_an_epoch_holds_whole_optimiser_steps_only():
    assert len(loader(batch_size=2, accumulate=2)) == 4  # 11 clips: 2 steps of 2 batches of 2
    assert len(loader(batch_size=2, accumulate=5)) == 5
    with pytest.raises(vpbench.UsageError, match="11 clips does not hold one step of 12 clips x 1"):
        loader(batch_size=12, world=3)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_data_reaches_the_user(workers):
    with pytest.raises(vpbench.DataError, match="seq004: does not decode"):
        served(loader(broken=4, workers=workers, batch_size=1))


def test_clips_of_different_sizes_cannot_be_in_one_batch(monkeypatch):
    read = toys.Toy.read

    def read_smaller(self, sequence, frames, modality):
        return read(self, sequence, frames, modality)[:, : 12 if sequence.endswith("3") else 16]

    monkeypatch.setattr(toys.Toy, "read", read_smaller)
    with pytest.raises(vpbench.DataError, match="clips of 12x24 and of 16x24 cannot be in one batch: give"):
        served(loader())
    assert len(served(loader(batch_size=1))) == 11
    assert len(served(loader(size=(8, 12)))) == 5


def test_pixels_are_the_protocols():
    batches = loader(pixels=(Resize(op="resize", size=(8, 12)),))
    assert next(iter(batches)).future.frames.shape == (2, 3, 3, 8, 12)
