"""SADM's dis-occlusion: squares that move, grow and shrink, and a reference that compares all pairs of pixels."""

from __future__ import annotations

from collections import defaultdict
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbench.toolkit.warp import grid
from vpbench_sadm.options import Options
from vpbench_sadm.rendering import entering, inconsistent, overoccupied, uncovered
from vpbench_scenes.dataset import Options as SceneOptions
from vpbench_scenes.dataset import Scenes

HEIGHT, WIDTH = 32, 48
TAU = Options().occupancy_tau
STILL = torch.zeros(1, 2, HEIGHT, WIDTH)
ONE_CLASS = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64)
CONSISTENCIES = ("warped", "nearest", "literal")


def omega(flow, labels, source_labels, source_flow, options):
    return uncovered(flow, labels, source_labels, source_flow, options) | entering(flow, options)


def box(left, top=10, side=10):
    """A square of ``side`` pixels, as a mask [1,H,W]."""
    mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, top : top + side, left : left + side] = True
    return mask


def moving(mask, inside, around=(0.0, 0.0)):
    """A backward flow: ``inside`` in the mask, ``around`` elsewhere."""
    inside, around = (torch.tensor(v).view(1, 2, 1, 1) for v in (inside, around))
    return torch.where(mask[:, None], inside, around)


class Square:
    """A square of 10x10 pixels that moves right by ``by`` over a ground that stands still."""

    def __init__(self, by=4, labelled=True):
        before, after = box(20), box(20 + by)
        self.flow, self.source_flow = moving(after, (-float(by), 0.0)), moving(before, (-float(by), 0.0))
        self.labels, self.source_labels = (mask.long() * labelled for mask in (after, before))
        self.band, self.edge = before & ~after, after & ~before

    def occupancy(self, tau=TAU):
        return overoccupied(self.flow, self.labels, self.source_labels, self.source_flow, tau)

    def consistency(self, kind):
        return inconsistent(self.flow, self.labels, self.source_labels, kind)


class TestSquare:
    @pytest.mark.parametrize("by", [1, 4])
    @pytest.mark.parametrize("labelled", [True, False])
    def test_occupancy_marks_the_band_behind_it(self, by, labelled):
        square = Square(by, labelled)
        assert torch.equal(square.occupancy(), square.band)
        assert int(square.band.sum()) == 10 * by

    @pytest.mark.parametrize(("tau", "marked"), [(3.9, True), (4.1, False)])
    def test_occupancy_needs_a_difference_of_motion(self, tau, marked):
        square = Square(labelled=False)
        assert torch.equal(square.occupancy(tau), square.band & marked)

    def test_consistency_marks_the_band_and_literally_also_the_leading_edge(self):
        square = Square()
        for kind in ("warped", "nearest"):
            assert torch.equal(square.consistency(kind), square.band)
        assert torch.equal(square.consistency("literal"), square.band | square.edge)
        assert not Square(labelled=False).consistency("warped").any(), "there is one class"

    @pytest.mark.parametrize("kind", CONSISTENCIES)
    def test_with_zero_flow_only_consistency_marks_the_band(self, kind):
        """The paper's argument for both criteria."""
        square = Square()
        assert not overoccupied(STILL, square.labels, square.source_labels, STILL, TAU).any()
        marked = inconsistent(STILL, square.labels, square.source_labels, kind)
        assert torch.equal(marked, square.band | square.edge)

    def test_by_one_and_a_half_pixels(self):
        """The column that is half uncovered may be marked. All columns beyond it are, and nothing else."""
        before, after = box(20), box(21)
        flow, source_flow = moving(after, (-1.5, 0.0)), moving(before, (-1.5, 0.0))
        marked = overoccupied(flow, after.long(), before.long(), source_flow, TAU)
        assert not (marked & (~box(19, 9, 12) | after)).any()
        assert marked[:, 10:20, 20].all()

    @pytest.mark.parametrize(
        ("options", "marked"),
        [({}, 80), ({"occlusion": "occupancy"}, 40), ({"occlusion": "semantic"}, 80), ({"occlusion": "none"}, 0)],
    )
    def test_options_choose_the_criteria(self, options, marked):
        square, chosen = Square(), Options(consistency="literal", **options)
        union = omega(square.flow, square.labels, square.source_labels, square.source_flow, chosen)
        assert int(union.sum()) == marked


class TestOccupancy:
    def test_does_not_mark_a_slow_object_before_fast_ground_of_its_class(self):
        """The ground moves right by 4, so the object, which stands still, uncovers ground on its right."""
        square = box(20)
        flow = moving(square, (0.0, 0.0), (-4.0, 0.0))
        expected = square.roll(4, dims=-1) & ~square
        assert torch.equal(overoccupied(flow, ONE_CLASS, ONE_CLASS, flow, TAU), expected)

    def test_marks_a_ring_around_an_object_that_shrinks(self):
        before, after = box(19, 9, 12), box(20)
        shrinking = (grid(STILL) - torch.tensor([24.5, 14.5]).view(1, 2, 1, 1)) * 0.2
        flow, source_flow = (torch.where(mask[:, None], shrinking, 0.0) for mask in (after, before))
        marked = overoccupied(flow, after.long(), before.long(), source_flow, TAU)
        assert torch.equal(marked, before & ~after)

    @pytest.mark.parametrize("factor", [1.05, 1.2])
    def test_does_not_mark_a_picture_that_grows(self, factor):
        """The threshold spares it, also with some noise."""
        middle = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]).view(1, 2, 1, 1)
        zoom = (middle - grid(STILL)) * (1 - 1 / factor)
        assert not overoccupied(zoom, ONE_CLASS, ONE_CLASS, zoom, TAU).any()
        assert overoccupied(zoom, ONE_CLASS, ONE_CLASS, zoom, 0.0).any()
        noise = 0.2 * torch.randn(2, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
        marked = overoccupied(zoom + noise[:1], ONE_CLASS, ONE_CLASS, zoom + noise[1:], TAU)
        assert factor > 1.1 or marked.float().mean() < 0.03

    @given(seed=st.integers(0, 10**6), part=st.sampled_from([1, 2, 4]), tau=st.sampled_from([0.0, 0.75, 1.0]))
    def test_equals_a_comparison_of_all_pairs(self, seed, part, tau):
        """Flows of whole, half and quarter pixels: claimants that tie, sources outside, one to four pixels read."""
        draw = torch.Generator().manual_seed(seed)
        flow, source_flow = (torch.randint(-3 * part, 3 * part + 1, (2, 2, 4, 5), generator=draw) / part for _ in "ab")
        labels, source_labels = (torch.randint(0, 2, (2, 4, 5), generator=draw) for _ in "ab")
        marked = overoccupied(flow, labels, source_labels, source_flow, tau)
        for b in range(2):
            assert marked[b].tolist() == reference(flow[b], labels[b], source_labels[b], source_flow[b], tau)


def reference(flow, labels, source_labels, source_flow, tau):
    """Apply the rule of :func:`overoccupied` from its description: a list of claims, and exact numbers."""
    height, width = labels.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    motion = {(r, c): (float(flow[0, r, c]), float(flow[1, r, c])) for r, c in pixels}
    reads, claims = {}, defaultdict(list)
    for number, (r, c) in enumerate(pixels):
        x, y = c + motion[r, c][0], r + motion[r, c][1]
        around = [(floor(y) + i, floor(x) + j) for i in (0, 1) for j in (0, 1)]
        weights = {(i, j): (1 - abs(y - i)) * (1 - abs(x - j)) for i, j in around}
        reads[r, c] = {cell: w for cell, w in weights.items() if w > 0 and cell in motion}
        for i, j in reads[r, c]:
            distance = squared(motion[r, c], (float(source_flow[0, i, j]), float(source_flow[1, i, j])))
            claims[i, j].append((bool(labels[r, c] != source_labels[i, j]), distance, number))
    winners = {cell: motion[pixels[min(claimants)[2]]] for cell, claimants in claims.items()}
    marked = [[False] * width for _ in range(height)]
    for r, c in pixels:
        lost = sum(w for cell, w in reads[r, c].items() if squared(motion[r, c], winners[cell]) > tau**2)
        marked[r][c] = lost > sum(reads[r, c].values()) / 2
    return marked


def squared(a, b):
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


class TestEntering:
    @pytest.mark.parametrize("by", [1, 5])
    def test_marks_the_strip_that_a_shift_brings_in(self, by):
        flow, strip = STILL.clone(), torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
        flow[:, 0], strip[..., :by] = -by, True
        assert torch.equal(omega(flow, ONE_CLASS, ONE_CLASS, flow, Options()), strip)
        assert torch.equal(entering(-flow, Options()), strip.flip(-1))
        assert not omega(flow, ONE_CLASS, ONE_CLASS, flow, Options(out_of_image=False)).any()

    @pytest.mark.parametrize(("by", "enters"), [(0.5, False), (0.51, True)])
    def test_the_image_reaches_half_a_pixel_beyond_its_centres(self, by, enters):
        for direction in ((-by, 0.0), (0.0, by)):
            assert bool(entering(moving(box(0), direction, direction), Options()).any()) is enters


class TestConsistency:
    def test_allows_half_a_pixel_at_a_boundary(self):
        labels, half = box(20).long(), moving(box(0), (0.5, 0.5), (0.5, 0.5))
        assert not inconsistent(half, labels, labels, "warped").any()
        assert inconsistent(3 * half, labels, labels, "warped").any()

    def test_with_the_nearest_label_only_marks_more(self):
        """A box that stays, with a flow of .6 px to the left: its first column, and the one behind its last."""
        labels, flow = torch.zeros(1, 4, 12, dtype=torch.int64), torch.zeros(1, 2, 4, 12)
        labels[..., 5:9], flow[:, 0] = 1, -0.6
        marked = inconsistent(flow, labels, labels, "nearest")
        assert marked.all(dim=1).nonzero()[:, 1].tolist() == [5, 9] == marked.any(dim=1).nonzero()[:, 1].tolist()
        assert not inconsistent(flow, labels, labels, "warped").any()

    @pytest.mark.parametrize("kind", CONSISTENCIES)
    def test_an_unknown_label_is_consistent(self, kind):
        flow, labels = torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 5, dtype=torch.int64)
        assert inconsistent(flow, labels + 1, labels, kind).all()
        assert not inconsistent(flow, labels, labels + 255, kind).any()
        assert not inconsistent(flow, labels + 255, labels, kind).any()
        assert kind == "literal" or not inconsistent(flow + 50, labels + 1, labels, kind).any(), "nor one from outside"


class TestUnion:
    def test_marks_nothing_when_nothing_moves(self):
        labels = torch.randint(0, 3, (1, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0))
        assert not omega(STILL, labels, labels, STILL, Options()).any()

    def test_survives_an_impossible_flow(self):
        flow = torch.tensor([1e30, -1e30]).view(1, 2, 1, 1).expand(1, 2, HEIGHT, WIDTH)
        assert omega(flow, ONE_CLASS, ONE_CLASS, flow, Options()).all()

    def test_of_a_clip_does_not_depend_on_its_batch(self):
        draw = torch.Generator().manual_seed(0)
        flow, before = (2 * torch.randn(3, 2, 12, 16, generator=draw) for _ in "ab")
        labels, source = (torch.randint(0, 3, (3, 12, 16), generator=draw) for _ in "ab")
        batch = omega(flow, labels, source, before, Options())
        for b in range(3):
            clip = (tensor[b : b + 1] for tensor in (flow, labels, source, before))
            assert torch.equal(omega(*clip, Options()), batch[b : b + 1])


def test_against_the_exact_masks_of_scenes():
    """With exact flow the union has more recall than each criterion; with zero flow only consistency has any."""
    dataset, frames = Scenes(options=SceneOptions(size=(64, 96))), range(9)
    labels = torch.from_numpy(dataset.read("test-000003", frames, "semantics").astype(np.int64))
    flow = torch.from_numpy(dataset.read("test-000003", frames, "flow")).permute(0, 3, 1, 2)
    truth = torch.from_numpy(dataset.read("test-000003", frames, "disocclusion"))[3:]

    def scores(occlusion, factor=1.0):
        options = Options(occlusion=occlusion)
        marked = omega(factor * flow[3:], labels[4:], labels[3:-1], factor * flow[2:-1], options)
        hits = int((marked & truth).sum())
        return hits / max(1, int(marked.sum())), hits / int(truth.sum())

    recall = {kind: scores(kind)[1] for kind in ("both", "occupancy", "semantic", "none")}
    assert recall["both"] > max(recall["occupancy"] + 0.02, recall["semantic"] + 0.2)
    assert min(recall["occupancy"], recall["semantic"]) > recall["none"] + 0.1
    assert scores("both")[0] > 0.5
    assert scores("occupancy", 0.0)[1] == 0.0
    assert scores("both", 0.0)[1] == scores("semantic", 0.0)[1] > 0.3
