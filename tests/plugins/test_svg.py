"""SVG: the paper's equations, published counts, samples, and the promises of every predictor."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from model_inputs import noise, randomised
from pydantic import ValidationError
from torch.nn import functional

from vpbench.errors import PredictorError, VpbenchWarning
from vpbench.plugin.clip import Context
from vpbench_svg.autoencoder import Decoder, Encoder
from vpbench_svg.lstm import LSTM, FramePredictor, GaussianLSTM, Normal
from vpbench_svg.predictor import SVG, Options

SMALL = {"size": (16, 16), "width": 4, "features": 6, "latent": 3, "hidden": 5}
BACKBONES = pytest.mark.parametrize("backbone", ["dcgan", "vgg"])
PRIORS = pytest.mark.parametrize("prior", ["learned", "fixed", "none"])


def small_model(**options):
    torch.manual_seed(0)
    return randomised(SVG(Options(**SMALL | {"backbone": "dcgan"} | options)))


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def predict(model, frames, horizon, seeds=None):
    clips = tuple(f"clip{i}@0" for i in range(len(frames)))
    return model.predict(
        Context(frames=frames, clips=clips), horizon, generators(*(seeds or range(len(frames))))
    ).frames


def layer(values, name, x, convolve, **settings):
    """A convolution, normalisation with the running statistics, and a leaky ReLU, by the names of a Sequential."""
    x = convolve(x, values[f"{name}.0.weight"], values[f"{name}.0.bias"], **settings)
    statistics = values[f"{name}.1.running_mean"], values[f"{name}.1.running_var"]
    x = functional.batch_norm(x, *statistics, values[f"{name}.1.weight"], values[f"{name}.1.bias"])
    return torch.where(x > 0, x, 0.2 * x)


@pytest.mark.parametrize(
    ("preset", "count", "at_test"),
    [
        ("paper", 22_831_747, 22_239_491),
        ("paper-kth", 22_778_081, 22_206_385),
        ("paper-digits", 12_614_057, 12_049_557),
        ("paper-kth-128", 39_302_369, None),
    ],
)
def test_counts_of_the_authors_code_are_met_to_the_digit(preset, count, at_test):
    """At test, without the posterior, which then reads the context only."""
    with torch.device("meta"):
        model = SVG(Options(**SVG.presets[preset]))
    assert sum(p.numel() for p in model.parameters()) == count
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.inference_parts().items()}
    assert sum(parts.values()) == count
    if at_test is not None:
        assert count - parts["posterior"] == at_test


def test_tiny_has_under_a_million_parameters():
    with torch.device("meta"):
        model = SVG(Options(**SVG.presets["tiny"]))
    assert sum(p.numel() for p in model.parameters()) < 1_000_000


class TestLSTM:
    def test_is_an_embedding_and_stacked_cells(self):
        lstm = randomised(LSTM(4, 5, 2))
        states, values = lstm.start(noise(2, 4)), lstm.state_dict()
        expected = [[torch.zeros(2, 5), torch.zeros(2, 5)] for _ in range(2)]
        for t in range(3):
            x = noise(2, 4, seed=t)
            output, states = lstm.advance(x, states)
            x = x @ values["embed.weight"].T + values["embed.bias"]
            for index, (h, c) in enumerate(expected):
                names = [f"cells.{index}.{name}" for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
                w, b, u, d = (values[name] for name in names)
                i, f, g, o = (x @ w.T + b + h @ u.T + d).chunk(4, dim=1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                x = torch.sigmoid(o) * torch.tanh(c)
                expected[index] = [x, c]
            torch.testing.assert_close(output, x)

    def test_the_frame_predictor_ends_in_a_tanh(self):
        lstm = randomised(FramePredictor(4, 6, 5, 2))
        x, values = noise(2, 4), lstm.state_dict()
        hidden, _ = lstm.advance(x, lstm.start(x))
        expected = torch.tanh(hidden @ values["output.weight"].T + values["output.bias"])
        torch.testing.assert_close(lstm(x, lstm.start(x))[0], expected)

    def test_the_gaussian_lstm_has_a_mean_and_the_logarithm_of_a_variance(self):
        lstm = randomised(GaussianLSTM(4, 3, 5))
        x, values = noise(2, 4), lstm.state_dict()
        hidden, _ = lstm.advance(x, lstm.start(x))
        normal, _ = lstm(x, lstm.start(x))
        torch.testing.assert_close(normal.mean, hidden @ values["mean.weight"].T + values["mean.bias"])
        expected = hidden @ values["log_variance.weight"].T + values["log_variance.bias"]
        torch.testing.assert_close(normal.log_variance, expected)

    def test_samples_have_the_mean_and_the_variance(self):
        normal = Normal(torch.tensor([2.0, -1.0]), torch.tensor([9.0, 0.25]).log())
        draws = normal.sample(torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0)))
        assert draws.mean(dim=0).tolist() == pytest.approx([2.0, -1.0], abs=0.03)
        assert draws.var(dim=0).tolist() == pytest.approx([9.0, 0.25], rel=0.03)


class TestAutoencoder:
    def test_dcgan(self):
        encoder = randomised(Encoder("dcgan", 3, [4, 8], 6, (4, 5)))
        decoder = randomised(Decoder("dcgan", 3, [4, 8], 6, (4, 5)))
        frame, values = noise(2, 3, 16, 20), encoder.state_dict()
        s1 = layer(values, "stages.0", frame, functional.conv2d, stride=2, padding=1)
        s2 = layer(values, "stages.1", s1, functional.conv2d, stride=2, padding=1)
        h, pyramid = encoder(frame)
        assert [tuple(s.shape) for s in pyramid] == [(2, 4, 8, 10), (2, 8, 4, 5)]
        torch.testing.assert_close(pyramid, [s1, s2])
        torch.testing.assert_close(h, self.head(values, s2))
        values = decoder.state_dict()
        d2 = layer(values, "root", h[:, :, None, None], functional.conv_transpose2d)
        d1 = layer(values, "stages.0", torch.cat([d2, s2], 1), functional.conv_transpose2d, stride=2, padding=1)
        last = values["stages.1.0.weight"], values["stages.1.0.bias"]
        expected = torch.sigmoid(functional.conv_transpose2d(torch.cat([d1, s1], 1), *last, stride=2, padding=1))
        torch.testing.assert_close(decoder(h, pyramid), expected)

    def test_vgg(self):
        encoder = randomised(Encoder("vgg", 1, [4, 8], 6, (4, 4)))
        decoder = randomised(Decoder("vgg", 1, [4, 8], 6, (4, 4)))
        frame, values = noise(2, 1, 16, 16), encoder.state_dict()

        def convolutions(name, x):
            for index in range(2):
                x = layer(values, f"{name}.{index}", x, functional.conv2d, padding=1)
            return x

        s1 = convolutions("stages.0", frame)
        s2 = convolutions("stages.1", functional.max_pool2d(s1, 2))
        h, pyramid = encoder(frame)
        assert [tuple(s.shape) for s in pyramid] == [(2, 4, 16, 16), (2, 8, 8, 8)]
        torch.testing.assert_close(pyramid, [s1, s2])
        torch.testing.assert_close(h, self.head(values, functional.max_pool2d(s2, 2)))
        values = decoder.state_dict()
        d2 = layer(values, "root", h[:, :, None, None], functional.conv_transpose2d)
        d1 = convolutions("stages.0", torch.cat([functional.interpolate(d2, scale_factor=2), s2], 1))
        x = torch.cat([functional.interpolate(d1, scale_factor=2), s1], 1)
        x = layer(values, "stages.1.0", x, functional.conv2d, padding=1)
        last = values["stages.1.1.weight"], values["stages.1.1.bias"]
        torch.testing.assert_close(decoder(h, pyramid), torch.sigmoid(functional.conv_transpose2d(x, *last, padding=1)))

    @staticmethod
    def head(values, x):
        x = functional.conv2d(x, values["head.0.weight"], values["head.0.bias"])
        statistics = values["head.1.running_mean"], values["head.1.running_var"]
        x = functional.batch_norm(x, *statistics, values["head.1.weight"], values["head.1.bias"])
        return torch.tanh(x)[:, :, 0, 0]


class TestRollOut:
    """The paper's generation, written as a loop over the modules."""

    @pytest.mark.parametrize("last_frame_skip", [False, True])
    @PRIORS
    def test_the_posterior_reads_the_context_and_the_prior_continues(self, prior, last_frame_skip):
        model = small_model(prior=prior, last_frame_skip=last_frame_skip)
        network, frames, draws = model.network, noise(2, 3, 3, 16, 16), torch.randn(5, 2, 3)
        queue = iter(draws)
        predicted = list(network.roll_out(frames, 3, lambda: next(queue)))

        modules = [network.predictor, network.posterior, network.prior]
        states = [module and module.start(frames) for module in modules]
        x, skips, expected = frames[:, 0], None, []
        for t in range(1, 6):
            h, features = network.encoder(x)
            skips = features if t <= 3 or last_frame_skip else skips
            if prior == "learned":
                normal, states[2] = network.prior(h, states[2])
            else:
                normal = Normal(torch.zeros(2, 3), torch.zeros(2, 3))
            if t < 3 and prior != "none":
                normal, states[1] = network.posterior(network.encoder(frames[:, t])[0], states[1])
            z = normal.mean + torch.exp(normal.log_variance / 2) * draws[t - 1]
            g, states[0] = network.predictor(h if prior == "none" else torch.cat([h, z], 1), states[0])
            x = frames[:, t] if t < 3 else network.decoder(g, skips)
            expected += [] if t < 3 else [x]
        torch.testing.assert_close(predicted, expected)

    @PRIORS
    def test_reconstruction_reads_true_frames_and_the_posterior(self, prior):
        """Step by step, it is the prediction of one frame after a context that ends there."""
        network, frames, draws = small_model(prior=prior).network, noise(2, 5, 3, 16, 16), torch.randn(4, 2, 3)
        queue = iter(draws)
        reconstruction = network.reconstruct(frames, 2, lambda: next(queue))
        state, pyramids = network.start(frames), [network.encoder(frames[:, t])[1] for t in range(5)]
        for t in range(4):
            h, target = network.encoder(frames[:, t])[0], network.encoder(frames[:, t + 1])[0]
            step = network.step(h, target, state, lambda t=t: draws[t])
            state = step.state
            expected = network.decoder(step.features, pyramids[min(t, 1)])
            torch.testing.assert_close(reconstruction.frames[:, t], expected)
            for name in ("posterior", "prior"):
                values, whole = getattr(step, name), getattr(reconstruction, name)
                assert (values is None) == (whole is None) == (prior == "none")
                if whole is not None:
                    torch.testing.assert_close(Normal(*(value[:, t] for value in whole)), values)

    def test_with_last_frame_skip_a_reconstruction_reads_the_frame_before(self):
        network, frames = small_model(prior="none", last_frame_skip=True).network, noise(1, 4, 3, 16, 16)
        usual = network.reconstruct(frames, 2, list).frames
        network.last_frame_skip = False
        from_context = network.reconstruct(frames, 2, list).frames
        assert torch.equal(usual[:, :2], from_context[:, :2])
        assert not torch.allclose(usual[:, 2:], from_context[:, 2:])

    def test_the_fixed_prior_is_standard_normal(self):
        step = small_model(prior="fixed").network
        prior = step.step(noise(2, 6), None, step.start(noise(2, 6)), lambda: torch.zeros(2, 3)).prior
        assert not prior.mean.any()
        assert not prior.log_variance.any()


@pytest.mark.parametrize("std", [0.02, 0.1])
def test_first_weights_are_drawn_as_in_the_authors_code(std):
    torch.manual_seed(0)
    model = SVG(Options(size=(16, 16), width=16, features=32, hidden=32, initial_std=std))
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(std, rel=0.15), name
            assert not module.bias.any()
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1.0, abs=0.02), name
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.5), name
    assert Options().initial_std == 0.02


@BACKBONES
@PRIORS
class TestPromises:
    def test_a_clip_is_predicted_alone_or_in_a_batch_for_fewer_steps_or_more(self, backbone, prior):
        model, frames = small_model(backbone=backbone, prior=prior), noise(3, 3, 3, 16, 16)
        predicted = predict(model, frames, 6, [7, 8, 9])
        assert predicted.shape == (3, 6, 3, 16, 16)
        assert ((predicted >= 0) & (predicted <= 1)).all()
        torch.testing.assert_close(predict(model, frames[1:2], 2, [8]), predicted[1:2, :2], atol=1e-5, rtol=0)
        assert predict(model, frames[:, :1], 1).shape == (3, 1, 3, 16, 16)

    def test_every_context_frame_and_their_order_matter(self, backbone, prior):
        model, frames = small_model(backbone=backbone, prior=prior), noise(1, 3, 3, 16, 16)
        usual = predict(model, frames, 2)
        for index in range(3):
            changed = frames.clone()
            changed[:, index] = 1 - changed[:, index]
            assert not torch.allclose(predict(model, changed, 2), usual, atol=1e-5)
        assert not torch.allclose(predict(model, frames.flip(1), 2), usual, atol=1e-5)

    def test_gradients_reach_every_parameter(self, backbone, prior):
        model, frames = small_model(backbone=backbone, prior=prior).train(), noise(2, 4, 3, 16, 16)
        predicted, posterior, distribution = model.network.reconstruct(frames, 2, lambda: torch.ones(2, 3))
        loss = predicted.square().sum()
        if distribution is not None:
            loss = loss + (posterior.mean - distribution.mean).square().sum()
            loss = loss + (posterior.log_variance - distribution.log_variance).square().sum()
        loss.backward()
        assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


class TestSamples:
    @pytest.mark.parametrize("prior", ["learned", "fixed"])
    def test_differ_by_generator_and_by_nothing_else(self, prior):
        model, frames = small_model(prior=prior), noise(2, 2, 3, 16, 16)
        first, second = predict(model, frames, 3, [1, 2]), predict(model, frames, 3, [3, 4])
        assert model.info.stochastic
        assert ((first - second).abs().flatten(2).amax(dim=2) > 3e-4).all()
        torch.manual_seed(99)  # torch's own generator plays no part
        swapped = predict(model, frames.flip(0), 3, [4, 3])
        torch.testing.assert_close(swapped.flip(0), second, atol=1e-6, rtol=0)

    def test_without_latent_variables_nothing_is_drawn(self):
        model, draws = small_model(prior="none"), generators(0)
        state = draws[0].get_state()
        model.predict(Context(frames=noise(1, 2, 3, 16, 16), clips=("clip@0",)), 2, draws)
        assert torch.equal(draws[0].get_state(), state)
        assert not model.info.stochastic


class TestFrames:
    def test_grey_weights_take_grey_frames_only(self):
        model = small_model(channels=1)
        predicted = predict(model, noise(2, 2, 1, 16, 16).expand(-1, -1, 3, -1, -1), 2)
        assert torch.equal(predicted, predicted[:, :, :1].expand_as(predicted))
        with pytest.raises(PredictorError, match=r"svg: .*\(channels 1\).*clip0@0 has colour"):
            predict(model, noise(2, 2, 3, 16, 16), 2)

    def test_the_size_is_the_protocols_and_no_other(self):
        assert SVG.protocol_options(SimpleNamespace(size=(16, 24))) == {"size": (16, 24)}
        assert SVG.protocol_options(SimpleNamespace(size=None)) == {}
        info = small_model(size=(16, 24)).info
        assert info.misfit(2, (16, 16)) == "it takes frames of 16x24, not 16x16"
        assert not info.misfit(1, (16, 24))
        with pytest.raises(PredictorError, match="fit frames of 16x24, and these are 16x16: choose a protocol"):
            predict(small_model(size=(16, 24)), noise(1, 2, 3, 16, 16), 1)

    def test_sides_are_padded_to_whole_grids_and_reported(self):
        frames = noise(1, 2, 3, 17, 22)
        with pytest.warns(VpbenchWarning, match="svg: frames of 17x22 are padded to 20x24"):
            assert predict(small_model(size=(17, 22)), frames, 2).shape == (1, 2, 3, 17, 22)

    @pytest.mark.parametrize(
        ("size", "stride", "grid"),
        [((8, 8), 2, (4, 4)), ((64, 64), 16, (4, 4)), ((64, 96), 16, (4, 6)), ((120, 160), 16, (8, 10))],
    )
    def test_the_grid_is_4_to_8_high_whatever_the_size(self, size, stride, grid):
        with torch.device("meta"):
            network = small_model(size=size).network
        assert network.stride == stride
        assert network.encoder.head[0].kernel_size == grid


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (7, 64)}, "greater than or equal to 8"),
        ({"backbone": "resnet"}, "'dcgan' or 'vgg'"),
        ({"prior": "flow"}, "'learned', 'fixed' or 'none'"),
        ({"latent": 0}, "greater than or equal to 1"),
        ({"channels": 2}, "1 or 3"),
        ({"z_dim": 3}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        Options(**options)


@pytest.mark.slow
def test_predicting_needs_no_lightning():
    code = "import sys, vpbench_svg.predictor; assert 'lightning' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
