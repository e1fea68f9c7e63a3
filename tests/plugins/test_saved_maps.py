"""The annotator `saved`: every form of a map, and one line for each that is missing or does not fit."""

from __future__ import annotations

import cv2
import folders
import numpy as np
import pytest
from PIL import Image

from vpbench.errors import DataError, UsageError
from vpbench.select.component import choose_annotators, choose_predictor
from vpbench.toolkit.flow import dis_flow
from vpbench_annotators.saved import Saved

SIZE = (48, 64)


def moving(x: int, y: int, count: int) -> np.ndarray:
    """Frames uint8 [N,H,W,3] of a texture that moves by (x, y) whole pixels per frame."""
    noise = np.random.default_rng(0).random((SIZE[0] + 40, SIZE[1] + 40, 3), dtype=np.float32)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([picture[20 - y * t :, 20 - x * t :][: SIZE[0], : SIZE[1]] for t in range(count)])


FRAMES = moving(3, -2, 3)
TRUE = np.broadcast_to(np.float32([-3, 2]), (*SIZE, 2)).copy()
"""The flow from each frame to the one before."""


def saved(folder, **options):
    return Saved(Saved.Options(dir=folder, **options))


def annotate(folder, clips=("a/b.avi@0-1", "a/b.avi@1-2"), frames=FRAMES, **options):
    annotator = saved(folder, **options)
    pairs = annotator.info.spec.pairwise
    window = np.stack([frames[:-1], frames[1:]], axis=1) if pairs else frames[: len(clips), None]
    return annotator.annotate({"frames": window}, clips, "cpu")


def write(path, flow):
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix.lower():
        case ".flo":
            header = np.float32(202021.25).tobytes() + np.array([flow.shape[1], flow.shape[0]], "<i4").tobytes()
            path.write_bytes(header + flow.astype("<f4").tobytes())
        case ".npy":
            np.save(path, flow)
        case ".npz":
            np.savez(path, flow=flow, other=np.zeros(3))
        case ".png":
            valid = np.ones(flow.shape[:2])
            channels = np.stack([valid, flow[..., 1] * 64 + 2**15, flow[..., 0] * 64 + 2**15], axis=-1)
            cv2.imwrite(str(path), channels.astype(np.uint16))  # in OpenCV's order: blue, green, red


def write_labels(path, labels, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels, "L")
    if palette:
        picture.putpalette([value for i in range(256) for value in (255 - i, 0, 0)])
    picture.save(path)


@pytest.mark.parametrize("suffix", [".flo", ".FLO", ".npy", ".npz", ".png"])
def test_every_form_of_flow(tmp_path, suffix):
    flows = TRUE + np.random.default_rng(0).integers(-64, 64, (2, *TRUE.shape)).astype(np.float32) / 64
    write(tmp_path / f"a/b.avi/1{suffix}", flows[0])
    write(tmp_path / f"a/b.avi/000002{suffix}", flows[1])
    assert np.array_equal(annotate(tmp_path), flows)
    assert annotate(tmp_path).dtype == np.float32
    assert saved(tmp_path).info.gives == "flow"


@pytest.mark.parametrize("palette", [False, True])
def test_labels_are_ids_in_a_label_space(tmp_path, palette):
    labels = np.random.default_rng(1).choice(np.array([0, 18, 255], np.uint8), (2, *SIZE))
    for i, picture in enumerate(labels):
        write_labels(tmp_path / f"drive/{i}.png", picture, palette)
    clips = ("drive@0", "drive@1")
    assert np.array_equal(annotate(tmp_path, clips), labels)
    assert np.array_equal(annotate(tmp_path, clips, space="cityscapes19"), labels)
    assert saved(tmp_path).info.label_space is None
    assert saved(tmp_path, space="cityscapes19").info.label_space.name == "cityscapes19"
    with pytest.raises(DataError, match=r"drive/0.png: has the id 18; cityscapes9 has 9 classes, and 255"):
        annotate(tmp_path, clips, space="cityscapes9")


@pytest.mark.parametrize("suffix", [".flo", ".png"])
def test_an_unknown_pixel_takes_the_nearest_flow(tmp_path, suffix):
    flow = TRUE.copy()
    flow[:, 32:] = (-4, 2)
    write(path := tmp_path / f"s/1{suffix}", flow)
    if suffix == ".flo":
        flow[10, 10] = flow[10, 60] = 1e10
        write(path, flow)
    else:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        picture[10, [10, 60]] = (0, 9, 9)  # in OpenCV's order: blue says that the pixel is unknown
        cv2.imwrite(str(path), picture)
    (filled,) = annotate(tmp_path, ["s@0-1"], FRAMES[:2])
    assert filled[10, 10].tolist() == [-3, 2]
    assert filled[10, 60].tolist() == [-4, 2]


def test_a_padded_context_has_no_motion_and_needs_no_map(tmp_path):
    write(tmp_path / "s/1.flo", TRUE)
    assert not annotate(tmp_path, ["s@0-0"], FRAMES[[0, 0]]).any()


def test_flow_that_both_signs_explain_is_accepted(tmp_path):
    stripes = np.zeros((*SIZE, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    write(tmp_path / "s/1.flo", np.broadcast_to(np.float32([2, 0]), (*SIZE, 2)))
    frames = np.stack([stripes, np.roll(stripes, 2, axis=1)])
    assert (annotate(tmp_path, ["s@0-1"], frames)[..., 0] == 2).all()


def write_damaged(path, at, data):
    """A map with some other bytes."""
    write(path, TRUE)
    whole = bytearray(path.read_bytes())
    whole[at : at + len(data)] = data
    path.write_bytes(whole)


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: write(f / "s/2.flo", TRUE), r"sequence 's', frame 1: there is no map .*s/1.flo \(or .npy"),
        (lambda f: write(f / "s/1.flo", TRUE[:-1]), r"s/1.flo: is 47x64, the protocol's frames are 48x64"),
        (lambda f: write(f / "s/1.flo", -TRUE), r"1.flo: leads the wrong way: .*1 by frame 0.*backward flow"),
        (lambda f: write(f / "s/1.npy", TRUE.transpose(2, 0, 1)), r"1.npy: is float32 \[2, 48, 64\]; flow must"),
        (lambda f: write(f / "s/1.npy", TRUE * np.nan), "1.npy: has NaN or infinite flow"),
        (lambda f: write_text(f / "s/1.flo", "PIEH"), "1.flo: is no map of flow that loads"),
        (lambda f: write_text(f / "s/1.flo", "PIEH" * 30), "1.flo: is no .flo file, or was cut off"),
        (lambda f: write_text(f / "s/1.npz", "PK"), "1.npz: is no map of flow that loads"),
        (lambda f: write_damaged(f / "s/1.npy", 10, b"((("), "1.npy: is no map of flow that loads"),
        (lambda f: write_damaged(f / "s/1.png", 16, b"\0\1\0\0\0\1\0\0"), "1.png: is a damaged PNG file"),
        (lambda f: write_damaged(f / "s/1.png", 33, b"\x7f"), "1.png: is a damaged PNG file"),
        (lambda f: write(f / "s/1.flo", TRUE + 1e10), "1.flo: marks every pixel as unknown"),
    ],
)
def test_flow_that_does_not_fit_is_one_line(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(DataError, match=words) as error:
        annotate(tmp_path, ["s@0-1"], FRAMES[:2])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: write_labels(f / "s/1.png", np.zeros(SIZE, np.uint8)), "frame 0: there is no map .*s/0.png"),
        (lambda f: write_labels(f / "s/0.png", np.zeros((8, 9), np.uint8)), "0.png: is 8x9, the protocol's"),
        (lambda f: cv2.imwrite(str(f / "0.png"), FRAMES[0]), r"0.png: is not a map of labels: save one channel"),
        (lambda f: write_text(f / "s/0.png", "no PNG"), "0.png: is no PNG that decodes"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(tmp_path, make, words):
    make(tmp_path)
    sequence = "" if (tmp_path / "0.png").exists() else "s"
    with pytest.raises(DataError, match=words):
        annotate(tmp_path, [f"{sequence}@0"])


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds no maps; expected DIR/<sequence>/<frame number>"),
        (["s/first.flo", "s/.1.flo"], "holds no maps"),
        (["s/1.flo", "s/01.npy"], "1.flo are for one frame; remove one"),
        (["s/1.flo", "s/2.png"], "2.png holds labels and .*1.flo flow; put them in two folders"),
    ],
)
def test_a_folder_that_holds_no_maps_of_one_kind(tmp_path, names, words):
    for name in names:
        if name.endswith("png"):
            write_labels(tmp_path / name, np.zeros(SIZE, np.uint8))
        else:
            write(tmp_path / name, TRUE)
    with pytest.raises(DataError, match=words):
        saved(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        saved(tmp_path / "nowhere")


def test_it_is_chosen_by_its_folder_and_its_contents_are_its_identity(tmp_path):
    def described(folder, modality="flow", **options):
        texts = {modality: f"saved:{folder}"}
        return choose_annotators(folders.plugins(), texts, {"saved": options})[modality].describe()

    for name in ("one", "two"):
        write(tmp_path / name / "s/1.flo", TRUE)
    assert described(tmp_path / "one") == described(tmp_path / "two")
    write(tmp_path / "two/s/1.flo", TRUE + 1)
    assert described(tmp_path / "one") != described(tmp_path / "two")
    with pytest.raises(UsageError, match=r"semantics=saved:.*: the annotator 'saved' gives flow"):
        described(tmp_path / "one", "semantics")
    with pytest.raises(UsageError, match="space"):
        described(tmp_path / "one", space="cityscapes")


def test_the_predictor_and_the_annotator_of_this_name_do_not_share_options(tmp_path):
    write_labels(tmp_path / "maps/s/1.png", np.zeros(SIZE, np.uint8))
    np.save(tmp_path / "s@0.npy", np.zeros((1, *SIZE, 3), np.uint8))
    line = "predictor 'saved' has no option 'space', the annotator 'saved' has it: use them in separate runs"
    with pytest.raises(UsageError, match=line):
        choose_predictor(folders.plugins(), f"saved:{tmp_path}", {"saved": {"space": "voc21"}})
    maps = {"semantics": f"saved:{tmp_path / 'maps'}"}
    with pytest.raises(UsageError, match=r"annotator 'saved': saved:.*maps and the option dir = x name it twice"):
        choose_annotators(folders.plugins(), maps, {"saved": {"dir": "x"}})
    assert choose_predictor(folders.plugins(), "saved", {"saved": {"dir": str(tmp_path)}}).name == "saved"


@pytest.mark.parametrize(("x", "y"), [(4, 0), (0, -3), (1, 1)])
def test_an_estimate_of_flow_is_never_taken_for_the_wrong_way(tmp_path, x, y):
    frames = moving(x, y, 2)
    write(tmp_path / "s/1.flo", dis_flow(frames[1], frames[0]))
    annotate(tmp_path, ["s@0-1"], frames)
    write(tmp_path / "s/1.flo", np.zeros((*SIZE, 2), np.float32))
    annotate(tmp_path, ["s@0-1"], frames)
    annotate(tmp_path, ["s@0-1"], frames[[0, 0]])
