"""A continued video as files: pictures of every step, an animation and one strip.

::

    strip.png             a column per frame: the context, then the prediction; below, the true frames of the video
    prediction.gif, .mp4  the context in a grey frame, then the prediction in an orange one
    frames/0001.png       the predicted frame of step 1, in the size that the predictor worked in
    semantics/0001.png    predicted labels in their palette, where predicted
    flow/0001.png         predicted flow in the usual colour wheel, where predicted
    disocclusion/0001.png pixels that are newly visible, white on black, where predicted
    prediction.json       the predictor, its options and its context, and the names of all these files

Several samples lie in folders ``sample0/``, ``sample1/``, ..., but share the strip and ``prediction.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vpbench.evaluation.continuation import Continuation
from vpbench.pages.replacing import check_replaceable, replaced
from vpbench.pages.strips import Row, column_heads, flow_row, frames_row, labels_row, mask_row, strip
from vpbench.plugin.clip import Context, Prediction

RATE = 5
"""Frames per second of the animations: slow enough to see each."""
_MARK = "prediction.json"
_GREY, _ORANGE = (128, 128, 128), (255, 128, 0)
_BORDER = 4
_STRIP_WIDTH, _LEAST_WIDTH, _LEAST_SIDE, _LINE = 4096, 96, 64, 2

Picture = NDArray[np.uint8]


def check_out(out: Path) -> None:
    """Check that predictions may go to a folder: it is missing, empty, or holds only an earlier prediction.

    Raises:
        ResultError: as :func:`check_replaceable`.
    """
    check_replaceable(out, _MARK, "vpbench predict")


def write_continuation(continuation: Continuation, out: Path) -> dict[str, Any]:
    """Write all files, in place of those of an earlier prediction; the folder appears whole or not at all.

    Returns:
        The content of ``prediction.json``.

    Raises:
        ResultError: as :func:`check_out`, or the folder cannot be written.
    """
    check_out(out)
    with replaced(out) as folder:
        names = _write_files(continuation, folder)
        document = _describe(continuation) | {"files": sorted([*names, _MARK])}
        (folder / _MARK).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return document


def _describe(continuation: Continuation) -> dict[str, Any]:
    batch, chosen = continuation.batch, continuation.predictor
    return {
        "schema": 1,
        "video": batch.refs[0].sequence,
        "context": list(continuation.frames),
        "size": list(batch.context.frames.shape[-2:]),
        "horizon": batch.horizon,
        "samples": len(continuation.predictions),
        "predictor": chosen.name,
        "preset": chosen.preset,
        "options": dict(chosen.options),
        "fingerprint": chosen.fingerprint,
        "annotators": {modality: annotator.describe() for modality, annotator in continuation.annotators.items()},
        "notes": list(continuation.notes),
    }


def _write_files(continuation: Continuation, folder: Path) -> list[str]:
    """Write everything but ``prediction.json``; return the names below the folder."""
    count = len(continuation.frames)
    names = ["strip.png"]
    continuation_strip(continuation).save(folder / "strip.png", optimize=True)
    for sample, prediction in enumerate(continuation.predictions):
        below = f"sample{sample}/" if len(continuation.predictions) > 1 else ""
        rows = _rows(continuation.batch.context, prediction)
        for modality, row in rows.items():
            (folder / below / modality).mkdir(parents=True)
            for step, picture in enumerate(row.pictures[count:], 1):
                assert picture is not None  # every step is predicted
                names.append(f"{below}{modality}/{step:04d}.png")
                Image.fromarray(picture).save(folder / names[-1])
        if "frames" in rows:
            pictures = [picture for picture in rows["frames"].pictures if picture is not None]
            film = [_bordered(picture, _GREY if i < count else _ORANGE) for i, picture in enumerate(pictures)]
            names += [f"{below}prediction.gif", f"{below}prediction.mp4"]
            _write_gif(folder / names[-2], film)
            _write_mp4(folder / names[-1], film)
    return names


def continuation_strip(continuation: Continuation) -> Image.Image:
    """Draw a row per predicted modality: the context, then the prediction, with predicted frames framed in orange.

    If the video continues after the context, its true frames and the error follow. Large pictures are scaled down, so
    that the strip is about 4000 pixels wide.
    """
    context, future = continuation.batch.context, continuation.batch.future
    count, several = len(continuation.frames), len(continuation.predictions) > 1
    heads = column_heads(count, continuation.batch.horizon)
    width = max(_LEAST_WIDTH, _STRIP_WIDTH // len(heads))
    frame_rows: list[Row] = []
    modality_rows: list[Row] = []
    for sample, prediction in enumerate(continuation.predictions):
        for modality, row in _rows(context, prediction).items():
            fitted = _fitted(row, width)
            before = fitted.pictures[:count] if sample == 0 else [None] * count
            after = [_marked(p) if p is not None and modality == "frames" else p for p in fitted.pictures[count:]]
            title = f"{row.title}, sample {sample}" if several else row.title
            (frame_rows if modality == "frames" else modality_rows).append(Row(title, [*before, *after]))
    if not frame_rows:
        frame_rows.append(_fitted(frames_row("frames", context.frames[0]), width))
    if future.steps:
        frame_rows.append(_fitted(frames_row("the video", future.frames[0], count), width))
        if (predicted := continuation.predictions[0].frames) is not None:
            error = (predicted[0, : len(future.steps)] - future.frames[0]).abs()
            frame_rows.append(_fitted(frames_row("error", error, count), width))
    return strip(heads, [*frame_rows, *modality_rows])


def _rows(context: Context, prediction: Prediction) -> dict[str, Row]:
    """Return the context and the prediction of the one clip, by predicted modality."""
    count = context.frames.shape[1]
    rows: dict[str, Row] = {}
    if prediction.frames is not None:
        rows["frames"] = frames_row("frames", torch.cat([context.frames[0], prediction.frames[0]]))
    if prediction.semantics is not None and prediction.label_space is not None:
        before: Sequence[Picture | None] = [None] * count
        if context.semantics is not None and context.label_space is not None:
            before = labels_row("", context.semantics[0], context.label_space).pictures
        after = labels_row("", prediction.semantics[0], prediction.label_space).pictures
        rows["semantics"] = Row("labels", [*before, *after])
    if prediction.flow is not None:
        past = prediction.flow[0, :0] if context.flow is None else context.flow[0]
        rows["flow"] = flow_row("flow", torch.cat([past, prediction.flow[0]]), count - len(past))
    if prediction.disocclusion is not None:
        rows["disocclusion"] = mask_row("new", prediction.disocclusion[0], count)
    return rows


def _fitted(row: Row, width: int) -> Row:
    """Scale large pictures down to a width, and small ones up by a whole factor."""
    pictures: list[Picture | None] = []
    for picture in row.pictures:
        if picture is not None and picture.shape[1] > width:
            size = (width, max(1, round(picture.shape[0] * width / picture.shape[1])))
            picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
        elif picture is not None:
            factor = max(1, -(-_LEAST_SIDE // min(picture.shape[:2])))
            picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        pictures.append(picture)
    return Row(row.title, pictures)


def _marked(picture: Picture) -> Picture:
    """Draw an orange line along the inner edge of a picture of a strip."""
    line = np.full_like(picture, _ORANGE)
    line[_LINE:-_LINE, _LINE:-_LINE] = picture[_LINE:-_LINE, _LINE:-_LINE]
    return line


def _bordered(picture: Picture, colour: tuple[int, int, int]) -> Picture:
    """Put a coloured border around a picture, thick enough to make both sides even, as H.264 needs them."""
    height, width = picture.shape[:2]
    framed = np.empty((height + 2 * _BORDER + height % 2, width + 2 * _BORDER + width % 2, 3), dtype=np.uint8)
    framed[:] = colour
    framed[_BORDER : _BORDER + height, _BORDER : _BORDER + width] = picture
    return framed


def _write_gif(path: Path, film: Sequence[Picture]) -> None:
    first, *following = [Image.fromarray(picture) for picture in film]
    first.save(path, save_all=True, append_images=following, duration=1000 // RATE, loop=0)


def _write_mp4(path: Path, film: Sequence[Picture]) -> None:
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = film[0].shape[:2]
        stream.pix_fmt = "yuv420p"  # what every player shows
        stream.bit_rate = 8_000_000
        for picture in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
