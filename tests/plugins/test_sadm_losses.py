"""SADM's losses against manual computations: equations 6, 7, 9 and 13."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sadm_models import noise, normal

from vpbench.errors import DataError
from vpbench.toolkit.weights import MissingWeightsError
from vpbench_sadm import perceptual
from vpbench_sadm.losses import (
    boundary_weights,
    covisible_loss,
    discriminator_loss,
    flow_loss,
    generator_loss,
    kl_divergence,
    label_loss,
)
from vpbench_sadm.perceptual import PixelLoss, perceptual_loss


def edge(size=64):
    labels = torch.zeros(size, size, dtype=torch.int64)
    labels[:, size // 2 :] = 1
    return labels


class TestBoundaryWeights:
    """Equation 7."""

    def test_of_a_long_straight_edge(self):
        """1 + 5 (g(0) + g(1)), g of deviation 3 over 19 pixels: 2.296."""
        g = [math.exp(-i * i / 18) for i in range(-9, 10)]
        expected = 1 + 5 * (g[9] + g[10]) / sum(g)
        assert expected == pytest.approx(2.296, abs=1e-3)
        weights = boundary_weights(edge(), 5.0, 3.0, "sum")
        assert float(weights.max()) == pytest.approx(expected, abs=1e-5)
        assert torch.equal(weights[:, :20], torch.ones(64, 20))
        assert float(weights[32, 28]) == pytest.approx(1 + 5 * (g[12] + g[13]) / sum(g), abs=1e-5)

    def test_peak_gives_one_and_alpha_at_the_edge_and_no_more(self):
        labels = edge()
        labels[::2] = 2  # every pixel is near a boundary
        for pattern in (labels, edge()):
            assert float(boundary_weights(pattern, 5.0, 3.0, "peak").max()) == pytest.approx(6.0)

    @given(seed=st.integers(0, 1000))
    def test_do_not_depend_on_names_or_direction(self, seed):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(4, (20, 24), generator=generator)
        weights = boundary_weights(labels, 5.0, 1.0, "sum")
        renamed = torch.randperm(20, generator=generator)[labels]
        torch.testing.assert_close(boundary_weights(renamed, 5.0, 1.0, "sum"), weights)
        for turn in (lambda x: x.flip(0), lambda x: x.flip(1), lambda x: x.T):
            torch.testing.assert_close(boundary_weights(turn(labels), 5.0, 1.0, "sum"), turn(weights))

    @pytest.mark.parametrize("norm", ["sum", "peak"])
    def test_of_an_edge_are_the_same_up_to_the_border(self, norm):
        for along in (boundary_weights(edge(24), 5.0, 3.0, norm), boundary_weights(edge(24).T, 5.0, 3.0, norm).T):
            torch.testing.assert_close(along, along[12].expand_as(along))

    def test_are_zero_without_a_label_which_makes_no_boundary(self):
        labels = torch.full((12, 12), 7)
        labels[4:8, 4:8] = 255
        assert torch.equal(boundary_weights(labels, 5.0, 1.0, "sum"), (labels != 255).float())


class TestLosses:
    def test_flow_is_summed_over_steps_and_averaged_over_the_rest(self):
        """Equation 6."""
        true = normal(2, 3, 2, 4, 5)
        offset = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1, 1)
        assert float(flow_loss(true + offset, true)) == pytest.approx(3.5, rel=1e-5)

    def test_labels(self):
        """Equation 7: two pixels of probability 1/2 and 1/4, weights 1 and 3; two steps; then one unlabelled pixel."""
        log = torch.tensor([[0.5, 0.25], [0.5, 0.75]]).log().view(1, 1, 2, 1, 2)
        labels, weights = torch.tensor([0, 0]).view(1, 1, 1, 2), torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
        expected = (math.log(2) + 3 * math.log(4)) / 2
        assert float(label_loss(log, labels, weights)) == pytest.approx(expected)
        twice = [torch.cat([x, x], dim=1) for x in (log, labels, weights)]
        assert float(label_loss(*twice)) == pytest.approx(2 * expected)
        labels[..., 0] = 255
        assert float(label_loss(log, labels, weights)) == pytest.approx(3 * math.log(4))
        assert float(label_loss(log, torch.full_like(labels, 255), weights)) == 0

    def test_divergence_is_torchs(self):
        """Equation 9."""
        mean, log_variance = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
        posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
        torch.testing.assert_close(kl_divergence(mean, log_variance), divergence.sum(dim=1).mean())
        assert float(kl_divergence(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3))) == 0

    def test_covisible_is_a_sum_over_steps_of_means_over_all_pixels(self):
        """Equation 13."""
        warped, hole = noise(2, 3, 3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.bool)
        frames = warped + torch.tensor([0.1, 0.2, 0.4]).view(1, 3, 1, 1, 1)
        assert float(covisible_loss(frames, warped, hole)) == pytest.approx(0.7, rel=1e-5)
        hole[:, 1, :2], hole[:, 2] = True, True
        assert float(covisible_loss(frames, warped, hole)) == pytest.approx(0.1 + 0.1, rel=1e-5)

    def test_adversarial_losses_are_least_squares(self):
        real = torch.tensor([1.0, 0.0, 3.0])
        assert float(generator_loss(real)) == pytest.approx((0 + 1 + 4) / 3)
        assert float(discriminator_loss(real, torch.full((3,), 0.5))) == pytest.approx(((0 + 1 + 4) / 3 + 0.25) / 2)

    def test_pixel_loss_by_hand(self):
        """A step of 1 over half of a picture that is 8 wide: |1|/2 at each of 3 scales; 1 of 7, 3 and 1 differences."""
        true, step = noise(2, 3, 8, 8), torch.zeros(8)
        step[4:] = 1
        for predicted in (true + step, (true.mT + step).mT):
            assert float(PixelLoss()(predicted, true)) == pytest.approx(1.5 + 1 / 7 + 1 / 3 + 1, rel=1e-4)

    def test_vgg_compares_five_layers_as_vid2vid_does(self, monkeypatch):
        from torchvision.models import vgg19

        torch.manual_seed(0)
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in vgg19().state_dict().items() if "features" in name}
        drawn = {name: torch.randn(shape) * (2 / (9 * shape[0])) ** 0.5 for name, shape in shapes.items()}
        monkeypatch.setattr(perceptual, "obtain", lambda url: url)
        monkeypatch.setattr(perceptual, "read", lambda path: drawn)
        loss, pair = perceptual_loss("vgg19"), (noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1))
        mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # ImageNet's
        features = [(x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1) for x in pair]
        expected, weights = 0.0, {1: 1 / 32, 6: 1 / 16, 11: 1 / 8, 20: 1 / 4, 29: 1.0}
        for number, layer in enumerate(loss.network):
            features = [layer(x) for x in features]
            if number in weights:
                assert isinstance(layer, torch.nn.ReLU)
                expected += weights[number] * float((features[0] - features[1]).abs().mean())
        assert float(loss(*pair)) == pytest.approx(expected, rel=1e-5)
        assert not any(parameter.requires_grad for parameter in loss.parameters())

    def test_lpips_is_the_metric_in_training_too(self, shared, monkeypatch):
        monkeypatch.setenv("VPBENCH_WEIGHTS", str(shared / "weights"))
        loss, frames = perceptual_loss("lpips"), [noise(2, 3, 64, 64, seed=i) for i in range(2)]
        expected = loss(*frames)
        torch.testing.assert_close(loss.network(*frames).mean(), expected)
        assert torch.equal(loss.train()(*frames), expected), "no dropout"

    def test_lpips_without_its_network_says_where_to_put_it(self, monkeypatch):
        def missing():
            raise MissingWeightsError("put it there")

        monkeypatch.setattr(perceptual, "lpips_network", missing)
        with pytest.raises(DataError, match=r"sadm\.perceptual=lpips: put it there"):
            perceptual_loss("lpips")
