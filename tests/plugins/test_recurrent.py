"""The shared parts of the recurrent family: patches, the rollout, and frames that weights do not fit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context
from vpbench_recurrent.convlstm import ConvLSTM, Options
from vpbench_recurrent.patches import from_patches, to_patches
from vpbench_recurrent.rollout import Recurrence, roll_out

SMALL = {"hidden": (4,), "kernel": 3, "patch": 2}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def predict(model, frames, horizon):
    clips = tuple(f"clip{i}@0" for i in range(len(frames)))
    return model.predict(Context(frames=frames, clips=clips), horizon, []).frames


class TestPatches:
    @pytest.mark.parametrize("order", ["colour", "pixel"])
    def test_a_patch_is_a_place_and_its_pixels_are_channels(self, order):
        frames = noise(1, 1, 3, 4, 6)
        patches = to_patches(frames, 2, order)
        assert patches.shape == (1, 1, 12, 2, 3)
        for row, column in np.ndindex(2, 3):
            pixels = frames[0, 0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            pixels = pixels if order == "colour" else pixels.permute(1, 2, 0)
            assert torch.equal(patches[0, 0, :, row, column], pixels.flatten())

    @pytest.mark.parametrize("order", ["colour", "pixel"])
    @given(
        side=st.integers(1, 5),
        stride=st.integers(1, 3),
        channels=st.sampled_from([1, 3]),
        height=st.integers(1, 9),
        width=st.integers(1, 9),
    )
    def test_there_and_back_and_the_border_is_repeated(self, order, side, stride, channels, height, width):
        frames = noise(2, 3, channels, height, width)
        patches = to_patches(frames, side, order, stride)
        grid = [-(-length // (side * stride)) * stride for length in (height, width)]
        assert patches.shape == (2, 3, channels * side**2, *grid)
        assert torch.equal(from_patches(patches[:, 1], (height, width), side, order), frames[:, 1])
        padded = from_patches(patches[:, 1], (grid[0] * side, grid[1] * side), side, order)
        assert torch.equal(padded[..., -1, -1], frames[:, 1, :, -1, -1])


class Counter(Recurrence):
    """Predict twice the image, and list all images that were read."""

    def start(self, context):
        return ()

    def step(self, image, state):
        return 2 * image, (*state, float(image[0, 0, 0, 0]))


def reads(context, future, use_truth=None, **settings):
    """Roll the counter out over single values; return the predictions and the images that were read."""
    past, true = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (context, future))
    truth = None if use_truth is None else torch.tensor([use_truth], dtype=torch.bool)
    steps = list(roll_out(Counter(), past, len(future), true, truth, **settings))
    return [float(image) for image, _ in steps], list(steps[-1][1])


class TestRollOut:
    def test_every_image_after_the_first_is_predicted_from_true_ones_then_from_predictions(self):
        predictions, images = reads([0.1, 0.2, 0.1], [0.9, 0.9, 0.9])
        assert images == pytest.approx([0.1, 0.2, 0.1, 0.2, 0.4])
        assert predictions == pytest.approx([2 * image for image in images])

    @pytest.mark.parametrize(("clamp", "last"), [(True, 1.0), (False, 2.4)])
    def test_predictions_are_clamped_before_they_are_read(self, clamp, last):
        predictions, images = reads([0.6], [0.0, 0.0, 0.0], clamp=clamp)
        assert images == pytest.approx([0.6, 1.0 if clamp else 1.2, last])
        assert predictions[0] == pytest.approx(1.2)

    def test_true_images_of_the_future_are_read_where_they_are_marked(self):
        assert reads([0.1, 0.2], [0.3, 0.4, 0.5], [True, False])[1] == pytest.approx([0.1, 0.2, 0.3, 0.6])
        assert reads([0.1, 0.2], [0.3, 0.4, 0.5], [False, True])[1] == pytest.approx([0.1, 0.2, 0.4, 0.4])

    def test_in_reverse_predictions_of_the_context_are_read_where_the_truth_is_not_marked(self):
        marks = [False, True, False, True]
        images = reads([0.1, 0.3, 0.3], [0.2, 0.45, 0.5], marks)[1]
        assert images == pytest.approx([0.1, 0.2, 0.3, 0.6, 0.45])

    def test_a_network_has_no_penalty_unless_it_defines_one(self):
        assert Counter().penalty(()) is None


class TestFrames:
    def test_grey_frames_come_back_as_three_equal_channels(self):
        model = ConvLSTM(Options(**SMALL, channels=1))
        frames = noise(2, 3, 1, 5, 6).expand(-1, -1, 3, -1, -1)
        predicted = predict(model, frames, 2)
        assert predicted.shape == (2, 2, 3, 5, 6)
        assert torch.equal(predicted[:, :, 0], predicted[:, :, 2])

    def test_colours_for_grey_weights_are_an_error_that_names_both(self):
        with pytest.raises(PredictorError, match=r"convlstm: the model reads grey frames \(channels 1\), and the clip"):
            predict(ConvLSTM(Options(**SMALL, channels=1)), noise(1, 2, 3, 4, 4), 1)


@pytest.mark.parametrize("order", ["colour", "pixel"])
def test_the_order_of_patches_only_permutes_weights(order):
    """The same network on permuted channels predicts the same frames."""
    torch.manual_seed(0)
    model, changed = (ConvLSTM(Options(**SMALL, patch_order=name)) for name in ("colour", order))
    changed.load_state_dict(model.state_dict())
    index = torch.arange(12).view(3, 4).T.flatten() if order == "pixel" else torch.arange(12)
    with torch.no_grad():
        cell, head = changed.network.encoder.cells[0], changed.network.head
        cell.of_input.weight.copy_(model.network.encoder.cells[0].of_input.weight[:, index])
        head.weight.copy_(model.network.head.weight[index])
        head.bias.copy_(model.network.head.bias[index])
    frames = noise(1, 3, 3, 6, 8)
    torch.testing.assert_close(predict(changed, frames, 3), predict(model, frames, 3))


@pytest.mark.slow
def test_only_the_trainer_imports_lightning():
    code = "import sys, vpbench_recurrent.predictor, vpbench_recurrent.convlstm; assert 'lightning' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
