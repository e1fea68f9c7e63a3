"""Strips: every picture in its column, labels in their palette."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from toys import SPACE

from vpbench.pages.films import Film
from vpbench.pages.strips import Row, films_strip, frames_row, labels_row, strip


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


def test_a_strip_has_a_row_per_film_and_a_column_per_step():
    def film(level, *steps):
        return Film(np.full((len(steps), 64, 64, 3), level, np.uint8), steps)

    image = films_strip({"context": film(10, -1, 0), "truth": film(20, 2), "prediction": film(30, 1, 2)})
    colours = [[at(image, column, row, 4, 2, (64, 64))[0] for column in range(4)] for row in range(2)]
    assert colours == [[10, 10, 255, 20], [255, 255, 30, 30]]
