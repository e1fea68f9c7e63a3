"""SimVP and TAU: the papers' equations, published counts, options, and the promises of every predictor."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_inputs import noise, randomised
from pydantic import ValidationError
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context
from vpbench_simvp.network import Block, GatedAttention, Layer, Network, TemporalAttention
from vpbench_simvp.predictor import TAU, SimVP

SMALL = {"context": 3, "spatial": 4, "temporal": 8, "temporal_layers": 3, "mlp_ratio": 2.0}
MODELS = pytest.mark.parametrize("model_class", [SimVP, TAU])


def small_model(model_class, **options):
    torch.manual_seed(0)
    return randomised(model_class(model_class.Options(**SMALL | options)), scale=0.1)


def predict(model, frames, horizon):
    clips = tuple(f"clip{i}@0" for i in range(len(frames)))
    return model.predict(Context(frames=frames, clips=clips), horizon, []).frames


def conv(values, name, x, **settings):
    return functional.conv2d(x, values[f"{name}.weight"], values[f"{name}.bias"], **settings)


def batch_norm(values, name, x):
    statistics = values[f"{name}.running_mean"], values[f"{name}.running_var"]
    return functional.batch_norm(x, *statistics, values[f"{name}.weight"], values[f"{name}.bias"])


def large_kernel(values, x):
    width = x.shape[1]
    x = conv(values, "local", x, padding=2, groups=width)
    return conv(values, "mix", conv(values, "dilated", x, padding=9, dilation=3, groups=width))


class TestParts:
    @pytest.mark.parametrize("change", ["none", "down", "up"])
    def test_a_layer_is_convolution_normalisation_silu(self, change):
        layer = randomised(Layer(3, 4, down=change == "down", up=change == "up"))
        x, values = noise(2, 3, 6, 8), layer.state_dict()
        y = conv(values, "conv", x, padding=1, stride=2 if change == "down" else 1)
        y = functional.pixel_shuffle(y, 2) if change == "up" else y
        y = functional.group_norm(y, 2, values["norm.weight"], values["norm.bias"])
        assert y.shape == {"none": (2, 4, 6, 8), "down": (2, 4, 3, 4), "up": (2, 4, 12, 16)}[change]
        torch.testing.assert_close(layer(x), y * torch.sigmoid(y))

    def test_gated_attention(self):
        attention = randomised(GatedAttention(6))
        z = noise(2, 6, 9, 11)
        a = large_kernel(attention.state_dict(), z)
        torch.testing.assert_close(attention(z), torch.sigmoid(a[:, 6:]) * a[:, :6])

    def test_temporal_attention(self):
        attention = randomised(TemporalAttention(16))
        z, values = noise(2, 16, 9, 11), attention.state_dict()
        static = large_kernel(values, z)
        pooled = functional.adaptive_avg_pool2d(z, 1)[..., 0, 0]
        dynamical = torch.sigmoid(torch.relu(pooled @ values["squeeze.weight"].T) @ values["excite.weight"].T)
        torch.testing.assert_close(attention(z), static * dynamical[:, :, None, None] * z)

    @pytest.mark.parametrize(("width", "narrow"), [(16, 4), (64, 16), (128, 16), (640, 16)])
    def test_the_dynamical_attention_has_openstls_widths(self, width, narrow):
        with torch.device("meta"):
            assert TemporalAttention(width).squeeze.out_features == narrow

    @pytest.mark.parametrize("attention", ["gsta", "tau"])
    def test_a_block_adds_scaled_attention_and_a_scaled_feed_forward_network(self, attention):
        block = randomised(Block(attention, 8, 6, 2.0, 0.5))
        z, values = noise(2, 8, 5, 7), block.state_dict()
        x = batch_norm(values, "norm1", z)
        attended = block.attention(functional.gelu(conv(values, "inward", x)))
        z1 = z + values["scale1"] * (x + conv(values, "outward", attended))
        x = conv(values, "widen", batch_norm(values, "norm2", z1))
        x = functional.gelu(conv(values, "blend", x, padding=1, groups=16))
        z2 = z1 + values["scale2"] * conv(values, "narrow", x)
        torch.testing.assert_close(block(z), conv(values, "reduction", z2))

    def test_a_block_skips_clips_in_training_and_keeps_the_mean(self):
        torch.manual_seed(0)
        block = Block("gsta", 4, 4, 1.0, 0.25).train()
        with torch.no_grad():
            block.scale1.fill_(1.0)
            block.scale2.fill_(0.0)
        z = noise(1, 4, 5, 7).expand(400, -1, -1, -1)
        with torch.no_grad():
            added = block(z) - z
        skipped = (added == 0).flatten(1).all(dim=1)
        assert skipped.float().mean().item() == pytest.approx(0.25, abs=0.07)
        torch.testing.assert_close(
            added[~skipped][0],
            (block.norm1(z) + block.outward(block.attention(functional.gelu(block.inward(block.norm1(z)))))).detach()[0]
            / 0.75,
        )

    @pytest.mark.parametrize("attention", ["gsta", "tau"])
    def test_the_first_weights_of_a_block_are_openstls(self, attention):
        """The variance is 2 / fan-out, for depthwise convolutions by channel; biases are 0 and both scales 0.01."""
        torch.manual_seed(0)
        block, variances = Block(attention, 32, 32, 2.0, 0.0), {}
        for name, module in block.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                assert not module.bias.any()
                variances[name] = module.weight.var().item() * 32
        mixed = 2 / 2 if attention == "gsta" else 2
        depthwise = {"attention.local": 2 * 32 / 25, "attention.dilated": 2 * 32 / 49, "blend": 2 * 32 / 9}
        expected = depthwise | {"inward": 2, "outward": 2, "attention.mix": mixed, "widen": 1, "narrow": 2}
        assert variances == pytest.approx(expected, rel=0.2)
        assert (block.scale1 == 0.01).all() and (block.scale2 == 0.01).all()

    def test_the_probability_to_skip_grows_linearly_from_the_first_block(self):
        network = Network("gsta", 1, 1, 4, 8, spatial_layers=2, temporal_layers=4, mlp_ratio=1.0, drop_path=0.3)
        assert [block.drop_path for block in network.translator] == pytest.approx([0.0, 0.1, 0.2, 0.3])

    def test_the_network_is_encoder_translator_and_decoder_with_a_skip(self):
        network = randomised(Network("gsta", 3, 1, 4, 8, spatial_layers=4, temporal_layers=2, mlp_ratio=2.0), scale=0.2)
        frames = noise(2, 3, 1, 8, 12)
        first = [network.encoder[0](frames[:, t]) for t in range(3)]
        deep = [network.encoder[3](network.encoder[2](network.encoder[1](x))) for x in first]
        assert deep[0].shape == (2, 4, 2, 3)
        hidden = network.translator(torch.cat(deep, dim=1)).chunk(3, dim=1)
        for t, h in enumerate(hidden):
            for layer in network.decoder[:3]:
                h = layer(h)
            y = network.readout(network.decoder[3](h + first[t]))
            torch.testing.assert_close(network(frames)[:, t], y)

    def test_a_longer_horizon_reads_the_predicted_frames_not_clamped(self):
        network = randomised(Network("tau", 2, 1, 4, 8, spatial_layers=2, temporal_layers=2, mlp_ratio=2.0))
        with torch.no_grad():
            network.readout.bias += 1
        frames = noise(1, 2, 1, 4, 6)
        first = network(frames)
        assert (first.min() < 0) | (first.max() > 1)
        second = network(first)
        expected = torch.cat([first, second, network(second)[:, :1]], dim=1)
        assert torch.equal(torch.cat(list(network.roll_out(frames, 5)), dim=1), expected)


class TestCounts:
    """The counts of OpenSTL's tables at commit c74deb5. It counts a multiplication and an addition as one operation."""

    @pytest.mark.parametrize(
        ("model_class", "preset", "count", "printed", "giga", "shape"),
        [
            (SimVP, "openstl-grey", 46_769_665, "46.8M", 16.5, (10, 1, 64, 64)),
            (TAU, "openstl-grey", 44_656_001, "44.7M", 16.0, (10, 1, 64, 64)),
            (SimVP, "openstl", 11_327_235, "11.3M", 74.6, (4, 3, 256, 256)),
            (TAU, "openstl", 37_647_363, "37.6M", 182.0, (4, 3, 256, 256)),
        ],
    )
    def test_parameters_and_operations(self, model_class, preset, count, printed, giga, shape):
        with torch.device("meta"):
            model = model_class(model_class.Options(**model_class.presets[preset])).eval()
            frames = torch.empty(1, *shape)
        assert sum(p.numel() for p in model.parameters()) == count
        assert f"{count / 1e6:.1f}M" == printed
        with FlopCounterMode(display=False) as counter:
            model.network(frames)
        assert counter.get_total_flops() / 2 / 1e9 == pytest.approx(giga, rel=0.01)

    @MODELS
    def test_tiny_has_under_a_million(self, model_class):
        with torch.device("meta"):
            model = model_class(model_class.Options(**model_class.presets["tiny"]))
        assert sum(p.numel() for p in model.parameters()) < 1_000_000


@MODELS
class TestPredict:
    @given(height=st.integers(1, 13), width=st.integers(1, 13), horizon=st.integers(1, 7))
    @pytest.mark.filterwarnings("ignore::vpbench.errors.VpbenchWarning")
    def test_any_size_and_horizon_alone_or_in_a_batch(self, model_class, height, width, horizon):
        model, frames = small_model(model_class), noise(3, 3, 3, height, width)
        predicted = predict(model, frames, 7)
        assert predicted.shape == (3, 7, 3, height, width)
        assert predicted.dtype == torch.float32
        assert ((predicted >= 0) & (predicted <= 1)).all()
        torch.testing.assert_close(predict(model, frames[1:2], horizon), predicted[1:2, :horizon], atol=1e-5, rtol=0)

    def test_padding_is_reported(self, model_class):
        with pytest.warns(UserWarning, match=f"{model_class.name}: frames of 9x8 are padded to 12x8"):
            predict(small_model(model_class), noise(1, 3, 3, 9, 8), 1)

    def test_every_context_frame_and_their_order_matter(self, model_class):
        model, frames = small_model(model_class), noise(1, 3, 3, 8, 8)
        usual = predict(model, frames, 4)
        for index in range(3):
            changed = frames.clone()
            changed[:, index] = 1 - changed[:, index]
            assert not torch.allclose(predict(model, changed, 4), usual, atol=1e-4)
        assert not torch.allclose(predict(model, frames.flip(1), 4), usual, atol=1e-4)

    def test_untrained_with_residual_it_repeats_the_last_frame(self, model_class):
        frames = noise(2, 3, 3, 8, 8)
        model = model_class(model_class.Options(**SMALL, residual=True)).eval()
        assert torch.equal(predict(model, frames, 5), frames[:, -1:].expand(-1, 5, -1, -1, -1))

    def test_grey_weights_take_grey_frames_only(self, model_class):
        model = small_model(model_class, channels=1)
        grey = noise(2, 3, 1, 8, 8).expand(-1, -1, 3, -1, -1)
        predicted = predict(model, grey, 4)
        assert torch.equal(predicted, predicted[:, :, :1].expand_as(predicted))
        with pytest.raises(PredictorError, match=rf"{model_class.name}: .*\(channels 1\).*clip0@0 has colour"):
            predict(model, noise(2, 3, 3, 8, 8), 4)

    def test_the_context_is_fixed(self, model_class):
        model = small_model(model_class)
        assert model.info.misfit(5, (8, 8)) == "it takes 3 context frames, not 5"
        assert not model.info.misfit(3, (9, 7))
        for frames in (2, 5):
            with pytest.raises(PredictorError, match=f"{model_class.name}: it takes 3 context frames, not {frames}: "):
                predict(model, noise(1, frames, 3, 8, 8), 4)

    def test_gradients_reach_every_parameter(self, model_class):
        model = small_model(model_class).train()
        sum(part.square().sum() for part in model.network.roll_out(noise(2, 3, 3, 8, 8), 5)).backward()
        assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spatial": 5}, "multiple of 2"),
        ({"spatial_layers": 3}, "multiple of 2"),
        ({"temporal_layers": 1}, "greater than or equal to 2"),
        ({"channels": 2}, "1 or 3"),
        ({"l2": 0}, "one of the loss's weights l1, l2 and ssim must be above 0"),
        ({"layers": 3}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        SimVP.Options(**options)


@pytest.mark.slow
def test_predicting_needs_no_lightning():
    code = "import sys, vpbench_simvp.predictor; assert 'lightning' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
