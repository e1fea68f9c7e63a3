"""FVD and KVD: conventions, too few frames and clips, batches, samples, and growth with damage to made clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vpbench.plugin.clip import Comparison
from vpbench.plugin.metric import Setting
from vpbench.plugin.set_metric import FeatureSet
from vpbench.toolkit.published_weights import MissingWeightsError
from vpbench_metrics import fvd
from vpbench_metrics.distances import frechet_distance, kernel_distance
from vpbench_metrics.fvd import FVD, KVD, ContextFVD, First16FVD, I3DMetric

FRAMES = frozenset({"frames"})
SETTING = Setting((16, 16), FRAMES, FRAMES, context=4, steps=16, clips=500)


class Means(torch.nn.Module):
    """Stand in for I3D: the number of a clip's frames, then the mean of each."""

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        means = clip.mean(dim=(1, 3, 4))[0]
        return torch.cat([torch.tensor([float(len(means))]), means, torch.zeros(399 - len(means))])[None]


@pytest.fixture
def means(monkeypatch):
    monkeypatch.setattr(I3DMetric, "network", lambda self: Means())


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def with_context(comparison: Comparison, steps: int = 4) -> Comparison:
    return replace(comparison, context_frames=noise(len(comparison.future.clips), steps, 3, 16, 16, seed=9))


@pytest.mark.parametrize(("metric", "frames"), [(FVD, 17), (ContextFVD, 21), (First16FVD, 16), (KVD, 17)])
def test_each_convention_uses_its_frames(means, compare, metric, frames):
    comparison = with_context(compare(noise(2, 17, 3, 16, 16), noise(2, 17, 3, 16, 16, seed=1)))
    predicted, true = metric("cpu").features(comparison)
    assert predicted.shape == true.shape == (2, 400)
    assert predicted[:, 0].tolist() == true[:, 0].tolist() == [frames] * 2
    assert not torch.equal(predicted, true)


def test_the_context_comes_first_and_frames_keep_their_order(means, monkeypatch, compare):
    clips = []
    monkeypatch.setattr(fvd, "network_input", lambda frames: clips.append(frames) or frames.transpose(0, 1)[None])
    comparison = with_context(compare(noise(1, 12, 3, 16, 16), noise(1, 12, 3, 16, 16, seed=1)))
    ContextFVD("cpu").features(comparison)
    for clip, future in zip(clips, comparison.frames, strict=True):
        assert torch.equal(clip, torch.cat([comparison.context_frames, future], dim=1)[0])


def test_fvd_and_kvd_share_features_and_predictors_share_those_of_the_truth(means, monkeypatch, compare):
    clips = []
    monkeypatch.setattr(Means, "forward", lambda self, clip: clips.append(clip) or torch.zeros(1, 400))
    comparison = compare(noise(2, 10, 3, 16, 16), noise(2, 10, 3, 16, 16, seed=1))
    FVD("cpu").features(comparison)
    KVD("cpu").features(comparison)
    assert len(clips) == 4
    FVD("cpu").features(Comparison(comparison.prediction, comparison.future))
    assert len(clips) == 6
    ContextFVD("cpu").features(with_context(comparison))
    assert len(clips) == 10


@pytest.mark.parametrize(
    ("metric", "changes", "reason"),
    [
        (FVD, {"steps": 10}, ""),
        (FVD, {"steps": 9, "context": 0}, "needs 10 scored frames or more; this protocol has 9: take one with a "
            "horizon of 10 or more"),
        (KVD, {"steps": 8}, "needs 10 scored frames or more; this protocol has 8: take one with a horizon of 10 "
            "or more, or fvd@context, which counts the context frames"),
        (ContextFVD, {"steps": 6}, ""),
        (ContextFVD, {"steps": 5}, "needs clips of 10 frames or more; these have 4 context and 5 scored ones: take a "
            "protocol with a longer horizon"),
        (First16FVD, {"steps": 15}, "needs 16 scored frames or more; this protocol has 15: take one with a horizon of "
            "16 or more, or fvd@context, which counts the context frames"),
        (FVD, {"clips": 1}, "needs 2 clips or more; this run has 1"),
        (FVD, {"clips": 2}, ""),
        (FVD, {"outputs": frozenset()}, "the predictor gives no frames"),
    ],
)  # fmt: skip
def test_it_says_which_protocols_fit(means, metric, changes, reason):
    assert metric("cpu").why_not(replace(SETTING, **changes)) == reason


def test_without_weights_it_says_what_to_put_where(monkeypatch):
    def missing(self):
        raise MissingWeightsError("the I3D network is not here")

    monkeypatch.setattr(I3DMetric, "network", missing)
    assert FVD("cpu").why_not(SETTING) == "the I3D network is not here"


def test_few_clips_are_a_warning_of_fvd_only():
    assert FVD("cpu").caution(401, 1) == KVD("cpu").caution(3, 1) == ""
    assert ContextFVD("cpu").caution(400, 5) == (
        "400 clips are fewer than the 401 that covariances of 400 features need: fvd@context is biased upwards; "
        "compare it with scores of 400 clips only, or use kvd"
    )


def test_samples_are_pooled_and_trajectories_averaged():
    rng = np.random.default_rng(0)
    predicted, true = (rng.normal(size=shape).astype(np.float32) for shape in ((6, 3, 400), (6, 400)))
    features = FeatureSet(predicted, true)
    scores = FVD("cpu").score(features)
    assert scores["score"] == pytest.approx(frechet_distance(predicted.reshape(18, 400), true))
    assert scores["trajectories"] == pytest.approx(np.mean([frechet_distance(predicted[:, i], true) for i in range(3)]))
    assert scores["trajectories"] > scores["score"]
    assert FVD("cpu").score(FeatureSet(predicted[:, :1], true)).keys() == {"score"}
    assert KVD("cpu").score(features) == pytest.approx(kernel_distance(predicted.reshape(18, 400), true))


@pytest.fixture
def network(shared, monkeypatch):
    monkeypatch.setenv("VPBENCH_WEIGHTS", str(shared / "weights"))


@pytest.mark.slow
def test_a_clip_has_the_same_features_in_every_batch(network, compare):
    frames = noise(2, 10, 3, 16, 16), noise(2, 10, 3, 16, 16, seed=1)
    of_both, _ = FVD("cpu").features(compare(*frames))
    of_second, _ = FVD("cpu").features(compare(*(f[1:] for f in frames)))
    assert torch.equal(of_both[1:], of_second)


def moving_squares(count: int, seed: int) -> torch.Tensor:
    """Squares of random colours, moving on grey, [count,10,3,32,32]."""
    rng = np.random.default_rng(seed)
    clips = np.full((count, 10, 3, 32, 32), 0.5, np.float32)
    for clip in clips:
        colour, position = rng.random((3, 1, 1)), rng.uniform(4, 16, 2)
        speed = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.5, 1.2, 2)
        for frame in clip:
            y, x = np.clip(position, 0, 22).astype(int)
            frame[:, y : y + 10, x : x + 10] = colour
            position += speed
    return torch.from_numpy(clips)


def blurred(frames: torch.Tensor, width: int) -> torch.Tensor:
    padded = torch.nn.functional.pad(frames.flatten(0, 2)[:, None], (width // 2,) * 4, mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, width, stride=1).reshape(frames.shape)


def noisy(frames: torch.Tensor, deviation: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return (frames + deviation * torch.randn(frames.shape, generator=generator)).clamp(0, 1)


def shuffled(frames: torch.Tensor, order: list[int]) -> torch.Tensor:
    return frames[:, order]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "levels"),
    [
        (blurred, (3, 9)),
        (noisy, (0.02, 0.2)),
        (shuffled, ([1, 0, *range(2, 10)], [3, 8, 0, 5, 9, 1, 6, 2, 7, 4])),
    ],
)
def test_it_grows_with_blur_noise_and_shuffled_frames(network, compare, damage, levels):
    true = moving_squares(3, 0)
    first = compare(true, true)
    scores = []
    for frames in (damage(true, level) for level in levels):
        comparison = Comparison(replace(first.prediction, frames=frames), first.future)
        predicted, target = (features.numpy() for features in FVD("cpu").features(comparison))
        features = FeatureSet(predicted[:, None], target)
        scores.append((FVD("cpu").score(features)["score"], KVD("cpu").score(features)))
    itself = FVD("cpu").score(FeatureSet(target[:, None], target))["score"]
    assert itself == pytest.approx(0.0, abs=1e-6)
    assert scores[0][0] > 0.1
    assert scores[1][0] > 1.3 * scores[0][0], scores
    assert scores[1][1] > scores[0][1], scores
