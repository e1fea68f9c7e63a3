"""SADM's inference against manual computations: a clip that moves by whole pixels, with true labels and flow."""

from __future__ import annotations

import pytest
import torch
from sadm_models import ROLLOUTS, options
from torch import nn

from vpbench.plugin.clip import Context, LabelSpace
from vpbench_sadm.predictor import SADM
from vpbench_sadm.training import stages

STREET = LabelSpace("street", ("ground", "car", "river"), ((0, 0, 0), (255, 0, 0), (0, 0, 255)))
H, W, PAST, STEPS = 16, 24, 3, 3
GREY = 0.5
"""The value that an untrained inpainter leaves in a hole. It changes nothing elsewhere."""

LAYERS = (
    (0, (0, W), (0, H), [(0, 0)] * 6),
    (1, (0, 5), (0, 3), [(1, 1), (2, 1), (4, 2), (7, 2), (9, 3), (12, 4)]),
    (2, (-50, 50), (9, 15), [(3 * t, 0) for t in range(6)]),
    (2, (0, 3), (10, 13), [(14 - t, 0) for t in range(6)]),
)
"""From back to front: class, columns and rows in its own coordinates, and where these are in each frame.

Ground at rest, a car, a river that comes in from the left, and, of the river's class, slower, against its stream, a
swimmer: only its motion in the frame before shows that it hides the river, and not the river it.
"""


class Scene:
    """The clip, drawn. Each pixel knows what it shows, so it is known which pixels were visible when."""

    def __init__(self):
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        times, last = range(PAST + STEPS), PAST - 1
        points = torch.zeros(len(times), H, W, dtype=torch.int64)
        labels, flow = torch.zeros_like(points), torch.zeros(len(times), 2, H, W)
        for number, (label, (left, right), (top, bottom), places) in enumerate(LAYERS):
            for t in times:
                u, v = x - places[t][0], y - places[t][1]
                area = (left <= u) & (u < right) & (top <= v) & (v < bottom)
                points[t, area] = (number * 10**4 + v * 100 + u + 50)[area]
                labels[t, area] = label
                flow[t, :, area] = torch.tensor(places[max(t - 1, 0)]).sub(torch.tensor(places[t]))[:, None].float()
        paint = 0.6 + 0.25 * torch.rand(len(LAYERS) * 10**4, 3, generator=torch.Generator().manual_seed(0))
        self.frames, self.labels, self.flow = paint[points].movedim(3, 1)[None], labels[None], flow[None, 1:]
        visible = [[torch.isin(points[t], points[s]) for s in range(last, t)] for t in times[PAST:]]
        self.new = ~torch.stack([since[-1] for since in visible])[None]
        self.hole = ~torch.stack([torch.stack(since).all(dim=0) for since in visible])[None]
        self.true = self.frames[:, PAST:]

    def context(self):
        return Context(self.frames[:, :PAST], ("clip@0",), self.labels[:, :PAST], self.flow[:, : PAST - 1], STREET)

    def model(self, **changes):
        """An untrained model with the true future as its dynamics."""
        torch.manual_seed(0)
        model = SADM(options(latent_stride=2, **changes)).eval()
        sure = nn.functional.one_hot(self.labels[:, PAST:], 3).movedim(-1, 2) * 0.97 + 0.01
        model.dynamics.forward = lambda labels, flow, horizon, noise=None: (sure.log(), self.flow[:, PAST - 1 :])
        return model

    def predict(self, model):
        return model.predict(self.context(), STEPS, [torch.Generator()])


@pytest.fixture(scope="module")
def scene():
    return Scene()


def trainable(model):
    return {name.partition(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_the_scene_by_hand(scene):
    """3 columns of 6 come in, the swimmer uncovers 3 of 3, and the car what it leaves of its 15 pixels."""
    assert scene.new.sum(dim=(0, 2, 3)).tolist() == [18 + 9 + 9, 18 + 9 + 9, 18 + 9 + 11]
    assert scene.new[0, 0, 2].nonzero().flatten().tolist() == [4, 5, 6], "the car was at 4, is at 7"
    assert scene.new[0, 0, 10].nonzero().flatten().tolist() == [0, 1, 2, 15, 16, 17], "the swimmer was at 12"
    assert scene.hole[0, 1, 10].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5, 14, 15, 16, 18, 19, 20]


@pytest.mark.parametrize("rollout", ROLLOUTS)
class TestInference:
    def test_predicts_the_true_frames_where_all_was_visible_and_grey_elsewhere(self, scene, rollout):
        model, probabilities = scene.model(rollout=rollout), []
        model.inpainter.register_forward_pre_hook(lambda module, args: probabilities.append(args[2]))
        prediction = scene.predict(model)
        assert torch.equal(prediction.frames, torch.where(scene.hole[:, :, None], GREY, scene.true))
        assert torch.equal(prediction.disocclusion, scene.new), "only what each step uncovers"
        assert torch.equal(prediction.semantics.argmax(dim=2), scene.labels[:, PAST:])
        assert torch.equal(prediction.flow, scene.flow[:, PAST - 1 :])
        torch.testing.assert_close(torch.cat(probabilities), prediction.semantics[0].exp())

    def test_warped_frames_are_the_true_ones_outside_the_hole(self, scene, rollout):
        """With the pixels that the steps before completed, if they did."""
        warped = scene.predict(scene.model(rollout=rollout, emit="warped")).frames
        visible = ~scene.hole[:, :, None].expand_as(warped)
        assert torch.equal(warped[visible], scene.true[visible])
        if rollout == "iterative":
            completed = (scene.hole & ~scene.new)[:, :, None].expand_as(warped)
            assert completed.any() and warped[completed].eq(GREY).all()

    def test_stage_1_is_validated_without_the_untrained_inpainter(self, scene, rollout):
        model = scene.model(rollout=rollout)
        nn.init.normal_(model.inpainter.residual.weight, std=0.5)
        first, second = stages(model, None)
        second.setup("fit")
        first.setup("fit")
        assert trainable(model) == {"dynamics"}
        frames = scene.predict(model).frames
        visible = ~scene.hole[:, :, None].expand_as(frames)
        assert torch.equal(frames[visible], scene.true[visible])
        second.setup("fit")
        assert trainable(model) == {"inpainter"}
        assert not torch.equal(scene.predict(model).frames, frames)
