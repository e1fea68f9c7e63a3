"""Films: what each picture shows, at which step, on which scale, and in which size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import SPACE

from vpbench.clips.batch import Batch
from vpbench.pages.films import ERROR_LIMIT, SHOWN_SIDE, clip_films, error_pictures, frame_pictures, label_pictures
from vpbench.plugin.clip import Context, Future, Prediction
from vpbench.protocol.sampling import ClipRef


def batch(height=16, width=24, steps=(1, 2, 3), **truth):
    """A clip of two context frames and three steps."""
    ref = ClipRef("a", tuple(range(5)), 2, steps)
    context = Context(torch.zeros(1, 2, 3, height, width), (ref.id,), label_space=SPACE)
    frames = torch.zeros(1, len(steps), 3, height, width)
    future = Future(frames, steps, (ref.id,), context.frames[:, -1], label_space=SPACE, **truth)
    return Batch((ref,), context, future, 3, ({},))


def test_a_clip_without_a_prediction_shows_context_and_truth():
    films = clip_films(batch(), 0, None)
    assert {kind: film.steps for kind, film in films.items()} == {"context": (-1, 0), "truth": (1, 2, 3)}


def test_the_error_is_of_the_scored_steps():
    predicted = torch.zeros(1, 3, 3, 16, 24)
    predicted[:, 1] = ERROR_LIMIT
    films = clip_films(batch(steps=(2,)), 0, Prediction(frames=predicted))
    assert films["prediction"].steps == (1, 2, 3) and films["error"].steps == (2,)
    brightest, black = error_pictures(
        torch.tensor([1.0, 0.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1), torch.zeros(2, 3, 1, 1), None
    )[:, 0, 0]
    assert films["error"].pictures[0, 0, 0].tolist() == brightest.tolist() == [252, 255, 164]
    assert black.max() < 5


def test_one_scale_of_errors_for_every_clip():
    """An error has the same colour, whatever else is in the picture."""
    small = torch.full((1, 3, 2, 2), 0.1)
    mixed = small.clone()
    mixed[..., 1, 1] = 1.0
    first, second = (error_pictures(frames, torch.zeros(1, 3, 2, 2), None)[0, 0, 0] for frames in (small, mixed))
    assert first.tolist() == second.tolist()


def test_large_pictures_are_scaled_down_by_area_and_small_ones_stay():
    frames = torch.zeros(1, 3, 512, 1024)
    frames[..., ::2] = 1.0
    pictures = frame_pictures(frames, SHOWN_SIDE)
    assert pictures.shape == (1, 256, 512, 3) and set(np.unique(pictures)) <= {127, 128}
    assert frame_pictures(frames, None).shape == (1, 512, 1024, 3)
    assert frame_pictures(torch.zeros(1, 3, 16, 24), SHOWN_SIDE).shape == (1, 16, 24, 3)
    assert frame_pictures(torch.zeros(1, 3, 1, 4000), SHOWN_SIDE).shape == (1, 1, 512, 3)


def test_labels_of_scaled_pictures_are_labels():
    labels = torch.zeros(1, 512, 1024, dtype=torch.int64)
    labels[..., ::2] = 2
    colours = label_pictures(labels, SPACE, SHOWN_SIDE).reshape(-1, 3)
    assert {tuple(colour) for colour in np.unique(colours, axis=0).tolist()} <= {(0, 0, 0), (255, 0, 0)}


def test_the_legend_names_the_classes_that_appear():
    labels = torch.zeros(1, 3, 16, 24, dtype=torch.int64)
    labels[0, 2, 0, 0], labels[0, 1, 0, 0] = 2, 255
    films = clip_films(batch(semantics=labels), 0, None)
    assert [(entry.name, entry.colour) for entry in films["labels"].legend] == [
        ("ground", (0, 0, 0)),
        ("thing", (255, 0, 0)),
    ]
    assert films["labels"].exact and not films["truth"].exact


def test_predicted_flow_has_the_scale_of_the_true_flow():
    true, predicted = torch.zeros(1, 3, 2, 16, 24), torch.zeros(1, 3, 2, 16, 24)
    true[:, :, 0], predicted[:, :, 0] = 4.0, 2.0
    faster = predicted.clone()
    faster[0, 0, 0, 0, 0] = 1000.0
    films, with_fast_pixel = (clip_films(batch(flow=true), 0, Prediction(flow=flow)) for flow in (predicted, faster))
    assert films["flow"].limit == films["predicted-flow"].limit == pytest.approx(4.0)
    assert films["flow"].pictures[0, 5, 5].tolist() == films["flow"].pictures[2, 0, 0].tolist()
    half = films["predicted-flow"].pictures[0, 5, 5]
    assert half.tolist() != films["flow"].pictures[0, 5, 5].tolist()
    assert half.tolist() == with_fast_pixel["predicted-flow"].pictures[0, 5, 5].tolist(), (
        "one fast pixel changes no other"
    )
    assert with_fast_pixel["predicted-flow"].pictures[0, 0, 0].tolist() == films["flow"].pictures[0, 0, 0].tolist()


def test_scores_of_classes_and_masks_are_drawn():
    scores = torch.zeros(1, 3, 3, 16, 24)
    scores[:, :, 1] = 1.0
    mask = torch.ones(1, 3, 16, 24, dtype=torch.bool)
    films = clip_films(batch(), 0, Prediction(semantics=scores, disocclusion=mask))
    assert films["predicted-labels"].pictures[0, 0, 0].tolist() == [128, 128, 128]
    assert films["predicted-disocclusion"].pictures.min() == 255
    assert "error" not in films
