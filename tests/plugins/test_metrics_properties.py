"""Properties of every metric: bounds, symmetry, flips, batches, permutations, noise, identity; small frames."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden.cases import SPACE, Case, frame_metrics
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from vpbench.errors import MetricError
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.metric import PooledCounts, Undefined, Value, cost

PERFECT = {"mse": 0, "mae": 0, "psnr": 100, "ssim": 1, "ms-ssim": 1, "lpips": 0}
NAMES = frame_metrics()
OF_FRAMES = [
    n for n in NAMES if n.partition("/")[0].partition("@")[0] in ("mse", "mae", "psnr", "ssim", "ms-ssim", "lpips")
]
WHOLE = [n for n in OF_FRAMES if "/" not in n]
SYMMETRIC = [n for n in WHOLE if n != "ms-ssim@fvs"]  # which rounds one side only
SIZES = {"ms-ssim": (176, 192), "lpips": (32, 35)}  # of no odd side at any scale, which is padded at its end
SMALLEST = {"ssim": 11, "ssim@uniform7": 7, "ssim@openstl": 7, "ssim@uint8": 7, "ms-ssim": 161, "ms-ssim@fvs": 161}
SMALLEST |= {"lpips@vgg": 16}
SEEDS = st.integers(0, 2**31 - 1)
EVERY_SEED = settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.generate])


def kind(name: str) -> str:
    return name.partition("/")[0].partition("@")[0]


@pytest.fixture(scope="module")
def metrics(request):
    """Every metric by name; LPIPS's only where its backbone is."""
    plugins = load_plugins([])
    with pytest.MonkeyPatch.context() as patch:

        def build(name):
            if kind(name) == "lpips":
                patch.setenv("VPBENCH_WEIGHTS", request.getfixturevalue("lpips_weights")(name))
            return plugins.load("metric", name)("cpu")

        yield build


def random_case(seed: int, name: str, clips: int = 2) -> Case:
    """Return noise in all modalities, of the metric's smallest size or so."""
    rng = np.random.RandomState(seed)
    height, width = SIZES.get(kind(name), (12, 15))
    around, masks = (clips, 2, 2, height, width), (clips, 2, height, width)
    frames, noise, last = (rng.rand(clips, 2, 3, height, width).astype(np.float32) for _ in range(3))
    guess, labels = (rng.choice([0, 1, 2, 3, 255], masks).astype(np.int64) for _ in range(2))
    flows = [rng.normal(0, 2, around).astype(np.float32) for _ in range(3)]
    hidden = [rng.rand(*masks) < share for share in (0.3, 0.4)]
    return Case(frames, noise, last[:, 0], guess, labels, *flows, *hidden)


def numbers(metric, case: Case) -> np.ndarray:
    """Return the statistics, [B,S] or [B,S,N]; NaN where there is none."""
    rows = [[v.value if isinstance(v, Value) else v for v in clip] for clip in metric.measure(case.comparison())]
    sizes = [np.size(v) for clip in rows for v in clip if not isinstance(v, Undefined)]
    undefined = np.full(max(sizes, default=1), math.nan).squeeze()
    return np.array([[undefined if isinstance(v, Undefined) else v for v in clip] for clip in rows], dtype=np.float64)


def score(metric, rows: np.ndarray) -> float:
    statistics = rows.reshape(-1, *rows.shape[2:])
    kind = np.int64 if isinstance(metric, PooledCounts) else np.float64
    scores = metric.finalise([v.astype(kind).tolist() for v in statistics if not np.isnan(v).any()])
    return scores["score"] if isinstance(scores, dict) else scores


def changed(case: Case, change) -> Case:
    arrays = {name: change(name, value) for name, value in vars(case).items() if value is not None}
    return replace(case, **arrays)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@EVERY_SEED
@given(seed=SEEDS)
def test_clips_may_be_split_and_permuted(metrics, name, seed):
    case, metric = random_case(seed, name, clips=3), metrics(name)
    rows = numbers(metric, case)
    order = np.random.RandomState(seed).permutation(3)
    near = {"rtol": 1e-6, "atol": 1e-6} if kind(name) == "lpips" else {"rtol": 0, "atol": 0}
    np.testing.assert_allclose(numbers(metric, changed(case, lambda _, value: value[order])), rows[order], **near)
    singles = [numbers(metric, changed(case, lambda _, value, i=i: value[i : i + 1]))[0] for i in range(3)]
    np.testing.assert_allclose(singles, rows, **near)
    assert score(metric, rows) == score(metric, rows[::-1])


@pytest.mark.parametrize("name", [n for n in NAMES if kind(n) != "lpips"])
@EVERY_SEED
@given(seed=SEEDS, axis=st.sampled_from([-1, -2]))
def test_flipped_pictures_are_as_far_apart(metrics, name, seed, axis):
    """Not so LPIPS, whose network is no mirror image of itself."""

    def flip(field: str, value: np.ndarray) -> np.ndarray:
        out = np.flip(value, axis).copy()
        if field.endswith("flow"):
            out[:, :, 0 if axis == -1 else 1] *= -1
        return out

    case, metric = random_case(seed, name), metrics(name)
    near = 3e-6 if "ssim" in name else 1e-9
    np.testing.assert_allclose(numbers(metric, changed(case, flip)), numbers(metric, case), rtol=1e-6, atol=near)


@pytest.mark.parametrize("name", SYMMETRIC)
@EVERY_SEED
@given(seed=SEEDS)
def test_prediction_and_truth_may_be_exchanged(metrics, name, seed):
    case, metric = random_case(seed, name), metrics(name)
    back = numbers(metric, replace(case, predicted=case.true, true=case.predicted))
    np.testing.assert_allclose(back, numbers(metric, case), rtol=1e-5 if kind(name) == "lpips" else 1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["miou", "miou@moving"])
@EVERY_SEED
@given(seed=SEEDS)
def test_exchanged_labels_meet_in_the_same_pixels(metrics, name, seed):
    """True positives stay, false positives and false negatives change places."""
    case, metric = random_case(seed, name), metrics(name)
    case = replace(case, guess=case.guess % 4, labels=case.labels % 4)
    rows = np.split(numbers(metric, case), 3, axis=-1)
    back = np.split(numbers(metric, replace(case, guess=case.labels, labels=case.guess)), 3, axis=-1)
    assert all(np.array_equal(a, b) for a, b in zip(back, (rows[0], rows[2], rows[1]), strict=True))


@pytest.mark.parametrize("name", ["disocclusion-precision", "disocclusion-recall"])
@EVERY_SEED
@given(seed=SEEDS)
def test_precision_is_the_recall_of_the_exchanged_masks(metrics, name, seed):
    case = random_case(seed, name)
    back = replace(case, predicted_disocclusion=case.disocclusion, disocclusion=case.predicted_disocclusion)
    opposite = {"disocclusion-precision": "disocclusion-recall"}.get(name, "disocclusion-precision")
    scores = [
        metrics(n).finalise(numbers(metrics(n), c).reshape(-1, 3).astype(np.int64).tolist())
        for n, c in ((name, case), (opposite, back))
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("name", NAMES)
@EVERY_SEED
@given(seed=SEEDS)
def test_bounds(metrics, name, seed):
    endless = dict.fromkeys(("lpips", "epe", "copy-index"), (0, math.inf))
    low, high = ({"psnr": (0, 100), "ssim": (-1, 1)} | endless).get(kind(name), (0, 1))
    metric = metrics(name)
    rows = numbers(metric, random_case(seed, name))
    assert low <= score(metric, rows) <= high


@pytest.mark.parametrize("name", OF_FRAMES)
def test_identical_frames(metrics, name):
    case, metric = random_case(3, name), metrics(name)
    rows = numbers(metric, replace(case, predicted=case.true))
    if name.endswith("/classes"):
        means, present = rows[..., : len(SPACE)], rows[..., len(SPACE) : 2 * len(SPACE)]
        rows = means[present == 1]
    if name == "ms-ssim@fvs":  # rounds the prediction
        assert ((rows > 0.999) & (rows < 1)).all()
    else:
        perfect = 0 if name == "psnr@pooled" else PERFECT[kind(name)]  # whose statistic is the MSE
        assert np.isfinite(rows).any() and (rows[np.isfinite(rows)] == perfect).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OF_FRAMES, "epe"])
@EVERY_SEED
@given(seed=SEEDS)
def test_more_noise_is_worse(metrics, name, seed):
    case, metric = random_case(seed, name, clips=1), metrics(name)
    if kind(name) == "lpips":
        rng = np.random.RandomState(seed)
        case = replace(case, true=np.float32(0.4 + 0.2 * rng.rand(*case.true.shape)))
    base = np.float32(0.3 + 0.4 * case.true)
    scores = []
    for size in (0.02, 0.08, 0.3):
        predicted = np.clip(base + np.float32(size) * (case.predicted - 0.5), 0, 1)
        flow = case.flow + np.float32(size) * case.predicted_flow
        rows = numbers(metric, replace(case, predicted=predicted, true=base, predicted_flow=flow))
        scores.append(score(metric, rows))
    better = sorted(scores, key=lambda value: cost(value, metric.info.better))
    assert scores == better and len(set(scores)) == 3


def put(value: np.ndarray, number: float) -> np.ndarray:
    value = value.copy()
    value[1, 1, ..., 2, 3] = number
    return value


@pytest.mark.parametrize("name", [n for n in OF_FRAMES if n in SMALLEST or kind(n) == "lpips"])
def test_too_small_frames_are_a_reason(metrics, name):
    side = SMALLEST.get(name, 31)
    frames = np.zeros((1, 2, 3, side, side + 5), np.float32)
    small = Case(frames[..., 1:, :], frames[..., 1:, :])
    reason = f"needs at least {side} pixels per side; these frames are {side - 1}x{side + 5}"
    assert metrics(name).measure(small.comparison()) == [[Undefined(reason)] * 2]


@pytest.mark.parametrize("name", ["miou", "miou@moving", *(n for n in NAMES if n.endswith("/classes"))])
@pytest.mark.parametrize("label", [-1, len(SPACE), 254])
def test_a_label_out_of_range_is_named(metrics, name, label):
    case = random_case(0, name)
    case = replace(case, labels=put(case.labels, label))
    with pytest.raises(
        MetricError, match=f"^{name}: clip 'clip1@0', step 2: the true label {label} is not among the 5"
    ):
        metrics(name).measure(case.comparison())


def test_the_cases_reach_what_metrics_look_at(metrics):
    case = random_case(1, "mse")
    assert all(np.isfinite(numbers(metrics(n), case)).any() for n in NAMES if kind(n) not in ("ms-ssim", "lpips"))
    assert torch.isfinite(case.comparison().future.flow).all()
