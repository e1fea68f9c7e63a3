"""Where the error is: regions from flow, masks and frames, and errors restricted to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from golden.cases import rand, truth_of

from vpbench.errors import MetricError
from vpbench.plugin.clip import Comparison, Future, LabelSpace, Prediction
from vpbench.plugin.metric import Setting, Undefined, Value
from vpbench_metrics import regional
from vpbench_metrics.regions import region

EMPTY = Undefined("the region is empty")


def sliding(steps=3, height=4, width=8, speed=1):
    """A world that moves to the right: what enters at the left is new."""
    flow = torch.zeros(1, steps, 2, height, width)
    flow[:, :, 0] = -speed
    hidden = torch.zeros(1, steps, height, width, dtype=torch.bool)
    hidden[..., :speed] = True
    return truth_of(rand(1, steps, 3, height, width), flow=flow, disocclusion=hidden)


def test_what_the_last_context_frame_did_not_show_accumulates():
    truth = sliding()
    masks = region(truth, "disoccluded", "mse/disoccluded")
    for k, mask in enumerate(masks[0], 1):
        expected = torch.zeros(4, 8, dtype=torch.bool)
        expected[:, :k] = True
        assert torch.equal(mask, expected)
    covisible = region(truth, "covisible", "mse/covisible")
    assert all(torch.equal(a, ~b) for a, b in zip(covisible[0], masks[0], strict=True))


def test_what_comes_from_outside_was_not_visible_even_where_no_mask_says_so():
    truth = sliding()
    truth.disocclusion.zero_()
    assert [int(mask.sum()) for mask in region(truth, "disoccluded", "m")[0]] == [4, 8, 12]


def test_a_pixel_uncovered_once_stays_new_where_it_goes():
    flow = torch.zeros(1, 3, 2, 1, 6)
    hidden = torch.zeros(1, 3, 1, 6, dtype=torch.bool)
    hidden[0, 0, 0, 2] = True  # uncovered at step 1, then moves right by 1.4, then by 1
    flow[0, 1, 0, 0, 3] = -1.4
    flow[0, 2, 0, 0, 4] = -1.0
    truth = truth_of(rand(1, 3, 3, 1, 6), flow=flow, disocclusion=hidden)
    columns = [mask[0].nonzero().flatten().tolist() for mask in region(truth, "disoccluded", "m")[0]]
    assert columns == [[2], [2, 3], [2, 3, 4]]


def test_steps_between_must_be_scored():
    truth = sliding(steps=2)
    gap = Future(
        **{**{k: getattr(truth, k) for k in ("frames", "clips", "last", "flow", "disocclusion")}, "steps": (1, 3)}
    )
    value = region(gap, "covisible", "m")[0][1]
    assert isinstance(value, Undefined) and "every step from the first" in value.reason


def test_moving_is_what_differs_from_the_camera():
    frames = rand(1, 1, 3, 2, 3)
    camera = torch.full((1, 1, 2, 2, 3), 5.0)
    flow = camera.clone()
    flow[0, 0, 0, 0, 0] += 1.01
    flow[0, 0, 1, 1, 2] -= 0.99
    truth = truth_of(frames, flow=flow, camera_flow=camera)
    assert region(truth, "moving", "m")[0][0].nonzero().tolist() == [[0, 0]]
    assert int(region(truth, "static", "m")[0][0].sum()) == 5


def test_moving_without_the_cameras_flow_is_a_difference_of_frames():
    last = torch.full((1, 3, 2, 3), 0.5)
    frames = last[:, None].repeat(1, 2, 1, 1, 1)
    frames[0, 0, 2, 0, 1] = 0.56
    frames[0, 1, :, 1, 0] = 0.54
    truth = truth_of(frames, last=last)
    first, second = region(truth, "moving", "m")[0]
    assert first.nonzero().tolist() == [[0, 1]]
    assert second.nonzero().tolist() == [[0, 1]]  # it moved back
    gap = truth_of(frames, last=last, steps=(2, 3))
    values = region(gap, "static", "m")[0]
    assert isinstance(values[0], Undefined) and values[1].sum() == 5


def test_an_empty_region_is_undefined_and_the_truth_is_perfect_elsewhere():
    frames = torch.full((1, 2, 3, 4, 5), 0.3)
    comparison = Comparison(Prediction(frames=frames.clone()), truth_of(frames))
    assert regional.MSEMoving().measure(comparison) == [[EMPTY, EMPTY]]
    assert regional.PSNRStatic().measure(comparison) == [[Value(100.0, note="floored")] * 2]
    assert regional.MAEStatic().measure(comparison) == [[0.0, 0.0]]


SPACE = LabelSpace("three", ("a", "b", "c"), ((0, 0, 0),) * 3)


def test_errors_by_class_are_means_over_the_frames_that_show_it():
    frames = torch.zeros(2, 1, 3, 1, 4)
    labels = torch.tensor([[[[0, 0, 1, 255]]], [[[0, 255, 255, 255]]]])
    predicted = frames.clone()
    predicted[0, 0, :, 0] = torch.tensor([0.1, 0.3, 0.5, 1.0])
    predicted[1, 0, :, 0, 0] = 0.4
    truth = truth_of(frames, semantics=labels, label_space=SPACE)
    metric = regional.MAEByClass()
    rows = [clip[0] for clip in metric.measure(Comparison(Prediction(frames=predicted), truth))]
    assert rows == [pytest.approx([0.2, 0.5, 0, 1, 1, 0]), pytest.approx([0.4, 0, 0, 1, 0, 0])]
    details = metric.finalise(rows)
    assert (details["class 0"], details["class 1"]) == (pytest.approx(0.3), pytest.approx(0.5))
    assert math.isnan(details["class 2"]) and details["score"] == pytest.approx(0.4)
    scores = metric.resample([[row] for row in rows], np.array([[0, 1], [0, 0], [1, 1]]))
    np.testing.assert_allclose(scores, [0.4, 0.35, 0.4], rtol=1e-6)
    assert math.isnan(metric.finalise([])["score"])


def test_a_frame_without_labels_is_undefined():
    frames = torch.zeros(1, 1, 3, 1, 2)
    truth = truth_of(frames, semantics=torch.full((1, 1, 1, 2), 255), label_space=SPACE)
    rows = regional.MSEByClass().measure(Comparison(Prediction(frames=frames), truth))
    assert rows == [[Undefined("no pixel of the true frame is labelled")]]


def test_floored_frames_are_counted_by_class_too():
    frames = torch.full((2, 1, 3, 1, 4), 0.5)
    labels = torch.tensor([[[[0, 0, 1, 1]]], [[[0, 0, 0, 255]]]])
    predicted = frames.clone()
    predicted[0, 0, :, 0, 2:] = 0.6
    predicted[1, 0, :, 0, 0] = 0.6
    truth = truth_of(frames, semantics=labels, label_space=SPACE)
    metric = regional.PSNRByClass()
    rows = [clip[0] for clip in metric.measure(Comparison(Prediction(frames=predicted), truth))]
    third = -10 * math.log10(0.01 / 3)
    assert rows == [pytest.approx([100, 20, 0, 1, 1, 0, 1], rel=1e-6), pytest.approx([third, 0, 0, 1, 0, 0, 0])]
    details = metric.finalise(rows)
    assert details["floored"] == 1
    assert details["score"] == pytest.approx(((100 + third) / 2 + 20) / 2)
    np.testing.assert_allclose(metric.resample([[row] for row in rows], np.array([[0, 1]])), [details["score"]])
    assert "floored" not in regional.MSEByClass().finalise([[0.1, 0, 0, 1, 0, 0]])


def test_where_they_cannot_apply():
    frames = frozenset({"frames"})
    masks = frozenset({"frames", "flow", "disocclusion"})
    assert regional.MSEDisoccluded().why_not(Setting(None, frames, frames)) == "the dataset has no flow"
    assert regional.MSEDisoccluded().why_not(Setting(None, masks, frames)) == ""
    assert regional.MSEMoving().why_not(Setting(None, frames, frames)) == ""
    assert regional.MSEMoving.info.truth == ("flow", "camera_flow")
    assert regional.MSEByClass().why_not(Setting(None, frames, frames)) == "the dataset has no semantics"
    named = frozenset({"frames", "semantics"})
    assert regional.MSEByClass().why_not(Setting(None, named, frames)) == "the dataset names no label space"
    space = LabelSpace("two", ("a", "b"), ((0, 0, 0), (1, 1, 1)))
    larger = Setting((64, 96), named, frames, space, label_size=(128, 192))
    assert regional.MSEByClass().why_not(larger) == "the labels are 128x192 and the frames 64x96"
    assert regional.MSEByClass().why_not(Setting((64, 96), named, frames, space, label_size=(64, 96))) == ""


def test_true_flow_of_another_size_than_the_frames_is_named():
    truth = sliding()
    small = truth_of(truth.frames, flow=truth.flow[..., :4], disocclusion=truth.disocclusion)
    with pytest.raises(MetricError, match=r"mae/disoccluded: the true flow must be of the frames' size, .4, 8.; it is"):
        regional.MAEDisoccluded().measure(Comparison(Prediction(frames=truth.frames), small))


@pytest.mark.slow
def test_regions_of_a_run(tmp_path):
    """The toy's pictures slide by one pixel: what a repeated frame cannot know is one more column per step."""
    import vpbench as api
    from vpbench.plugin.loader import load_plugins

    plugins = load_plugins(["tests/toys.py"])
    protocol = tmp_path / "toy.toml"
    protocol.write_text(
        'schema = 1\nname = "toy-2to3"\nversion = 1\n[dataset]\nname = "toy"\n'
        '[sampling]\nkind = "first"\ncontext = 2\nhorizon = 3\n'
    )
    names = ("mse", "mse/disoccluded", "mse/covisible", "mse/moving", "psnr/static", "mae/classes", "copy-index")
    result = api.evaluate(
        "last", str(protocol), plugins=plugins, out=tmp_path / "out", metrics=names, clips=4, device="cpu"
    )
    for step in (1, 2, 3):
        share = step / 24
        parts = result.at("mse/disoccluded", step) * share + result.at("mse/covisible", step) * (1 - share)
        assert parts == pytest.approx(result.at("mse", step), rel=1e-6)
        assert result.at("copy-index", step) == 0.0


@pytest.mark.parametrize("name", ["moving", "static", "covisible", "disoccluded"])
def test_a_pixel_whose_true_flow_is_unknown_is_in_no_region(name):
    flow = torch.zeros(1, 1, 2, 4, 6)
    flow[..., 0, 0] = float("nan")
    frames = rand(1, 1, 3, 4, 6)
    future = Future(
        frames=frames, steps=(1,), clips=("a@0",), last=frames[:, 0], flow=flow, camera_flow=torch.zeros_like(flow),
        disocclusion=torch.zeros(1, 1, 4, 6, dtype=torch.bool),
    )  # fmt: skip
    [[mask]] = region(future, name, "mse")
    assert not mask[0, 0]
    [[complement]] = region(future, {"moving": "static", "static": "moving"}.get(name, "covisible"), "mse")
    assert complement[1:].any() or mask[1:].any()
