"""The models of the recurrent family: counts of the literature, and the promises of every predictor."""

from __future__ import annotations

import jaxtyping
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context
from vpbench_recurrent.convlstm import ConvLSTM
from vpbench_recurrent.crevnet import CrevNet
from vpbench_recurrent.mim import MIM
from vpbench_recurrent.motionrnn import MotionRNN
from vpbench_recurrent.phydnet import PhyDNet
from vpbench_recurrent.predrnn import PredRNN, PredRNNV2
from vpbench_recurrent.rollout import roll_out

STACKS = (PredRNN, PredRNNV2, MIM, MotionRNN)
MODELS = (*STACKS, PhyDNet, CrevNet)
SMALL = {model: {"layers": 3, "hidden": 4, "kernel": 3, "patch": 2} for model in STACKS}
SMALL |= {
    PhyDNet: {"base": 20, "hidden": (4,)},
    CrevNet: {"layers": 2, "blocks": (2,), "norm": "group", "recompute": False},
}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def small(model, seed=0, **options):
    """A small model with weights large enough to show every mistake."""
    torch.manual_seed(seed)
    predictor = model(model.Options(**SMALL[model] | options)).eval()
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return predictor


def predict(model, frames, horizon):
    clips = tuple(f"clip{i}@0" for i in range(len(frames)))
    return model.predict(Context(frames=frames, clips=clips), horizon, []).frames


def on_meta(model, preset, **options):
    with torch.device("meta"):
        return model(model.Options(**{**model.presets[preset], **options}))


@pytest.mark.parametrize(
    ("model", "preset", "options", "count"),
    [
        (ConvLSTM, "openstl-grey", {}, 11_675_648),
        (PredRNN, "openstl-grey", {}, 23_838_720),
        (PredRNN, "openstl", {}, 24_559_616),
        (PredRNN, "paper", {}, 6_410_240),
        (PredRNNV2, "openstl-grey", {}, 23_855_104),
        (PredRNNV2, "openstl", {}, 24_576_000),
        (PredRNNV2, "paper", {}, 6_414_336),
        (MotionRNN, "paper", {}, 7_214_657),
        # OpenSTL's 38.0 M and 47.6 M count a 1x1 convolution of each non-stationary module, which it never uses.
        (MIM, "openstl-grey", {}, 38_043_648 - 3 * 2 * 128**2),
        (MIM, "openstl", {}, 47_611_904 - 3 * 2 * 128**2),
        (PhyDNet, "openstl-grey", {}, 3_091_732),
        (PhyDNet, "openstl", {}, 3_092_886),
        (CrevNet, "openstl-grey", {}, 4_997_444),
        (CrevNet, "paper", {}, 46_951_524),
    ],
)
def test_counts_of_the_literature_are_met_to_the_digit(model, preset, options, count):
    assert sum(p.numel() for p in on_meta(model, preset, **options).parameters()) == count


@pytest.mark.parametrize("model", MODELS)
def test_tiny_has_less_than_a_million_parameters(model):
    assert sum(p.numel() for p in on_meta(model, "tiny").parameters()) < 1_000_000


def multiply_adds(network, images, context, horizon=4):
    """Multiply-adds of one clip: FlopCounterMode counts both operations of each."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        list(roll_out(network, torch.empty(1, context, *images), horizon))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(("model", "parameters", "giga"), [(PredRNN, 23_658_496, 42.40), (MIM, 37_765_120, 64.1)])
def test_cost_on_taxibj_is_openstls(model, parameters, giga):
    """TaxiBJ has frames of 32x32 with 2 channels, in patches of 2x2, 4 to 4; its GFLOP are multiply-adds."""
    predictor = on_meta(model, "openstl", **({"size": (64, 64)} if model is MIM else {}))
    with torch.device("meta"):
        network = type(predictor.network)(8, predictor.options)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert multiply_adds(network, (8, 16, 16), 4) / 1e9 == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize(
    ("channels", "stride", "side", "context", "horizon", "giga"),
    [
        pytest.param(1, 4, 64, 10, 10, 15.3, id="moving mnist", marks=pytest.mark.slow),
        pytest.param(2, 2, 32, 4, 4, 5.6, id="taxibj"),
    ],
)
def test_cost_of_phydnet_is_openstls(channels, stride, side, context, horizon, giga):
    """OpenSTL also convolves the hidden states of zeros in the first step."""
    options = PhyDNet.Options().model_copy(update={"channels": channels, "stride": stride})
    with torch.device("meta"):
        network = type(PhyDNet(options).network)(options)
    total = multiply_adds(network, (channels, side, side), context, horizon)
    total += (side // stride) ** 2 * sum(cell.of_hidden.weight.numel() for cell in network.unknown)
    assert total / 1e9 == pytest.approx(giga, rel=0.01)


def test_cost_of_crevnet_is_openstls():
    """OpenSTL's 270.7 G are of a training step of the official code: 16 clips, 17 windows of 3 frames, 8 to 10."""
    network = CrevNet(CrevNet.Options(**CrevNet.presets["openstl-grey"])).eval().network
    images = torch.rand(2, 1, 1, 64, 64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.step(images[:, 0], network.start(images))
    assert 16 * 17 * counter.get_total_flops() / 4 / 1e9 == pytest.approx(270.7, rel=0.01)


@pytest.mark.parametrize("model", MODELS)
class TestPromises:
    def test_any_size_and_context_alone_or_in_a_batch_for_fewer_steps_or_more(self, model):
        predictor, frames = small(model), noise(3, 3, 3, 7, 9)
        predicted = predict(predictor, frames, 5)
        assert predicted.shape == (3, 5, 3, 7, 9)
        assert ((predicted >= 0) & (predicted <= 1)).all()
        torch.testing.assert_close(predict(predictor, frames[1:2], 2), predicted[1:2, :2], atol=1e-5, rtol=0)
        assert predict(predictor, frames[:, :1], 1).shape == (3, 1, 3, 7, 9)

    def test_every_context_frame_and_their_order_matter(self, model):
        predictor, frames = small(model), noise(1, 4, 3, 8, 8)
        usual = predict(predictor, frames, 1)
        for index in range(4):
            changed = frames.clone()
            changed[:, index] = 1 - changed[:, index]
            assert not torch.allclose(predict(predictor, changed, 1), usual, atol=1e-5)
        assert not torch.allclose(predict(predictor, frames.flip(1), 1), usual, atol=1e-5)

    def test_predictions_are_read_as_if_they_were_context(self, model):
        predictor = small(model, clamp=True)
        network, frames = predictor.network, noise(2, 3, predictor.image_channels(predictor.options), 8, 8)
        steps = [image for image, _ in roll_out(network, frames, 3)]
        longer = torch.cat([frames, torch.stack(steps[2:4], dim=1).clamp(0, 1)], dim=1)
        *_, (expected, _) = roll_out(network, longer, 1)
        torch.testing.assert_close(expected, steps[-1])

    def test_true_frames_of_the_future_are_read_where_they_are_chosen_only(self, model):
        predictor, frames = small(model), noise(2, 7, 3, 8, 8)
        context = Context(frames=frames[:, :3], clips=("a@0", "b@0"))
        use_truth = torch.zeros(2, 3, dtype=torch.bool)
        usual = [frame for frame, _ in predictor.roll_out(context, 4)]
        unread = [frame for frame, _ in predictor.roll_out(context, 4, noise(2, 4, 3, 8, 8, seed=1), use_truth)]
        assert all(torch.equal(*pair) for pair in zip(unread, usual, strict=True))
        use_truth[0, 1] = True
        read = [frame for frame, _ in predictor.roll_out(context, 4, frames[:, 3:], use_truth)]
        pairs = zip(read, usual, strict=True)
        changed = [[not torch.equal(*clip) for clip in zip(*pair, strict=True)] for pair in pairs]
        assert changed == [[False, False]] * 4 + [[True, False]] * 2

    def test_untrained_with_residual_it_repeats_the_last_frame(self, model):
        torch.manual_seed(0)
        frames = noise(2, 3, 3, 7, 9)
        predictor = model(model.Options(**SMALL[model] | {"residual": True, "clamp": True}))
        torch.testing.assert_close(predict(predictor, frames, 3), frames[:, -1:].expand(-1, 3, -1, -1, -1))

    def test_gradients_reach_every_parameter(self, model):
        predictor, frames = small(model).train(), noise(2, 5, 3, 8, 8)
        context = Context(frames=frames[:, :3], clips=("a@0", "b@0"))
        steps = list(predictor.roll_out(context, 2, frames[:, 3:]))
        loss = sum(((frame - frames[:, t + 1]) ** 2).mean() for t, (frame, _) in enumerate(steps))
        penalty = predictor.network.penalty(steps[-1][1])
        (loss if penalty is None else loss + penalty).backward()
        assert [name for name, p in predictor.named_parameters() if p.grad is None or not p.grad.any()] == []

    @pytest.mark.slow
    def test_a_step_compiles_whole(self, model, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a compiler cannot trace checks of shapes
        torch.compiler.reset()
        predictor = small(model)
        network, frames = predictor.network, noise(1, 3, predictor.image_channels(predictor.options), 4, 4)
        expected = [image for image, _ in roll_out(network, frames, 2)]
        network.step = torch.compile(network.step, fullgraph=True, backend="eager")
        compiled = [image for image, _ in roll_out(network, frames, 2)]
        torch.testing.assert_close(compiled, expected)


@pytest.mark.parametrize("model", STACKS)
class TestStacks:
    def test_weights_per_place_fit_one_size(self, model):
        predictor = small(model, layer_norm=True, size=(8, 10))
        assert predict(predictor, noise(1, 2, 3, 8, 10), 1).shape == (1, 1, 3, 8, 10)
        assert predictor.info.misfit(2, (8, 8)) == "it takes frames of 8x10, not 8x8"
        with pytest.raises(PredictorError, match="weights fit frames of 8x10, and these are 8x8: choose a protocol"):
            predict(predictor, noise(1, 2, 3, 8, 8), 1)
        with pytest.raises(ValueError, match="layer_norm has a weight per place: set size"):
            model.Options(layer_norm=True)

    def test_a_size_without_weights_per_place_fits_any_frames(self, model):
        sized = small(model, size=(8, 10))
        assert (sized.size is None) == (model is not MIM), "MIM's peepholes have a weight per place"
