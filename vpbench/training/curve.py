"""The learning curve: training loss and validation scores over batches, as one picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vpbench.files import write_atomic
from vpbench.select.weights_record import StageRecord


def draw_curve(folder: Path, stages: Sequence[StageRecord], keep: str) -> None:
    """Draw ``learning-curve.png``: a row per stage; the loss, then each metric's mean over the steps.

    The epoch of the weights that the metric ``keep`` chose is marked.
    """
    names = list(dict.fromkeys(name for stage in stages for epoch in stage.history for name in epoch.scores))
    figure = Figure(figsize=(3.2 * (1 + len(names)), 2.6 * len(stages)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(stages), 1 + len(names), squeeze=False)
    for number, (stage, row) in enumerate(zip(stages, grid, strict=True), 1):
        losses = _losses(folder / f"stage{number}" / "logs")
        row[0].plot(list(losses), list(losses.values()), linewidth=0.8)
        scale = "log" if losses and min(losses.values()) > 0 else "linear"  # that of an adversary may be below 0
        row[0].set(title=f"stage {number}: training loss", xlabel="batch", yscale=scale)
        best = next(epoch for epoch in stage.history if epoch.epoch + 1 == stage.kept.epoch)
        for axes, name in zip(row[1:], names, strict=True):
            means = {}
            for epoch in stage.history:
                values = [value for value in epoch.scores.get(name, ()) if value is not None]
                if values and len(values) == len(epoch.scores[name]):
                    means[epoch.batches] = sum(values) / len(values)
            axes.plot(list(means), list(means.values()), marker=".", linewidth=0.8)
            axes.axvline(best.batches, color="0.7", linestyle=":")
            axes.set(title=f"validation {name}" + (" (kept by)" if name == keep else ""), xlabel="batch")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomic(folder / "learning-curve.png", buffer.getvalue())


def _losses(logs: Path) -> dict[int, float]:
    """Return the logged losses (means over a few batches) by batch; a later attempt overrides earlier ones."""
    losses: dict[int, float] = {}
    for path in sorted(logs.glob("attempt*/metrics.csv")):
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("train/loss")]
        losses |= {int(row["step"]): float(row["train/loss"]) for row in rows}
    return dict(sorted(losses.items()))
