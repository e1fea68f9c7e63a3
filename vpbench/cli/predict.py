"""``vpbench predict``: predict the future of any video, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vpbench.cli.common import (
    LENGTH,
    SEED,
    State,
    busy,
    common_options,
    json_option,
    pairs,
    parse_options,
    parse_size,
    print_json,
)
from vpbench.names import Selector
from vpbench.output import say


@click.command("predict")
@click.argument("video", metavar="VIDEO|FOLDER", type=click.Path(path_type=Path))
@click.option("-m", "--predictor", required=True, metavar="NAME[:PRESET]", help="Predictor.")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME.OPTION=VALUE", help="An option of a predictor.")
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="Weights of the predictor or an annotator.")
@click.option("--annotate", multiple=True, metavar="KIND=NAME", help="Annotator that supplies flow or semantics.")
@click.option("--context", type=LENGTH, metavar="T", show_default="4", help="Number of context frames.")
@click.option(
    "--start", type=click.IntRange(min=0), metavar="FRAME", help="First context frame (default: the last T frames)."
)
@click.option("--step", type=click.IntRange(min=1), metavar="N", show_default="1", help="Distance between two frames.")
@click.option("--size", callback=parse_size, metavar="HxW", help="Resize the video first.")
@click.option("--horizon", type=LENGTH, metavar="K", show_default="10", help="Steps to predict.")
@click.option("--samples", type=LENGTH, default=1, show_default=True, help="Samples of a stochastic predictor.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("prediction"), show_default=True, help="Output folder."
)
@json_option
@common_options
@click.pass_obj
def command(
    state: State,
    /,
    video: Path,
    predictor: str,
    options: tuple[str, ...],
    weights: tuple[str, ...],
    annotate: tuple[str, ...],
    out: Path,
    as_json: bool,
    **values: Any,
) -> None:
    """Predict the future of a video file or a folder of pictures.

    The context is the last frames of the video, so the prediction is unknown future. With --start the context lies
    earlier, and the strip shows the true frames below the prediction. Context, step and size default to those of the
    weights' training. A folder --out with an earlier prediction is replaced.
    """
    from vpbench.evaluation.continuation import predict_video
    from vpbench.pages.continuation import check_out, write_continuation
    from vpbench.select.options import check_used

    annotators = pairs(annotate, "--annotate")
    values_by_name = parse_options(options, weights, [predictor])
    names = [Selector.parse(text).name for text in (predictor, *annotators.values())]
    state.plugins.entry("predictor", names[0])
    check_used(values_by_name, names)
    check_out(out)
    with busy(f"{predictor}: continuing {video.name}"):
        continuation = predict_video(
            predictor, video, annotate=annotators, options=values_by_name, plugins=state.plugins, **values
        )
        document = write_continuation(continuation, out)
    if as_json:
        print_json(document | {"out": str(out), "files": [str(out / name) for name in document["files"]]})
        return
    first, *_, last = document["context"] * 2
    height, width = document["size"]
    context_text = f"frame {first}" if first == last else f"frames {first} to {last}"
    say(f"{predictor}: {document['horizon']} steps after {context_text} of {document['video']} ({height}x{width})")
    for note in document["notes"]:
        say(note)
    for name in document["files"]:
        if "/" not in name or name.endswith("0001.png"):
            say(out / name)
