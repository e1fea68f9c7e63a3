"""What SADM marks as newly visible: squares that move, grow and shrink, and a reference that compares all pairs."""

from __future__ import annotations

from collections import defaultdict
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbench.toolkit.warp import grid, sample
from vpbench_sadm.disocclusion import inconsistent, occluded, outside, overoccupied
from vpbench_sadm.options import PRESETS, Options
from vpbench_scenes.dataset import Options as SceneOptions
from vpbench_scenes.dataset import Scenes

HEIGHT, WIDTH = 32, 48
TAU = Options().occupancy_tau


def box(left, top=10, side=10):
    """A square of ``side`` pixels, as a mask [1,H,W]."""
    mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, top : top + side, left : left + side] = True
    return mask


def moving(mask, inside, around=(0.0, 0.0)):
    """A backward flow: ``inside`` in the mask, ``around`` elsewhere."""
    inside, around = (torch.tensor(v).view(1, 2, 1, 1) for v in (inside, around))
    return torch.where(mask[:, None], inside, around)


def zoom(factor):
    """The flow of a picture that grows around its middle."""
    still = torch.zeros(1, 2, HEIGHT, WIDTH)
    middle = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]).view(1, 2, 1, 1)
    return (middle - grid(still)) * (1 - 1 / factor)


class Square:
    """A square of 10x10 pixels that moves right by ``by`` over a ground that stands still."""

    def __init__(self, by=4, labelled=True):
        before, after = box(20), box(20 + by)
        self.flow, self.source_flow = moving(after, (-float(by), 0.0)), moving(before, (-float(by), 0.0))
        self.labels, self.source_labels = (mask.long() * labelled for mask in (after, before))
        self.band = before & ~after
        self.edge = after & ~before

    def given(self):
        return self.flow, self.labels, self.source_labels


class TestSquare:
    @pytest.mark.parametrize("by", [1, 4])
    @pytest.mark.parametrize("labelled", [True, False])
    def test_occupancy_is_the_band_behind_it(self, by, labelled):
        square = Square(by, labelled)
        found = overoccupied(*square.given(), square.source_flow, TAU)
        assert torch.equal(found, square.band)
        assert int(found.sum()) == 10 * by

    def test_without_the_source_flow_the_fastest_stays(self):
        square = Square(labelled=False)
        assert torch.equal(overoccupied(*square.given(), None, TAU), square.band)

    def test_warped_consistency_is_the_band_and_literal_also_the_leading_edge(self):
        square = Square()
        for consistency in ("warped", "nearest"):
            assert torch.equal(inconsistent(*square.given(), consistency), square.band)
        literal = inconsistent(*square.given(), "literal")
        assert torch.equal(literal, square.band | square.edge)
        assert int(literal.sum()) == 80

    @pytest.mark.parametrize("consistency", ["warped", "nearest", "literal"])
    def test_by_a_flow_of_zero_occupancy_sees_nothing_and_consistency_the_band(self, consistency):
        """The paper's argument for using both."""
        square, still = Square(), torch.zeros(1, 2, HEIGHT, WIDTH)
        assert not overoccupied(still, square.labels, square.source_labels, still, TAU).any()
        found = inconsistent(still, square.labels, square.source_labels, consistency)
        assert torch.equal(found, square.band | square.edge)

    def test_by_one_class_consistency_sees_nothing_and_occupancy_the_band(self):
        square = Square(labelled=False)
        assert not inconsistent(*square.given(), "warped").any()
        assert torch.equal(occluded(*square.given(), square.source_flow, Options()), square.band)

    def test_warping_goes_wrong_in_the_band_alone(self):
        square, texture = Square(), torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
        before = texture + 2 * box(20)[:, None]
        after = torch.where(box(24)[:, None], before.roll(4, dims=-1), texture)
        wrong = (sample(before, grid(square.flow) + square.flow) - after).abs()[:, 0] > 1e-5
        assert torch.equal(wrong, square.band)

    def test_one_and_a_half_pixels(self):
        """The column that is half uncovered may be marked or not; what is wholly uncovered is, and nothing else."""
        before, after = box(20), box(21)
        flow = moving(after, (-1.5, 0.0))
        found = overoccupied(flow, after.long(), before.long(), moving(before, (-1.5, 0.0)), TAU)
        assert (found & ~box(19, 9, 12)).sum() == 0
        assert found[:, 10:20, 20].all()
        assert not (found & after).any()


class TestOccupancy:
    def test_what_moves_slower_than_the_ground_ahead_of_it_is_not_marked(self):
        """The ground moves right by 4, a thing of its class stands before it: it uncovers ground on its right."""
        thing = box(20)
        flow = moving(thing, (0.0, 0.0), (-4.0, 0.0))
        same = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64)
        uncovered = thing.roll(4, dims=-1) & ~thing
        assert torch.equal(overoccupied(flow, same, same, flow, TAU), uncovered)
        blind = overoccupied(flow, same, same, None, TAU)  # nothing tells which of the two was seen
        assert not (blind & uncovered).any()

    def test_what_shrinks_uncovers_a_ring(self):
        before, after = box(19, 9, 12), box(20)
        middle = torch.tensor([24.5, 14.5]).view(1, 2, 1, 1)
        shrinking = (grid(torch.zeros(1, 2, HEIGHT, WIDTH)) - middle) * 0.2
        flow = torch.where(after[:, None], shrinking, 0.0)
        found = overoccupied(flow, after.long(), before.long(), torch.where(before[:, None], shrinking, 0.0), TAU)
        assert torch.equal(found, before & ~after)

    @pytest.mark.parametrize("factor", [1.05, 1.2])
    def test_what_grows_smoothly_is_not_marked(self, factor):
        same = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64)
        assert not overoccupied(zoom(factor), same, same, zoom(factor), TAU).any()
        assert overoccupied(zoom(factor), same, same, zoom(factor), 0.0).any(), "it is the threshold that spares it"

    def test_noise_in_the_flow_of_what_grows_marks_little(self):
        noise = 0.2 * torch.randn(2, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
        same = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64)
        found = overoccupied(zoom(1.05) + noise[:1], same, same, zoom(1.05) + noise[1:], TAU)
        assert found.float().mean() < 0.03

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        part=st.sampled_from([1, 2, 4]),
        known=st.booleans(),
        tau=st.sampled_from([0.0, 0.75, 1.0]),
    )
    def test_equals_comparing_all_pairs(self, seed, part, known, tau):
        """Flows of whole, half and quarter pixels: claimants that tie, sources outside, one to four pixels read."""
        draw = torch.Generator().manual_seed(seed)
        flow, source_flow = (torch.randint(-3 * part, 3 * part + 1, (2, 2, 4, 5), generator=draw) / part for _ in "ab")
        labels, source_labels = (torch.randint(0, 2, (2, 4, 5), generator=draw) for _ in "ab")
        found = overoccupied(flow, labels, source_labels, source_flow if known else None, tau)
        for b in range(2):
            expected = reference(flow[b], labels[b], source_labels[b], source_flow[b] if known else None, tau)
            assert found[b].tolist() == expected


def reference(flow, labels, source_labels, source_flow, tau):
    """The rule of :func:`overoccupied`, from its description: every claim in a list, exact numbers."""
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
            of_source = (
                (0.0, 0.0) if source_flow is None else (float(source_flow[0, i, j]), float(source_flow[1, i, j]))
            )
            distance = squared(motion[r, c], of_source)
            wrong = bool(labels[r, c] != source_labels[i, j])
            claims[i, j].append((wrong, -distance if source_flow is None else distance, number))
    winners = {cell: motion[pixels[min(every)[2]]] for cell, every in claims.items()}
    marked = [[False] * width for _ in range(height)]
    for r, c in pixels:
        lost = sum(w for cell, w in reads[r, c].items() if squared(motion[r, c], winners[cell]) > tau**2)
        marked[r][c] = lost > sum(reads[r, c].values()) / 2
    return marked


def squared(one, other):
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2


class TestOutside:
    @pytest.mark.parametrize("by", [1, 5])
    def test_a_shift_lets_a_strip_in(self, by):
        flow = moving(box(0), (-float(by), 0.0), (-float(by), 0.0))
        strip = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
        strip[..., :by] = True
        same = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64)
        assert torch.equal(outside(flow), strip)
        assert torch.equal(outside(-flow), strip.flip(-1))
        assert torch.equal(occluded(flow, same, same, flow, Options()), strip)
        assert not occluded(flow, same, same, flow, Options(out_of_image=False)).any()

    @pytest.mark.parametrize(("by", "enters"), [(0.5, False), (0.51, True)])
    def test_a_pixel_reaches_half_a_pixel_beyond_its_centre(self, by, enters):
        for flow in (moving(box(0), (-by, 0.0), (-by, 0.0)), moving(box(0), (0.0, by), (0.0, by))):
            assert bool(outside(flow).any()) is enters


class TestConsistency:
    def test_half_a_pixel_off_at_a_boundary_contradicts_nothing(self):
        """Of the pixels that the warp reads there, one has the class."""
        labels, half = box(20).long(), moving(box(0), (0.5, 0.5), (0.5, 0.5))
        assert not inconsistent(half, labels, labels, "warped").any()
        assert inconsistent(3 * half, labels, labels, "warped").any()

    def test_the_nearest_alone_contradicts_where_it_is_another(self):
        """Of a box that stays, by a flow of .6 px to the left: its first column, and the one behind its last."""
        labels = torch.zeros(1, 4, 12, dtype=torch.int64)
        labels[..., 5:9] = 1
        flow = torch.zeros(1, 2, 4, 12)
        flow[:, 0] = -0.6
        found = inconsistent(flow, labels, labels, "nearest")
        assert found.all(dim=1).nonzero()[:, 1].tolist() == [5, 9] == found.any(dim=1).nonzero()[:, 1].tolist()
        assert not inconsistent(flow, labels, labels, "warped").any()

    @pytest.mark.parametrize("consistency", ["warped", "nearest", "literal"])
    def test_an_unknown_label_contradicts_nothing(self, consistency):
        flow, known = torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 5, dtype=torch.int64)
        assert inconsistent(flow, known + 1, known, consistency).all()
        assert not inconsistent(flow, known, known + 255, consistency).any()
        assert not inconsistent(flow, known + 255, known, consistency).any()

    def test_what_comes_from_outside_is_no_contradiction(self):
        flow = torch.full((1, 2, 4, 5), 50.0)
        for consistency in ("warped", "nearest"):
            assert not inconsistent(flow, torch.ones(1, 4, 5).long(), torch.zeros(1, 4, 5).long(), consistency).any()


class TestUnion:
    @pytest.mark.parametrize(
        ("options", "marked"),
        [({}, 80), ({"occlusion": "occupancy"}, 40), ({"occlusion": "semantic"}, 80), ({"occlusion": "none"}, 0)],
    )
    def test_the_options_choose_the_criteria(self, options, marked):
        square = Square()
        made = Options(consistency="literal", **options)
        assert int(occluded(*square.given(), square.source_flow, made).sum()) == marked

    @pytest.mark.parametrize(("tau", "marked"), [(0.0, True), (3.9, True), (4.1, False)])
    def test_the_threshold_of_occupancy_is_the_options(self, tau, marked):
        square = Square(labelled=False)
        found = occluded(*square.given(), square.source_flow, Options(occlusion="occupancy", occupancy_tau=tau))
        assert torch.equal(found, square.band & marked)

    @pytest.mark.parametrize("consistency", ["warped", "nearest", "literal"])
    def test_consistency_is_the_options(self, consistency):
        """Half a pixel off, of random labels: each of the three finds others."""
        labels, before = (torch.randint(3, (1, 8, 9), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
        flow = torch.full((1, 2, 8, 9), 0.6)
        chosen = Options(occlusion="semantic", consistency=consistency, out_of_image=False)
        each = {kind: inconsistent(flow, labels, before, kind) for kind in ("warped", "nearest", "literal")}
        assert torch.equal(occluded(flow, labels, before, None, chosen), each[consistency])
        assert len({tuple(one.flatten().tolist()) for one in each.values()}) == 3

    def test_the_presets_of_the_ablation(self):
        assert Options(**PRESETS["occupancy-only"]).occlusion == "occupancy"
        assert Options(**PRESETS["consistency-only"]).occlusion == "semantic"

    def test_nothing_moves_nothing_is_marked(self):
        labels = torch.randint(0, 3, (2, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0))
        flow = torch.zeros(2, 2, HEIGHT, WIDTH)
        assert not occluded(flow, labels, labels, flow, Options()).any()

    def test_a_flow_that_cannot_be_is_survived(self):
        flow = torch.tensor([1e30, -1e30]).view(1, 2, 1, 1).expand(1, 2, 4, 5)
        labels = torch.zeros(1, 4, 5, dtype=torch.int64)
        assert occluded(flow, labels, labels, flow, Options()).all()

    def test_a_clip_does_not_depend_on_its_batch(self):
        draw = torch.Generator().manual_seed(0)
        flow, before = (2 * torch.randn(3, 2, 12, 16, generator=draw) for _ in "ab")
        labels, source = (torch.randint(0, 3, (3, 12, 16), generator=draw) for _ in "ab")
        every = occluded(flow, labels, source, before, Options())
        for b in range(3):
            alone = (t[b : b + 1] for t in (flow, labels, source, before))
            assert torch.equal(occluded(*alone, Options()), every[b : b + 1])


@pytest.fixture(scope="module")
def scene():
    """Flow, labels, the source's labels and flow, and true dis-occlusion of five steps of a drawn clip."""
    dataset, frames = Scenes(options=SceneOptions(size=(64, 96))), range(9)
    labels = torch.from_numpy(dataset.read("test-000003", frames, "semantics").astype(np.int64))
    flow = torch.from_numpy(dataset.read("test-000003", frames, "flow")).permute(0, 3, 1, 2)
    truth = torch.from_numpy(dataset.read("test-000003", frames, "disocclusion"))
    return flow[3:], labels[4:], labels[3:-1], flow[2:-1], truth[3:]


class TestScenes:
    """Exact truth; the figures of all clips are printed by ``benchmarks/disocclusion.py``."""

    def found(self, scene, occlusion, factor=1.0):
        flow, labels, source_labels, source_flow, truth = scene
        options = Options(occlusion=occlusion)
        marked = occluded(factor * flow, labels, source_labels, factor * source_flow, options)
        hits = int((marked & truth).sum())
        return hits / max(1, int(marked.sum())), hits / int(truth.sum())

    def test_by_exact_flow_the_union_finds_more_than_either(self, scene):
        recall = {kind: self.found(scene, kind)[1] for kind in ("both", "occupancy", "semantic", "none")}
        assert recall["both"] > recall["occupancy"] + 0.02
        assert recall["both"] > recall["semantic"] + 0.2
        assert min(recall["occupancy"], recall["semantic"]) > recall["none"] + 0.1
        assert self.found(scene, "both")[0] > 0.5

    def test_by_no_flow_only_consistency_finds_anything(self, scene):
        assert self.found(scene, "occupancy", 0.0)[1] == 0.0
        assert self.found(scene, "both", 0.0)[1] == self.found(scene, "semantic", 0.0)[1] > 0.3
