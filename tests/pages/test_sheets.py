"""Sheets: every picture in its place, exact where colours mean something, the same bytes, small and described."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from toys import __file__ as toys

from vpbench.cli.main import _run
from vpbench.errors import ResultError
from vpbench.pages.films import Film, frame_pictures
from vpbench.pages.sheets import encode, sheet_columns, write_pictures
from vpbench.results.pictures import LONGEST_SIDE, read_pictures, read_sheet


def film(count=3, height=4, width=5, **changes):
    pictures = (
        np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(height, 1).repeat(width, 2).repeat(3, 3) * 20
    )
    return Film(pictures, tuple(range(1, count + 1)), **changes)


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_pictures_of_a_sheet_stand_row_by_row():
    wide = film(3, 4, 6000)
    sheet, data = encode(wide, lossless=True)
    assert (sheet.columns, sheet.size, sheet.steps) == (2, (4, 6000), (1, 2, 3))
    image = decoded(data)
    assert image.shape == (8, 12000, 3)
    assert [image[0, 0, 0], image[0, 6000, 0], image[4, 0, 0], image[4, 6000, 0]] == [0, 20, 40, 255]


@pytest.mark.parametrize(
    ("count", "height", "width", "columns"),
    [
        (5, 10, 10, 5),
        (31, 256, 512, 31),
        (32, 256, 512, 31),
        (8, 1024, 2048, 7),
        (113, 1024, 2048, 0),
        (1, 1, 16384, 0),
    ],
)
def test_a_sheet_fits_into_a_webp_file(count, height, width, columns):
    assert sheet_columns(count, height, width) == columns
    assert columns * width <= LONGEST_SIDE


def test_pictures_that_do_not_fit_are_halved():
    sheet, data = encode(film(1, 2, 20000, exact=True), lossless=False)
    assert sheet.size == (1, 10000) and decoded(data).shape == (1, 10000, 3)


def noise(side, **changes):
    pictures = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    return Film(pictures, (1, 2), **changes)


@pytest.mark.parametrize(
    ("side", "lossless", "exact", "equal"),
    [(160, False, False, True), (161, False, False, False), (161, True, False, True), (161, False, True, True)],
)
def test_small_exact_and_full_size_pictures_lose_nothing(side, lossless, exact, equal):
    original = noise(side, exact=exact)
    data = encode(original, lossless=lossless)[1]
    assert np.array_equal(decoded(data)[:, :side], original.pictures[0]) is equal
    assert data == encode(original, lossless=lossless)[1], "same pictures, same bytes"


def test_a_clip_at_the_size_of_cityscapes_takes_less_than_a_megabyte(tmp_path):
    """Smooth frames with some noise, as of a camera: 4 context frames, 5 steps."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(9, 3, 16, 32, generator=generator)
    frames = torch.nn.functional.interpolate(coarse, (1024, 2048), mode="bilinear").clamp(0, 1)
    pictures = frame_pictures(frames, 512)
    kinds = {"context": pictures[:4], "truth": pictures[4:], "prediction": pictures[4:], "error": pictures[4:]}
    films = {kind: Film(array, tuple(range(1, 1 + len(array)))) for kind, array in kinds.items()}
    write_pictures(tmp_path / "pictures" / "a@0", "a@0", films, full_size=False, size=(1024, 2048))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.webp")) < 1_000_000


def test_a_description_is_read_back(tmp_path):
    folder = tmp_path / "pictures" / "a@0"
    written = write_pictures(folder, "a@0", {"truth": film(), "error": film(limit=0.5)}, full_size=True, size=(4, 5))
    assert read_pictures(tmp_path, "a@0") == written
    assert decoded(read_sheet(tmp_path, "a@0", "error")).shape == (4, 15, 3)
    (folder / "error.webp").write_bytes(b"<svg onload='alert(1)'/>")
    with pytest.raises(ResultError, match=r"error\.webp is no WebP file; remove"):
        read_sheet(tmp_path, "a@0", "error")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("clip", "b@0", "is of another clip"),
        ("clip", "../../b@0", "clip: "),
        ("sheets", {"../../x": {"steps": [1], "size": [4, 5], "columns": 1}}, "sheets"),
        ("sheets", {"truth": {"steps": [2, 1], "size": [4, 5], "columns": 1}}, "not ascending"),
        ("sheets", {"truth": {"steps": [1], "size": [4, 10**9], "columns": 1}}, "sheets"),
        ("sheets", {"truth": {"steps": [1], "size": [4, 5], "columns": 0}}, "columns"),
        ("schema", 99, "newer than this vpbench reads"),
    ],
)
def test_a_forged_description_is_refused(tmp_path, field, value, words):
    folder = tmp_path / "pictures" / "a@0"
    write_pictures(folder, "a@0", {"truth": film()}, full_size=False, size=(4, 5))
    document = json.loads((folder / "clip.json").read_text())
    (folder / "clip.json").write_text(json.dumps(document | {field: value}))
    with pytest.raises(ResultError, match=words):
        read_pictures(tmp_path, "a@0")


def test_the_description_disappears_first_and_comes_last(tmp_path, monkeypatch):
    folder = tmp_path / "pictures" / "a@0"
    write_pictures(folder, "a@0", {"truth": film()}, full_size=False, size=(4, 5))
    order = []

    def record(path, data):
        order.append((path.name, (folder / "clip.json").exists()))

    monkeypatch.setattr("vpbench.pages.sheets.write_atomic", record)
    write_pictures(folder, "a@0", {"truth": film(), "prediction": film()}, full_size=False, size=(4, 5))
    assert order == [("truth.webp", False), ("prediction.webp", False), ("clip.json", False)]


@pytest.mark.slow
def test_pictures_are_of_the_same_clips_for_any_shards_and_come_later_if_asked_later(tmp_path):
    protocol = tmp_path / "p.toml"
    protocol.write_text(
        'schema = 1\nname = "p"\nversion = 1\n[dataset]\nname = "toy"\noptions = { sequences = 40 }\n'
        '[sampling]\nkind = "first"\ncontext = 3\nhorizon = 4\n'
    )
    args = ["run", "--plugin", toys, "-p", str(protocol), "-m", "needs-flow", "--metric", "mse"]
    for shard in ("0/2", "1/2"):
        assert _run([*args, "--out", str(tmp_path / "a"), "--shard", shard, "--pictures", "4"]) == 0
    assert _run([*args, "--out", str(tmp_path / "b")]) == 0
    assert not list((tmp_path / "b").rglob("pictures"))
    assert _run([*args, "--out", str(tmp_path / "b"), "--pictures", "4"]) == 0
    a, b = (
        {
            str(p.relative_to(folder)): p.read_bytes()
            for folder in tmp_path.glob(f"{name}/p/*/*/pictures")
            for p in folder.rglob("*.*")
        }
        for name in "ab"
    )
    assert sorted({name.rpartition("/")[0] for name in a if name.endswith(".json")}) == [
        "test/seq000@0",
        "test/seq010@0",
        "test/seq020@0",
        "test/seq030@0",
    ]
    assert a == b
