"""Names of pictures: one order by their numbers, or a refusal that names two files."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import DataError, VpbenchWarning
from vpbench.toolkit.series import order_pictures

ORDERED = [
    [f"{i}.png" for i in range(12)],
    [f"frame.{i}.png" for i in range(8, 12)],
    [f"cam0_{i:04}_left.JPG" for i in range(98, 103)],
    ["998.png", "999.png", "1000.png"],
    [f"{round(1 + i * 0.05, 2)}.png" for i in range(14)],
    ["t_0.png", "t_0.05.png", "t_0.1.png", "t_1.png", "t_1.5.png", "t_10.png"],
    ["1305031102.175304.png", "1305031102.211214.png", "1305031103.175304.png"],
    [f"{i}.png" for i in range(-11, 3)],
    ["f_-10.5.png", "f_-2.png", "f_3.png"],
    [f"-{i:03}.png" for i in range(8, 12)],
    [f"clip-{i}.png" for i in range(8, 12)],
    [f"{i:04}_t{i / 30:.3f}.png" for i in range(40)],
    ["2024.01.02.png", "2024.01.10.png"],
    ["1.JPG", "2.jpg", "3.jpeg"],
    ["only.png"],
    [],
]
REFUSED = {
    "one stem, two suffixes": (["1.jpg", "2.jpg", "1.png", "2.png"], ("1.jpg", "1.png")),
    "one number, two spellings of a suffix": (["1.jpg", "1.jpeg"], ("1.jpg", "1.jpeg")),
    "prefixes": ([f"{kind}_{i}.jpg" for kind in ("img", "flow_x") for i in range(3)], ("flow_x_0.jpg", "img_0.jpg")),
    "a stray picture": (["0001.png", "0002.png", "cover.png"], ("0001.png", "cover.png")),
    "widths": (["01.png", "02.png", "0001.png", "0002.png"], ("01.png", "0001.png")),
    "padded and not": (["1.png", "01.png"], ("1.png", "01.png")),
    "a short number among padded ones": (["7.png", "0008.png"], ("7.png", "0008.png")),
    "sub-series": ([f"a{j}_{i}.png" for j in range(2) for i in range(3)], ("a0_2.png", "a1_0.png")),
    "no numbers": (["a.png", "b.png"], ("a.png", "b.png")),
    "decimals or parts": (["1.8.png", "1.9.png", "1.10.png"], ("1.10.png", "1.8.png")),
    "equal decimals": (["1.0.png", "1.png"], ("1.0.png", "1.png")),
    "minus or separator": (["-1.png", "-2.png"], ("-1.png", "-2.png")),
    "exponents": (["0.1.png", "1e-05.png"], ("0.1.png", "1e-05.png")),
}


@pytest.mark.parametrize("names", ORDERED, ids=lambda names: " ".join(names[:2]))
def test_one_series_is_ordered_by_its_numbers(names):
    for given_names in (names, names[::-1], sorted(names)):
        assert list(order_pictures(given_names, "walk")) == names


@pytest.mark.parametrize("kind", REFUSED)
def test_anything_else_is_refused_and_two_files_are_named(kind):
    names, offenders = REFUSED[kind]
    for given_names in (names, names[::-1]):
        with pytest.raises(DataError, match=r"^walk: ") as caught:
            order_pictures(given_names, "walk")
        assert all(name in str(caught.value).replace(":", " ").split() for name in offenders)


@pytest.mark.filterwarnings("ignore:.*the frame numbers jump:vpbench.errors.VpbenchWarning")
@given(
    st.lists(st.integers(0, 20000), unique=True, min_size=2), st.sampled_from(["{}", "{:06d}", "a_{}_b", "v1.{:05d}"])
)
def test_integers_keep_their_order_however_they_are_written(numbers, pattern):
    names = [pattern.format(number) + ".png" for number in numbers]
    assert list(order_pictures(names, "")) == [pattern.format(number) + ".png" for number in sorted(numbers)]


@pytest.mark.filterwarnings("ignore:.*the frame numbers jump:vpbench.errors.VpbenchWarning")
@given(st.lists(st.text(st.sampled_from("0127٣²a.-_"), max_size=6), unique=True))
def test_any_names_have_one_order_or_none(names):
    def outcome(ordered):
        try:
            return order_pictures(ordered, "")
        except DataError as error:
            return str(error)

    assert outcome(names) == outcome(names[::-1])


@pytest.mark.parametrize(
    ("numbers", "gap"),
    [
        ([1, 2, 3, 7, 8], "from 3 to 7;"),
        ([0, 5, 10, 20, 25, 40], r"from 10 to 20 \(and 1 more gaps\);"),
        ([0, 5, 10, 15], ""),
        ([0, 33, 67, 100], ""),
    ],
)
def test_a_gap_in_the_frame_numbers_is_warned_of(numbers, gap, recwarn):
    order_pictures([f"{number}.png" for number in numbers], "walk")
    messages = [str(warning.message) for warning in recwarn if warning.category is VpbenchWarning]
    assert len(messages) == bool(gap)
    for message in messages:
        assert re.match(f"walk: the frame numbers jump {gap}", message)
