"""SADM's dynamics at a size of its own: what is resized, and that frames keep their size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sadm_models import SMALL, generators

from vpbench.plugin.clip import Context
from vpbench.toolkit.labels import CITYSCAPES19
from vpbench_sadm.options import Options
from vpbench_sadm.predictor import SADM
from vpbench_sadm.sizes import resized_flow, resized_labels, resized_log

FULL, HALF = (16, 24), (8, 8)


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def context() -> Context:
    labels = (19 * random(2, 4, *FULL, seed=0)).long()
    frames, flow = random(2, 4, 3, *FULL, seed=1), random(2, 3, 2, *FULL, seed=2)
    return Context(frames, ("a@0", "b@0"), labels, flow, CITYSCAPES19)


def predict(clips: Context, **options):
    torch.manual_seed(0)
    network = SADM(Options(**SMALL | {"classes": 19} | options)).eval()
    return network.predict(clips, 2, generators())


def test_flow_is_scaled_by_each_side() -> None:
    flow = torch.tensor([6.0, 8.0])[:, None, None].expand(2, 3, 2, *FULL)
    half = torch.tensor([2.0, 4.0])[:, None, None].expand(2, 3, 2, *HALF)
    assert torch.equal(resized_flow(flow, HALF), half)
    assert torch.equal(resized_flow(half, FULL), flow)


def test_labels_are_those_of_the_nearest_pixel() -> None:
    labels = (19 * random(2, 4, *FULL, seed=0)).long()
    assert torch.equal(resized_labels(labels, HALF), labels[..., ::2, ::3])


def test_probabilities_stay_a_distribution() -> None:
    log = torch.randn(2, 3, 5, *HALF, generator=torch.Generator().manual_seed(0)).mul(50).log_softmax(dim=2)
    larger = resized_log(log, FULL)
    assert larger.shape == (2, 3, 5, *FULL) and larger.isfinite().all()
    assert torch.allclose(larger.exp().sum(dim=2), torch.ones(()), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_the_dynamics_predicts_at_its_size_and_frames_keep_theirs() -> None:
    clips = context()
    assert clips.semantics is not None and clips.flow is not None
    small = replace(
        clips,
        frames=clips.frames[..., ::2, ::3],
        semantics=resized_labels(clips.semantics, HALF),
        flow=resized_flow(clips.flow, HALF),
    )
    prediction, expected = predict(clips, dynamics_size=HALF), predict(small)
    assert torch.allclose(prediction.flow, resized_flow(expected.flow, FULL), atol=1e-5)
    assert torch.allclose(prediction.semantics, resized_log(expected.semantics, FULL), atol=1e-5)
    assert prediction.frames.shape == (2, 2, 3, *FULL)


@pytest.mark.filterwarnings("ignore")
def test_the_frames_own_size_changes_nothing() -> None:
    prediction, expected = predict(context(), dynamics_size=FULL), predict(context())
    for modality in ("frames", "semantics", "flow"):
        assert torch.equal(getattr(prediction, modality), getattr(expected, modality))
