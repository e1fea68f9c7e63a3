"""The reversible autoencoder: inverse, normalisation, and gradients from recomputed activations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import PredictorError
from vpbench.toolkit.reversible import Autoencoder, squeeze, unsqueeze


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def autoencoder(blocks=(2, 1), norm="batch", *, recompute=False):
    """An autoencoder with normalisations that matter, and running statistics unlike those of any batch here."""
    torch.manual_seed(0)
    model = Autoencoder(blocks, norm, recompute=recompute)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2.0)
            if isinstance(module, torch.nn.BatchNorm3d | torch.nn.GroupNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
    return model


class TestAutoencoder:
    @pytest.mark.parametrize(
        ("norm", "dtype", "bound"),
        [("batch", torch.float32, 1e-4), ("group", torch.float32, 1e-4), ("batch", torch.float64, 1e-10)],
    )
    @pytest.mark.parametrize("size", [(128, 128), (64, 88)])
    def test_decoding_undoes_encoding(self, size, norm, dtype, bound):
        model, windows = autoencoder((4, 4, 4), norm).to(dtype).eval(), noise(1, 3, 3, *size).to(dtype)
        with torch.no_grad():
            features, statistics = model.encode(windows)
            assert features.shape == (1, 192, 3, size[0] // 8, size[1] // 8)
            assert features.dtype == dtype
            assert (model.decode(features, statistics) - windows).abs().max() < bound

    @pytest.mark.parametrize("norm", ["batch", "group"])
    def test_decoding_undoes_encoding_in_training_too_and_in_half_precision(self, norm):
        model, windows = autoencoder(norm=norm).train(), noise(2, 3, 3, 8, 8)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model.decode(*model.encode(windows)), windows, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("size", [(64, 85), (60, 88)])
    def test_other_sizes_are_refused(self, size):
        with pytest.raises(PredictorError, match=rf"multiples of 8, not {size[0]}x{size[1]}: pad"):
            autoencoder((1, 1, 1)).encode(noise(1, 3, 3, *size))

    @given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
    def test_squeeze_moves_pixels_within_their_frame(self, channels, time, height, width):
        x = torch.arange(2 * channels * time * height * width * 4.0).reshape(2, channels, time, 2 * height, 2 * width)
        y = squeeze(x)
        assert y.shape == (2, 4 * channels, time, height, width)
        assert torch.equal(unsqueeze(y), x)
        assert torch.equal(y[:, :channels], x[..., ::2, ::2]), "ordered by pixel first"
        assert torch.equal(y[:, channels : 2 * channels], x[..., ::2, 1::2])

    def test_blocks_swap_halves(self):
        """With F = 0 the blocks only permute: x2 comes first after an odd number of blocks."""
        model, x = autoencoder((1,)), noise(1, 3, 3, 4, 4)
        with torch.no_grad():
            model.blocks[0].convs[-1].weight.zero_()
        x1, x2 = squeeze(x).chunk(2, dim=1)
        assert torch.equal(model.encode(x)[0], torch.cat([x2, x1], dim=1))

    def test_batch_norm_uses_and_moves_statistics_in_encodings_only(self):
        model = autoencoder().train()
        statistics = [buffer.clone() for buffer in model.buffers()]
        features, by = model.encode(noise(2, 3, 3, 8, 8))
        updated = [buffer.clone() for buffer in model.buffers()]
        assert not any(torch.equal(*pair) for pair in zip(statistics, updated, strict=True))
        single = model.decode(features[:1], by)
        assert all(torch.equal(*pair) for pair in zip(updated, model.buffers(), strict=True))
        torch.testing.assert_close(model.decode(features, by)[:1], single)

    def test_group_norm_treats_each_clip_alone(self):
        model, x = autoencoder(norm="group").train(), noise(3, 3, 3, 8, 8)
        torch.testing.assert_close(model.encode(x)[0], torch.cat([model.encode(clip[None])[0] for clip in x]))

    @pytest.mark.parametrize("norm", ["batch", "group"])
    @pytest.mark.parametrize("training", [True, False])
    def test_recomputing_gives_the_same_gradients_and_statistics(self, norm, training):
        """For an encoding and for the decoding of other features by its statistics."""
        results = []
        for recompute in (False, True):
            model = autoencoder(norm=norm, recompute=recompute).double().train(training)
            x = noise(2, 3, 3, 16, 24).double().requires_grad_()
            features, statistics = model.encode(x)
            y = model.decode(features + noise(*features.shape, seed=1), statistics)
            (features * noise(*features.shape, seed=2)).sum().backward(retain_graph=True)
            (y * noise(*y.shape, seed=3)).sum().backward()
            results.append([features, y, x.grad, *(p.grad for p in model.parameters()), *model.buffers()])
        for stored, recomputed in zip(*results, strict=True):
            torch.testing.assert_close(recomputed, stored, rtol=1e-9, atol=1e-9)

    def test_recomputing_is_in_full_precision_within_autocast_and_leaves_frozen_weights_alone(self):
        gradients = []
        for half in (False, True):
            model, x = autoencoder(norm="group", recompute=True), noise(2, 3, 3, 16, 24).requires_grad_()
            model.blocks[0].requires_grad_(False)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                features, _ = model.encode(x)
                features.square().sum().backward()
            assert all(p.grad is None for p in model.blocks[0].parameters())
            gradients.append([x.grad, *(p.grad for p in model.blocks[1:].parameters())])
        assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))

    @pytest.mark.parametrize("decoding", [False, True])
    @pytest.mark.parametrize("power", [1, 2])
    def test_recomputing_refuses_second_derivatives(self, decoding, power):
        """Also if the loss is linear in the result: then no incoming gradient has a gradient."""
        model, x = autoencoder(norm="group", recompute=True), noise(1, 3, 3, 8, 8).requires_grad_()
        features, statistics = model.encode(x)
        if decoding:
            x = features.detach().requires_grad_()
        result = model.decode(x, statistics) if decoding else features
        first = torch.autograd.grad(result.pow(power).sum(), [x, *model.parameters()], create_graph=True)
        for gradient in first:
            with pytest.raises(RuntimeError, match="no second derivatives: set recompute to false"):
                (result.mean() + gradient.square().sum()).backward(retain_graph=True)

    def test_without_recomputing_there_are_second_derivatives(self):
        model, x = autoencoder(norm="group"), noise(1, 3, 3, 8, 8).requires_grad_()
        (gradient,) = torch.autograd.grad(model.encode(x)[0].square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
        assert all(p.grad.abs().max() > 0 for p in model.parameters())

    def test_recomputing_stores_only_the_result(self):
        stored = {}
        for recompute in (False, True):
            sizes = []
            with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):  # noqa: B023
                features, _ = autoencoder((4, 4), recompute=recompute).encode(noise(1, 3, 3, 32, 32))
            stored[recompute] = sum(sizes)
        assert stored[True] == features.numel()
        assert stored[False] > 10 * stored[True]


@pytest.mark.parametrize(("colours", "count"), [(1, 104_516), (3, 937_572)])
def test_frames_may_have_any_number_of_colours(colours, count):
    """The counts are those of CrevNet's blocks for Moving MNIST and RGB; the features keep every pixel of a window."""
    model, windows = Autoencoder((4, 5, 3), "group", recompute=False, colours=colours), noise(1, colours, 3, 8, 16)
    assert sum(p.numel() for p in model.parameters()) == count
    features, statistics = model.encode(windows)
    assert features.shape == (1, model.channels, 3, 1, 2)
    assert model.channels == 64 * colours
    torch.testing.assert_close(model.decode(features, statistics), windows, atol=1e-5, rtol=0)
