"""Strips: every picture in its column, labels in their palette, and the same clips whatever the shards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from toys import SPACE

from vpbench.cli.main import _run
from vpbench.pages.strips import Row, frames_row, labels_row, strip


def at(image: Image.Image, column: int, row: int, columns: int, rows: int, size: tuple[int, int]) -> tuple[int, ...]:
    """The colour in the middle of a picture of a strip, counted from its lower right corner."""
    height, width = size[0] + 2, size[1] + 2
    x = image.width - (columns - column) * width + size[1] // 2
    y = image.height - (rows - row) * height + size[0] // 2
    return image.getpixel((x, y))


def test_pictures_stand_in_the_column_of_their_frame():
    frames = torch.zeros(2, 3, 64, 80)
    frames[0, 0], frames[1, 2] = 1.0, 0.5
    image = strip(["a", "b", "c"], [frames_row("frames", frames, before=1)])
    assert at(image, 0, 0, 3, 1, (64, 80)) == (255, 255, 255), "nothing was given for the first column"
    assert at(image, 1, 0, 3, 1, (64, 80)) == (255, 0, 0)
    assert at(image, 2, 0, 3, 1, (64, 80)) == (0, 0, 128)


def test_small_pictures_are_enlarged_by_a_whole_factor():
    image = strip(["a"], [Row("x", [np.full((16, 24, 3), 7, np.uint8)])])
    assert at(image, 0, 0, 1, 1, (64, 96)) == (7, 7, 7)


def test_labels_have_their_spaces_colours_and_ignored_pixels_are_black():
    labels = torch.tensor([[[2, 1], [255, 0]]])
    (picture,) = labels_row("labels", labels, SPACE).pictures
    assert picture.tolist() == [[[255, 0, 0], [128, 128, 128]], [[0, 0, 0], [0, 0, 0]]]


@pytest.mark.slow
def test_pictures_are_of_the_same_clips_for_any_shards_and_come_later_if_asked_later(tmp_path):
    from toys import __file__ as toys

    protocol = tmp_path / "p.toml"
    protocol.write_text(
        'schema = 1\nname = "p"\nversion = 1\n[dataset]\nname = "toy"\noptions = { sequences = 40 }\n'
        '[sampling]\nkind = "first"\ncontext = 3\nhorizon = 4\n'
    )
    args = ["run", "--plugin", toys, "-p", str(protocol), "-m", "needs-flow", "--metric", "mse"]
    for shard in ("0/2", "1/2"):
        assert _run([*args, "--out", str(tmp_path / "a"), "--shard", shard, "--pictures", "4"]) == 0
    assert _run([*args, "--out", str(tmp_path / "b")]) == 0
    assert not list((tmp_path / "b").rglob("*.png"))
    assert _run([*args, "--out", str(tmp_path / "b"), "--pictures", "4"]) == 0
    a = {p.name: p.read_bytes() for p in (tmp_path / "a").rglob("samples/**/*.png")}
    b = {p.name: p.read_bytes() for p in (tmp_path / "b").rglob("samples/**/*.png")}
    assert sorted(a) == ["seq000@0.png", "seq010@0.png", "seq020@0.png", "seq030@0.png"]
    assert a == b
