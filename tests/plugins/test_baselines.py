"""repeat and flow-extrapolation: the convention of the flow, exactly known motion, and batches."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context, LabelSpace
from vpbench.toolkit.warp import grid, sample
from vpbench_annotators.dis import Dis
from vpbench_baselines.extrapolation import FlowExtrapolation
from vpbench_baselines.repeat import Repeat
from vpbench_baselines.warp import _land, extrapolate

SPACE = LabelSpace("two", ("ground", "thing"), ((0, 0, 0), (255, 255, 255)))


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def context(frames, **modalities):
    return Context(frames=frames, clips=tuple(f"clip{i}@0" for i in range(len(frames))), **modalities)


def constant(x, y, height=12, width=16, batch=1):
    return torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).expand(batch, 2, height, width).contiguous()


def texture(height=80, width=96, seed=0):
    """A smooth random picture, float64 [H,W,3] in [0,1]."""
    picture = cv2.GaussianBlur(np.random.default_rng(seed).random((height, width, 3)), (0, 0), 1.5)
    return (picture - picture.min()) / (picture.max() - picture.min())


def moving(x, y, count, size=(48, 64)):
    """Frames [1,T,3,H,W] of a texture that moves by (x, y) whole pixels per frame."""
    picture = texture(size[0] + 40, size[1] + 60)
    views = [picture[20 - y * t :, 30 - x * t :][: size[0], : size[1]] for t in range(count)]
    return torch.from_numpy(np.stack(views)).float().permute(0, 3, 1, 2)[None]


class TestRepeat:
    def test_every_step_is_the_last_frame_with_its_labels(self):
        frames = noise(2, 3, 3, 5, 6)
        labels = torch.randint(0, 2, (2, 3, 5, 6), generator=torch.Generator().manual_seed(0))
        prediction = Repeat().predict(context(frames, semantics=labels, label_space=SPACE), 4, [])
        assert prediction.frames.shape == (2, 4, 3, 5, 6)
        assert all(torch.equal(prediction.frames[:, k], frames[:, -1]) for k in range(4))
        assert all(torch.equal(prediction.semantics[:, k], labels[:, -1]) for k in range(4))
        assert prediction.label_space is SPACE
        prediction.frames[:, 0] = 0  # a step of its own, not a view of the context
        assert frames[:, -1].min() > 0
        assert prediction.frames[:, 1].min() > 0

    def test_without_labels_it_predicts_none(self):
        assert Repeat().predict(context(noise(1, 1, 3, 2, 2)), 2, []).semantics is None


class TestCarryOn:
    @pytest.mark.parametrize("speed", [2, -2])
    def test_a_moving_block_covers_what_lies_before_it_and_reveals_what_lies_behind(self, speed):
        """Columns 6..11 move by 2 over a still ground (backward flow: the opposite)."""
        flow = torch.zeros(1, 2, 4, 20)
        flow[:, 0, :, 6:12] = -speed
        carried, revealed = extrapolate(flow)
        block, behind = ((8, 14), (6, 8)) if speed > 0 else ((4, 10), (10, 12))
        expected = torch.zeros(20)
        expected[slice(*block)] = -speed
        expected[slice(*behind)] = -speed  # draws in the ground behind the block
        assert torch.equal(carried[0, 0], expected.expand(4, 20))
        assert revealed[0].nonzero()[:, 1].unique().tolist() == list(range(*behind))

    def test_a_moving_block_is_drawn_whole_for_several_steps(self):
        frame, flow = torch.zeros(1, 2, 3, 6, 24), torch.zeros(1, 1, 2, 6, 24)
        frame[:, -1, :, 2:4, 3:7] = 1
        flow[:, :, 0, 2:4, 3:7] = -3
        prediction = FlowExtrapolation().predict(context(frame, flow=flow), 4, [])
        for step in range(1, 5):
            expected = torch.zeros(6, 24)
            expected[2:4, 3 + 3 * step : 7 + 3 * step] = 1
            assert torch.equal(prediction.frames[0, step - 1, 0], expected)

    def test_the_fastest_is_in_front(self):
        flow = torch.zeros(1, 2, 1, 12)
        flow[0, 0, 0, 2], flow[0, 0, 0, 7] = -3, 2  # both land on column 5
        assert extrapolate(flow)[0][0, 0, 0, 5] == -3
        assert _land(flow)[1][0, 0, 4:7].tolist() == [4, 2, 6]  # a neighbour that nothing lands on keeps its own

    def test_a_linear_flow_is_solved(self):
        """f(x) = a x: then g(x) = a (x + g(x)), so g(x) = a x / (1 - a)."""
        x = grid(constant(0, 0, 4, 40))[0]
        flow = torch.stack([0.1 * x, torch.zeros_like(x)])[None]
        torch.testing.assert_close(extrapolate(flow)[0][0, 0, :, :30], (0.1 * x / 0.9)[:, :30], atol=1e-3, rtol=0)

    def test_what_enters_at_the_border_is_new(self):
        revealed = extrapolate(constant(-3, 0, 4, 20))[1]  # moves to the right: the three columns on the left are new
        assert revealed[0].nonzero()[:, 1].unique().tolist() == [0, 1, 2]
        revealed = extrapolate(constant(0, 1, 4, 20))[1]  # moves up: the last row is new
        assert revealed[0].nonzero()[:, 0].unique().tolist() == [3]
        assert not extrapolate(constant(0, 0))[1].any()

    @pytest.mark.parametrize(("zoom", "new"), [(1.28, False), (1.6, True)])
    def test_what_grows_fast_is_partly_new(self, zoom, new):
        """Pixel q moves to c + (q - c) zoom; the least covered is covered by (2 - zoom)^2."""
        centre = torch.tensor([20.0, 15.0]).view(2, 1, 1)
        pixels = grid(constant(0, 0, 31, 41))
        revealed = extrapolate(((pixels - centre) * (1 - zoom))[None])[1]
        assert revealed[0, 8:-8, 8:-8].any() == new

    @pytest.mark.parametrize(("shift", "columns"), [(0.4, []), (0.6, [0]), (1.4, [0]), (1.6, [0, 1])])
    def test_disocclusion_begins_at_half_a_pixel(self, shift, columns):
        assert extrapolate(constant(-shift, 0, 3, 8))[1][0].nonzero()[:, 1].unique().tolist() == columns

    def test_flow_far_beyond_the_frame_reveals_everything(self):
        assert extrapolate(constant(1e6, -1e6))[1].all()


class TestFlowExtrapolation:
    @pytest.mark.parametrize(("x", "y"), [(2, 0), (0, -1), (-3, 2)])
    def test_known_constant_motion_is_predicted_exactly(self, x, y):
        clip = moving(x, y, 7)
        flow = -constant(x, y, 48, 64)[:, None].repeat(1, 2, 1, 1, 1)  # backward: against the motion
        prediction = FlowExtrapolation().predict(context(clip[:, :3], flow=flow), 4, [])
        inside = (..., slice(8, -8), slice(12, -12))
        assert torch.equal(prediction.frames[inside], clip[:, 3:][inside])
        assert torch.equal(prediction.flow, flow[:, :1].repeat(1, 4, 1, 1, 1))

    def test_only_the_last_flow_counts(self):
        flow = torch.stack([constant(5, 5), constant(1, 0)], dim=1)
        prediction = FlowExtrapolation().predict(context(noise(1, 3, 3, 12, 16), flow=flow), 1, [])
        assert torch.equal(prediction.flow[:, 0], constant(1, 0))

    def test_each_frame_is_one_warp_of_the_last_real_frame(self):
        frame, flow = noise(1, 2, 3, 12, 16), constant(-0.5, 0.25)
        prediction = FlowExtrapolation().predict(context(frame, flow=flow[:, None]), 4, [])
        once = sample(frame[:, -1], grid(flow) + 4 * flow)
        torch.testing.assert_close(prediction.frames[0, 3, :, :7, 3:], once[0, :, :7, 3:], atol=1e-6, rtol=0)
        assert torch.equal(once[..., :7, 3:], frame[:, -1, :, 1:8, 1:-2])  # whole pixels again: nothing was blurred

    def test_labels_move_with_the_frame(self):
        labels = torch.zeros(1, 2, 12, 16, dtype=torch.int64)
        labels[:, -1, 4:8, 4:8] = 1
        flow = constant(-2, 1)[:, None]
        clip = context(noise(1, 2, 3, 12, 16), semantics=labels, flow=flow, label_space=SPACE)
        prediction = FlowExtrapolation().predict(clip, 2, [])
        expected = torch.zeros(12, 16, dtype=torch.int64)
        expected[2:6, 8:12] = 1
        assert torch.equal(prediction.semantics[0, 1], expected)
        assert prediction.semantics.dtype == torch.int64
        assert prediction.label_space is SPACE

    @pytest.mark.parametrize("flow", [None, torch.zeros(1, 0, 2, 12, 16)])
    def test_one_context_frame_is_repeated(self, flow):
        frame = noise(1, 1, 3, 12, 16)
        prediction = FlowExtrapolation().predict(context(frame, flow=flow), 3, [])
        assert torch.equal(prediction.frames, frame.repeat(1, 3, 1, 1, 1))
        assert not prediction.flow.any()
        assert not prediction.disocclusion.any()
        assert prediction.semantics is None

    def test_the_estimate_is_that_of_the_annotator_dis(self):
        clip = moving(3, -2, 3)
        window = (clip[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        pairs = np.stack([window[:-1], window[1:]], axis=1)
        annotation = torch.from_numpy(Dis(Dis.Options()).annotate({"frames": pairs}, ["clip@0-1", "clip@1-2"], "cpu"))
        flow = annotation.permute(0, 3, 1, 2)[None]
        estimated, annotated = (FlowExtrapolation().predict(context(clip, flow=f), 2, []) for f in (None, flow))
        for name, value in estimated.tensors().items():
            assert torch.equal(value, annotated.tensors()[name])
        assert estimated.flow[0, 0, :, 10:-10, 10:-10].mean(dim=(1, 2)).tolist() == pytest.approx([-3, 2], abs=0.1)

    def test_beats_repeat_at_the_next_frame_of_a_real_drive(self, shared):
        paths = sorted((shared / "data/kitti_raw").rglob("*.png"))[:4]
        views = [cv2.resize(cv2.imread(str(path))[..., ::-1], (416, 128)) for path in paths]
        clip = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)[None].float() / 255
        errors = [
            (model.predict(context(clip[:, :3]), 1, []).frames - clip[:, 3:]).square().mean()
            for model in (FlowExtrapolation(), Repeat())
        ]
        assert errors[0] < 0.8 * errors[1]

    @given(seed=st.integers(0, 10**6), strength=st.floats(0, 20))
    def test_a_clip_is_predicted_the_same_alone_and_for_fewer_steps(self, seed, strength):
        frames, flow = noise(3, 2, 3, 16, 20, seed=seed), (noise(3, 1, 2, 16, 20, seed=seed + 1) - 0.5) * strength
        labels = (noise(3, 2, 16, 20, seed=seed + 2) * 2).long()
        for clip_flow in (flow, None):
            batch = FlowExtrapolation().predict(context(frames, flow=clip_flow, semantics=labels), 3, [])
            single = context(frames[1:2], flow=None if clip_flow is None else flow[1:2], semantics=labels[1:2])
            fewer = FlowExtrapolation().predict(single, 2, []).tensors()
            assert fewer.keys() == {"frames", "semantics", "flow", "disocclusion"}
            for name, value in batch.tensors().items():
                assert torch.equal(value[1:2, :2], fewer[name])
            assert batch.frames.min() >= 0 and batch.frames.max() <= 1

    def test_frames_too_small_for_an_estimate_are_an_error(self):
        small = noise(1, 2, 3, 8, 10)
        with pytest.raises(PredictorError, match="DIS finds no optical flow in frames of 8x10"):
            FlowExtrapolation().predict(context(small), 1, [])
        prediction = FlowExtrapolation().predict(context(small, flow=constant(0, 0, 8, 10)[:, None]), 1, [])
        assert torch.equal(prediction.frames[:, 0], small[:, -1])
