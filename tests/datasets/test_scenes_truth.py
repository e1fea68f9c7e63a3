"""The truth of `scenes` is true: against brute force that shares no code with the renderer but the scene's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vpbench_scenes.canvas import SAMPLES
from vpbench_scenes.dataset import Options, Scenes
from vpbench_scenes.observe import observe
from vpbench_scenes.render import render
from vpbench_scenes.world import make_world

SIZE = (40, 56)
CASES = [("test", 1, "street"), ("train", 8, "street"), ("test", 2, "static"), ("val", 3, "same-look")]


def board_at(placed, t, x, y):
    """Whether a board is at an image point, one point at a time."""
    v = (y - placed.top[t]) / placed.height[t]
    u = (x - placed.left[t]) / placed.width[t] - placed.shear[t] * (v - placed.anchor)
    if not (0 <= u < 1 and 0 <= v < 1):
        return False
    shape = placed.look.shape
    if shape is None:
        return True
    rows, columns = shape.cells
    return bool(shape.paint[math.floor(v * rows), math.floor(u * columns)] > 0)


def layers_at(world, t, x, y):
    """All surfaces on the ray through an image point, nearest first: (depth, surface id)."""
    camera, layers = world.camera, []
    for k, placed in enumerate(world.places[:-1]):
        if placed.depth[t] > 1.0 and board_at(placed, t, x, y):
            # By the scene's rule, boards of the street stand before its walls even where a tree leans over them.
            layers.append((0 if k < len(world.boards) else 1, placed.depth[t], k))
    right, down = (x - camera.cx[t]) / camera.focal, (y - camera.cy[t]) / camera.focal
    number = world.first_wall
    for wall in world.walls:
        z = (wall.side * wall.x - camera.x[t]) / right if right else -1.0
        for k in range(len(wall.labels)):
            if z > 0 and wall.edges[k] <= camera.z[t] + z < wall.edges[k + 1]:
                high = camera.height - down * z
                if 0 < high <= wall.heights[k]:
                    layers.append((1, z, number + k))
        number += len(wall.labels)
    if down > 0:
        z = camera.height / down
        across, ahead = camera.x[t] + right * z, camera.z[t] + z
        crossing = world.ground.crossing
        on_road = abs(across) < world.ground.road or (crossing and crossing[0] <= ahead < crossing[1])
        layers.append((1, z, world.road if on_road else world.road + 1))
    layers.append((1, math.inf, world.first_wall - 1))
    return [(rank, depth, k) for rank, depth, k in sorted(layers)]


def rank(world, layer, depth, k):
    if layer == 0:
        return (0, depth, k)
    if k < world.first_wall:
        return (4 if k == world.first_wall - 1 else 2, k, 0)
    return (3 if k >= world.road else 1, k, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("split", "index", "variant"), CASES)
def test_a_mixed_pixel_belongs_to_what_covers_most_of_it(split, index, variant):
    world = make_world(split, index, 3, SIZE, variant)
    owner = render(world).owner[2]
    wrong = 0
    for i in range(0, SIZE[0]):
        for j in range(SIZE[1]):
            wins = {}
            for dx, dy in SAMPLES:
                nearest = layers_at(world, 2, j + dx, i + dy)[0]
                wins[nearest[2]] = (wins.get(nearest[2], (0,))[0] + 1, nearest)
            # Most samples; of equals the nearer board, else house fronts before backdrop, road, pavement and sky.
            best = max(wins.values(), key=lambda win: (win[0], tuple(-r for r in rank(world, *win[1]))))
            wrong += best[1][2] != owner[i, j]
    # Rounding may decide a sample that lies on an edge to 15 digits.
    assert wrong <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("split", "index", "variant"), CASES)
@pytest.mark.parametrize(("a", "b"), [(4, 5), (1, 5)])
def test_masks_equal_brute_force_and_flow_points_to_the_hidden_place(split, index, variant, a, b):
    dataset = Scenes(options=Options(size=SIZE, variant=variant))
    name = f"{split}-{index:06d}"
    world = make_world(split, index, 9, SIZE, variant)
    owner = render(world).owner[b]
    hidden = dataset.read(name, [a, b], "disocclusion")[0]
    flow = dataset.read(name, [a, b], "flow")[0].astype(float)
    depth = {k: (0 if k < len(world.boards) else 1, p.depth[a]) for k, p in enumerate(world.places)}
    wrong = 0
    for i in range(SIZE[0]):
        for j in range(SIZE[1]):
            x, y, surface = j + flow[i, j, 0], i + flow[i, j, 1], int(owner[i, j])
            inside = -0.5 <= x < SIZE[1] - 0.5 and -0.5 <= y < SIZE[0] - 0.5
            # Walls and ground have no one depth: only boards can hide them, and all do.
            layer = depth.get(surface, (1, -1.0))
            nearer = [k for rank, z, k in layers_at(world, a, x, y) if k != surface and (rank, z) < layer]
            if surface >= world.first_wall:
                nearer = [k for k in nearer if k < len(world.boards)]
            else:
                nearer = [k for k in nearer if k < world.road]
            wrong += hidden[i, j] != (not inside or bool(nearer))
    assert hidden.any()
    # float32 flow may round a point across an edge; nothing else may differ.
    assert wrong <= 2


def test_flow_of_the_ground_is_that_of_its_points_in_the_world():
    world = make_world("test", 0, 9, (64, 96), "street")
    dataset = Scenes(options=Options(size=(64, 96)))
    flow = dataset.read("test-000000", [2, 6], "flow")[0]
    owner, camera = render(world).owner[6], world.camera
    rows, columns = np.nonzero(owner >= world.road)
    checked = 0
    for i, j in zip(rows[::17], columns[::17], strict=True):
        if i < camera.cy[6] + 1:
            continue
        z = camera.focal * camera.height / (i - camera.cy[6])
        x_world, z_world = camera.x[6] + (j - camera.cx[6]) * z / camera.focal, camera.z[6] + z
        then = z_world - camera.z[2]
        x = camera.cx[2] + camera.focal * (x_world - camera.x[2]) / then
        y = camera.cy[2] + camera.focal * camera.height / then
        np.testing.assert_allclose(flow[i, j], (x - j, y - i), atol=1e-4)
        checked += 1
    assert checked > 50


def test_camera_flow_is_the_flow_of_what_stands_still():
    dataset = Scenes(options=Options(size=(64, 96)))
    world = make_world("test", 0, 9, (64, 96), "street")
    flow, camera_flow = (dataset.read("test-000000", [2, 6], m)[0] for m in ("flow", "camera_flow"))
    ids = dataset.read("test-000000", [6], "instances")[0]
    np.testing.assert_allclose(camera_flow[ids == 0], flow[ids == 0], atol=1e-3)
    assert np.abs(camera_flow - flow)[ids > 0].mean() > 0.5
    # A point of an object, back-projected at its depth, held in the world and seen by the camera of frame 2.
    owner, c = render(world).owner[6], world.camera
    checked = 0
    for i, j in zip(*np.nonzero(ids > 0), strict=True):
        z = world.places[owner[i, j]].depth[6]
        x_world, below = c.x[6] + (j - c.cx[6]) * z / c.focal, (i - c.cy[6]) * z / c.focal
        then = z + c.z[6] - c.z[2]
        expected = (c.cx[2] + c.focal * (x_world - c.x[2]) / then - j, c.cy[2] + c.focal * below / then - i)
        np.testing.assert_allclose(camera_flow[i, j], expected, atol=1e-4)
        checked += 1
    assert checked > 100
    fixed = Scenes(options=Options(size=(64, 96), variant="static"))
    assert not fixed.read("test-000000", [2, 6], "camera_flow").any()


def test_labels_and_instances_move_with_the_flow():
    dataset = Scenes(options=Options(size=(96, 128)))
    for name in ("test-000000", "test-000003"):
        flow, hidden = (dataset.read(name, [3, 4], m)[0] for m in ("flow", "disocclusion"))
        rows, columns = np.nonzero(~hidden)
        i = np.rint(rows + flow[rows, columns, 1]).astype(int).clip(0, 95)
        j = np.rint(columns + flow[rows, columns, 0]).astype(int).clip(0, 127)
        for modality in ("semantics", "instances"):
            before, after = dataset.read(name, [3, 4], modality)
            same = before[i, j] == after[rows, columns]
            assert same.mean() > 0.95  # the rest is mixed pixels that round the other way
            inner = np.ones_like(same)
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    inner &= before[(i + dy).clip(0, 95), (j + dx).clip(0, 127)] == before[i, j]
            assert same[inner].mean() > 0.999


@pytest.mark.slow
def test_warping_by_the_flow_reproduces_the_next_frame():
    dataset = Scenes()
    observations = [observe(dataset, f"test-{k:06d}") for k in (0, 2)]
    smooth = sum(o.smooth[0] for o in observations) / sum(o.smooth[1] for o in observations)
    edges = sum(o.edges[0] for o in observations) / sum(o.edges[1] for o in observations)
    assert smooth < 1.0  # of 255
    assert smooth < edges < 12.0
    assert sum(o.smooth[1] for o in observations) > 2 * 8 * 192 * 256 * 0.2


def test_kinds_of_disocclusion_partition_what_the_last_context_frame_does_not_show():
    dataset = Scenes(options=Options(size=(64, 96)))
    h, w = 64, 96
    for name in ("test-000000", "test-000004", "test-000006"):
        kinds = dataset.disocclusion_kinds(name, [0, 1, 2, 3], 6)
        np.testing.assert_array_equal(kinds > 0, dataset.read(name, [3, 6], "disocclusion")[0])
        flow = dataset.read(name, [3, 6], "flow")[0]
        x, y = flow[..., 0] + np.arange(w), flow[..., 1] + np.arange(h)[:, None]
        outside = (x < -0.5) | (x >= w - 0.5) | (y < -0.5) | (y >= h - 0.5)
        assert outside[kinds == 1].all()
        assert not outside[kinds == 3].any()
        visible = np.any([~dataset.read(name, [a, 6], "disocclusion")[0] for a in (0, 1, 2)], axis=0)
        np.testing.assert_array_equal(kinds == 2, (kinds > 0) & visible)
        single = dataset.disocclusion_kinds(name, [3], 6)
        assert not (single == 2).any()
        np.testing.assert_array_equal(single > 0, kinds > 0)
