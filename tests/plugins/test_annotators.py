"""dis, raft and deeplabv3: the convention of the flow, what the networks are shown, and weights that do not fit."""

from __future__ import annotations

import hashlib
import pickle
import urllib.error

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models._meta import _VOC_CATEGORIES
from torchvision.models.optical_flow import raft_small
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.transforms._presets import OpticalFlow, SemanticSegmentation

from vpbench.errors import DataError, UsageError
from vpbench.plugin.dataset import check_array
from vpbench.plugin.modality import BUILT_IN
from vpbench.toolkit import weights
from vpbench.toolkit.flow import dis_flow
from vpbench.toolkit.labels import CITYSCAPES19, FOREGROUND2, VOC21
from vpbench_annotators import deeplab, raft
from vpbench_annotators.deeplab import DeepLabV3
from vpbench_annotators.dis import Dis
from vpbench_annotators.raft import Raft, enlargement

LAST = "classifier.4."
"""Where the names of the last layer begin."""


def moving(x: int, y: int, count: int, size=(64, 96)) -> np.ndarray:
    """Frames uint8 [N,H,W,3] of a texture that moves by (x, y) whole pixels per frame."""
    picture = cv2.GaussianBlur(np.random.default_rng(0).random((size[0] + 80, size[1] + 80, 3)), (0, 0), 1.5)
    picture = ((picture - picture.min()) / np.ptp(picture) * 255).astype(np.uint8)
    return np.stack([picture[40 - y * t :, 40 - x * t :][: size[0], : size[1]] for t in range(count)])


def noise(count: int, *size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def save_published(state: dict, folder, name: str) -> str:
    """Save as torchvision publishes, named by the hash, and return an address that ends in the name."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "plain")
    digest = hashlib.sha256((folder / "plain").read_bytes()).hexdigest()
    path = (folder / "plain").rename(folder / f"{name}-{digest[:8]}.pth")
    return f"https://example.org/{path.name}"


def varied(network: torch.nn.Module, frames: np.ndarray) -> torch.nn.Module:
    """Give a random network the batch statistics of some frames: then its labels vary from pixel to pixel."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(SemanticSegmentation(resize_size=None)(torch.from_numpy(frames).permute(0, 3, 1, 2)))
    return network.eval()


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """Random networks and the folder of their files."""
    folder = tmp_path_factory.mktemp("published")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = raft_small(weights=None).eval()
        labels = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
        varied(labels, np.concatenate([moving(20, 9, 3), noise(2, 64, 96)]))
    urls = {name: save_published(net.state_dict(), folder, name) for name, net in (("r", flow), ("d", labels))}
    return folder, urls, flow, labels


@pytest.fixture(autouse=True)
def _offline(cache, monkeypatch):
    """No test finds weights by accident, or asks a network."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.delenv("VPBENCH_WEIGHTS", raising=False)
    weights.reachable.cache_clear()
    raft._network.cache_clear()
    deeplab._network.cache_clear()


@pytest.fixture
def networks(published, monkeypatch):
    """The random networks in place of torchvision's."""
    folder, urls, flow, labels = published
    monkeypatch.setenv("VPBENCH_WEIGHTS", str(folder))
    monkeypatch.setitem(raft.NETWORKS, "small", (raft_small, urls["r"]))
    monkeypatch.setitem(deeplab.NETWORKS, "resnet50", (deeplabv3_resnet50, urls["d"]))
    return flow, labels


def annotated(annotator, frames, device="cpu"):
    """Annotate frames [N,H,W,3], or each pair of consecutive ones, as one batch."""
    pairwise = annotator.info.spec.pairwise
    window = np.stack([frames[:-1], frames[1:]], axis=1) if pairwise else frames[:, None]
    return annotator.annotate({"frames": window}, [f"clip@{i}" for i in range(len(window))], device)


def dis(**options):
    return Dis(Dis.Options(**options))


def raft_of(network="small", **options):
    return Raft(Raft.Options(network=network, **{"updates": 2, **options}))


def deeplab_of(**options):
    return DeepLabV3(DeepLabV3.Options(**{"side": 0, **options}))


# --- dis ---


@pytest.mark.parametrize("quality", ["ultrafast", "fast", "medium"])
@pytest.mark.parametrize(("x", "y"), [(4, 0), (0, -3), (-2, 1)])
def test_dis_leads_back_in_pixels_with_x_first(quality, x, y):
    flow = annotated(dis(quality=quality), moving(x, y, 3, (96, 128)))
    check_array(flow, BUILT_IN["flow"], 3, "dis")
    inside, tolerance = flow[:, 12:-12, 12:-12], 0.05 if quality == "medium" else 0.2
    assert inside.mean(axis=(0, 1, 2)).tolist() == pytest.approx([-x, -y], abs=tolerance)
    assert np.median(np.abs(inside - [-x, -y])) < tolerance


def test_dis_of_sampled_frames_spans_what_lies_between():
    flow = annotated(dis(), moving(2, 0, 5)[::2])
    assert flow[:, 12:-12, 12:-12, 0].mean() == pytest.approx(-4, abs=0.15)


def test_entry_i_leads_from_frame_i_plus_1_to_frame_i():
    frames = moving(3, 0, 3)
    flow = annotated(dis(), frames[[0, 1, 1]])
    assert flow[0, 12:-12, 12:-12, 0].mean() == pytest.approx(-3, abs=0.15)
    assert np.abs(flow[1]).max() == 0
    assert np.array_equal(flow[0], dis_flow(frames[1], frames[0]))


def test_dis_sees_gray_of_rgb():
    red, blue = np.zeros((2, 64, 96, 3), np.uint8)
    texture = moving(0, 0, 1)[0, :, :, 0]
    red[..., 0], blue[..., 2] = texture, texture
    gray = [np.repeat((w * texture).round().astype(np.uint8)[..., None], 3, -1) for w in (0.299, 0.114)]
    np.testing.assert_allclose(dis_flow(red, blue), dis_flow(*gray), atol=0.05)


@pytest.mark.parametrize("quality", ["ultrafast", "fast", "medium"])
@pytest.mark.parametrize("size", [(8, 40), (12, 48), (13, 43), (20, 400), (31, 80), (30, 1000)])
def test_flow_of_flat_frames_is_that_of_frames_with_copies_of_the_last_row(size, quality):
    """OpenCV reads out of bounds in such frames, and the process ends by a signal."""
    frames = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    higher = np.concatenate([frames, np.repeat(frames[:, -1:], 400 - size[0], axis=1)], axis=1)
    height = max(size[0], min(32, -(-2 * size[1] // 5)))
    flow = dis_flow(*frames, quality)
    assert flow.shape == (*size, 2)
    assert np.array_equal(flow, dis_flow(*higher[:, :height], quality)[: size[0]])


def test_presets_of_dis_differ_and_the_default_is_medium():
    frames = moving(3, 2, 2)
    flows = {name: annotated(Dis(Dis.Options(**options)), frames) for name, options in Dis.presets.items()}
    assert list(flows) == ["ultrafast", "fast", "medium"]
    assert len({flow.tobytes() for flow in flows.values()}) == 3
    assert np.array_equal(annotated(dis(), frames), flows["medium"])


def test_dis_does_not_depend_on_opencvs_threads():
    frames, before = moving(3, 2, 2, (160, 224)), cv2.getNumThreads()
    try:
        flows = [(cv2.setNumThreads(n), annotated(dis(), frames))[1] for n in (1, 2, 5)]
    finally:
        cv2.setNumThreads(before)
    assert all(np.array_equal(flow, flows[0]) for flow in flows)


def test_frames_too_small_for_dis():
    with pytest.raises(DataError, match=r"DIS finds no optical flow in frames of 8x10 .*; use larger frames"):
        annotated(dis(), noise(2, 8, 10))


# --- all of them ---


@pytest.fixture(params=["dis", "raft", "deeplabv3"])
def annotator(request, networks):
    return {"dis": dis, "raft": raft_of, "deeplabv3": deeplab_of}[request.param]()


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("size", [(64, 96), (45, 70)])
def test_the_contract_of_an_annotator(annotator, count, size):
    window = noise(count, *size)
    array = annotated(annotator, window)
    check_array(array, annotator.info.spec, count, "annotator")
    assert array.shape[1:3] == size
    assert np.array_equal(window, noise(count, *size)), "the frames are not changed"


@pytest.mark.slow
def test_the_same_alone_and_among_others_in_any_process(annotator):
    windows = [noise(3, 64, 96, seed=seed) for seed in range(3)]
    arrays = [annotated(annotator, window) for window in windows]
    copy = pickle.loads(pickle.dumps(annotator))
    assert np.array_equal(annotated(copy, windows[1]), arrays[1])
    part = annotated(annotator, windows[1][1:])
    assert np.array_equal(part, arrays[1][1:])
    assert not np.array_equal(arrays[0], arrays[1])


@pytest.mark.slow
@pytest.mark.parametrize("make", [raft_of, deeplab_of])
def test_the_threads_of_the_process_do_not_matter_and_stay(make, networks):
    """Processes that read ahead have one."""
    frames, before = moving(3, 2, 4, (96, 128)), torch.get_num_threads()
    arrays, counts = [], []
    hook = torch.nn.modules.module.register_module_forward_hook(lambda *_: counts.append(torch.get_num_threads()))
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            arrays.append(annotated(make(), frames))
            assert torch.get_num_threads() == threads
    finally:
        hook.remove()
        torch.set_num_threads(before)
    assert np.array_equal(*arrays)
    assert set(counts) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("make", [raft_of, deeplab_of])
def test_a_batch_at_once_differs_from_single_entries_by_rounding(make, networks):
    """As on a GPU: any device but plain "cpu" computes the whole batch."""
    frames = moving(3, 2, 4, (96, 128))
    single, batched = (annotated(make(), frames, device) for device in ("cpu", "cpu:0"))
    assert (single != batched).mean() < 0.01 or np.abs(single - batched).max() < 1e-3


def test_annotators_leave_the_random_state_alone(annotator):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    annotated(annotator, noise(2, 64, 96))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("make", [raft_of, deeplab_of])
def test_the_fingerprint_is_the_hash_of_the_weights(make, networks, published):
    url = published[1]["r" if make is raft_of else "d"]
    digest = hashlib.sha256((published[0] / url.rpartition("/")[2]).read_bytes()).hexdigest()
    assert make().fingerprint() == digest


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: raft_of("large"), "raft_large_C_T_SKHT_V2-ff5fadd5.pth"),
        (lambda: raft_of("small"), "raft_small_C_T_V2-01064c6d.pth"),
        (lambda: deeplab_of(), "deeplabv3_resnet50_coco-cd0a2569.pth"),
        (lambda: deeplab_of(backbone="resnet101"), "deeplabv3_resnet101_coco-586e9e4e.pth"),
    ],
)
def test_without_weights_and_network_the_file_is_named(make, name, cache, tmp_path, monkeypatch):
    """Before any clip is read: the fingerprint is asked for first."""
    with pytest.raises(DataError, match=rf"the weights {name} are not here.*into \$VPBENCH_WEIGHTS or {cache}"):
        make().fingerprint()
    with pytest.raises(DataError, match=rf"the weights {name} are not here"):
        annotated(make(), noise(2, 64, 96))
    (tmp_path / name).write_bytes(b"half of it")
    monkeypatch.setenv("VPBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(DataError, match=rf"{name}: its sha256 does not begin with"):
        make().fingerprint()


# --- raft ---


def test_raft_is_torchvisions_with_its_preprocessing(networks):
    frames = moving(3, -2, 2, (128, 136))
    tensors = torch.from_numpy(frames).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = networks[0](*OpticalFlow()(tensors[1:], tensors[:1]), num_flow_updates=2)[-1]
    flow = annotated(raft_of(), frames)
    np.testing.assert_allclose(flow[0], expected[0].permute(1, 2, 0), atol=1e-3)
    assert np.abs(flow).max() > 0.1


class Echo(torch.nn.Module):
    """Gives back, as flow, the first channel of both frames: what lies where, after padding and cropping."""

    def forward(self, frame, before, num_flow_updates):
        self.input = tuple(frame.shape[-2:]), num_flow_updates
        return [torch.zeros(1), torch.cat([frame[:, :1], before[:, :1]], dim=1)]


@pytest.mark.parametrize(
    ("size", "padded"), [((128, 128), (128, 128)), ((121, 131), (128, 136)), ((375, 1242), (376, 1248))]
)
def test_padding_is_cut_off_where_it_was_put(size, padded):
    frame, before = torch.rand(2, 1, 3, *size, generator=torch.Generator().manual_seed(0))
    flow = raft._flow(network := Echo(), frame, before, enlargement(*size), 7)
    assert network.input == (padded, 7)
    assert torch.equal(flow, torch.cat([frame[:, :1], before[:, :1]], dim=1))


@pytest.mark.parametrize(("size", "factor"), [((64, 88), 2), ((120, 160), 2), ((30, 50), 5), ((16, 500), 8)])
def test_small_frames_are_enlarged_and_the_flow_is_brought_back(size, factor):
    assert enlargement(*size) == factor
    ramp = torch.arange(size[1], dtype=torch.float32).expand(1, 3, *size)
    flow = raft._flow(network := Echo(), ramp, 2 * ramp, factor, 1)
    assert all(side >= 128 and side % 8 == 0 for side in network.input[0])
    assert flow.shape == (1, 2, *size)
    inner = torch.cat([ramp[:, :1], 2 * ramp[:, :1]], dim=1)[..., 1:-1]
    torch.testing.assert_close(flow[..., 1:-1] * factor, inner, atol=1e-3, rtol=0)


def test_frames_too_small_for_raft(networks):
    with pytest.raises(DataError, match=r"RAFT needs frames of at least 16 pixels per side; these are 15x96"):
        annotated(raft_of(), noise(2, 15, 96))


# --- deeplabv3 ---


@pytest.mark.parametrize("side", [0, 72])
def test_deeplab_is_torchvisions_with_its_preprocessing(networks, side):
    """Scores are brought to the frame's size before the best is taken."""
    frames = moving(3, -2, 2, (48, 60))
    labels = annotated(deeplab_of(side=side), frames)
    for frame, label in zip(torch.from_numpy(frames).permute(0, 3, 1, 2).split(1), labels, strict=True):
        with torch.inference_mode():
            scores = networks[1](SemanticSegmentation(resize_size=side or None)(frame))["out"]
        expected = torch.nn.functional.interpolate(scores, (48, 60), mode="bilinear").argmax(1)
        assert np.array_equal(label, expected[0].numpy())
    assert len(np.unique(labels)) > 1


@pytest.mark.parametrize(("options", "side"), [({}, 520), ({"side": 0}, 0), ({"side": 256}, 256)])
def test_torchvisions_weights_see_the_size_that_they_were_evaluated_at(options, side):
    assert DeepLabV3(DeepLabV3.Options(**options)).side == side


@pytest.fixture(scope="session")
def checkpoint(published, tmp_path_factory):
    """Save the random network with another count of classes, without its auxiliary head."""

    def make(classes: int):
        path = tmp_path_factory.mktemp("checkpoint") / "mine.safetensors"
        state = {k: v for k, v in published[3].state_dict().items() if not k.startswith("aux_classifier.")}
        save_file(state | {name: state[name][:classes].clone() for name in state if name.startswith(LAST)}, path)
        return path

    return make


@pytest.mark.slow
def test_a_checkpoint_of_19_classes_gives_cityscapes_labels(checkpoint, published):
    annotator = DeepLabV3(DeepLabV3.Options(weights=(path := checkpoint(19))))
    assert annotator.info.label_space.name == "cityscapes19"
    assert annotator.info.label_space.names[13] == "car"
    assert annotator.side == 0
    assert DeepLabV3.info.label_space is VOC21
    frames = noise(1, 48, 60)
    labels = annotated(annotator, frames)
    with torch.inference_mode():
        scores = published[3](SemanticSegmentation(resize_size=None)(torch.from_numpy(frames).permute(0, 3, 1, 2)))
    assert np.array_equal(labels, scores["out"][:, :19].argmax(1).numpy())
    assert annotator.fingerprint() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "weights" not in annotator.options.model_dump(), "where a file lies is no part of the identity"


def test_voc_labels_as_foreground(networks, monkeypatch):
    """A network that gives every pixel's red as its class."""
    monkeypatch.setattr(deeplab, "_labels", lambda network, frame, side: frame[:, 0])
    frames = np.repeat(np.arange(21, dtype=np.uint8).reshape(1, 3, 7, 1), 3, axis=-1)
    annotator = DeepLabV3(DeepLabV3.Options(**DeepLabV3.presets["foreground2"]))
    assert annotator.info.label_space is FOREGROUND2
    labels = annotated(annotator, frames)
    check_array(labels, BUILT_IN["semantics"], 1, "deeplabv3")
    assert labels.ravel().tolist() == [0] + [1] * 20
    assert annotated(deeplab_of(), frames).ravel().tolist() == list(range(21))
    assert annotator.fingerprint() == deeplab_of().fingerprint()


@pytest.mark.slow
@pytest.mark.parametrize("into", ["cityscapes9", "cityscapes20"])
def test_cityscapes_labels_in_the_spaces_of_sadm(checkpoint, into):
    path, frames = checkpoint(19), noise(1, 48, 60)
    plain = annotated(DeepLabV3(DeepLabV3.Options(weights=path)), frames)
    annotator = DeepLabV3(DeepLabV3.Options(weights=path, into=into))
    labels = annotated(annotator, frames)
    assert annotator.info.label_space.name == into
    moving_only = {name: i for i, name in enumerate(annotator.info.label_space.names)}
    expected = [moving_only.get(name, 0) for name in CITYSCAPES19.names]
    assert np.array_equal(labels, np.array(expected)[plain])
    assert len(np.unique(plain)) > 1


@pytest.mark.parametrize(
    ("classes", "into", "words"),
    [
        (None, "cityscapes9", "'voc21' has no mapping into 'cityscapes9'; known: foreground2"),
        (21, "cityscapes20", "'voc21' has no mapping into 'cityscapes20'"),
    ],
)
def test_a_space_without_a_mapping(checkpoint, classes, into, words):
    path = checkpoint(classes) if classes else None
    with pytest.raises(UsageError, match=words):
        DeepLabV3(DeepLabV3.Options(weights=path, into=into))


def test_checkpoints_that_do_not_fit(tmp_path):
    def refused(path, words, tensors=None, **options):
        if tensors is not None:
            save_file(tensors, path)
        with pytest.raises(DataError, match=words) as caught:
            annotated(deeplab_of(weights=path, **options), noise(1, 32, 32))
        assert str(path) in str(caught.value)

    def last(classes):
        return {f"{LAST}weight": torch.zeros(classes, 256, 1, 1)}

    path = tmp_path / "mine.safetensors"
    refused(path, "there is no such file")
    refused(path, "has 20 classes; known are 19 .* and 21", last(20))
    refused(path, r"resnet50, not a resnet101: choose it with deeplabv3:resnet50", last(19), backbone="resnet101")
    refused(path, r"no tensor 'classifier.4.weight'.*'head.weight'", {"head.weight": torch.zeros(1)})
    refused(path, r"no tensor 'classifier.4.weight'.*'none at all'", {})
    refused(path, r"has no tensor 'backbone.conv1.weight'", last(21))
    conv1 = {"backbone.conv1.weight": torch.zeros(64, 4, 7, 7)}
    refused(path, r"is \[64, 4, 7, 7\], not \[64, 3, 7, 7\]", last(21) | conv1)
    path.write_bytes(b"bad")
    refused(path, "is not a safetensors file")
    (tmp_path / "mine.pth").touch()
    refused(tmp_path / "mine.pth", r"make it one with `vpbench weights convert .*mine.pth`")


# --- label spaces ---


def test_voc21_has_the_order_of_torchvisions_weights_and_the_published_colours():
    assert VOC21.names[0] == "background"
    assert list(VOC21.names[1:]) == _VOC_CATEGORIES[1:]
    assert len(VOC21) == len(VOC21.palette) == 21
    colours = dict(zip(VOC21.names, VOC21.palette, strict=True))
    # From the VOC development kit's documentation and widely printed tables.
    assert colours["background"] == (0, 0, 0)
    assert colours["aeroplane"] == (128, 0, 0)
    assert colours["bottle"] == (128, 0, 128)
    assert colours["cat"] == (64, 0, 0)
    assert colours["person"] == (192, 128, 128)
    assert colours["pottedplant"] == (0, 64, 0)
    assert colours["tvmonitor"] == (0, 64, 128)


def test_voc21_maps_into_foreground2():
    ids = VOC21.into["foreground2"]
    assert len(ids) == 21
    assert [FOREGROUND2.names[i] for i in ids] == ["background"] + ["foreground"] * 20
    assert len(FOREGROUND2) == len(FOREGROUND2.palette) == 2
