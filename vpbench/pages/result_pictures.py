"""Pictures of clips of a finished result: from the predictions that it saved, or from predictions made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from vpbench.clips.batch import Batch
from vpbench.errors import DataError, ResultError
from vpbench.evaluation.plan import Settings
from vpbench.evaluation.repetition import Repetition, Truth, is_saved, open_repetition, open_truth, read_saved
from vpbench.evaluation.reproduce import reproduce_clips
from vpbench.pages.films import SHOWN_SIDE, predicted_films
from vpbench.pages.sheets import draw_clip, write_pictures
from vpbench.plugin.loader import Plugins
from vpbench.results.pictures import ClipPictures, pictures_folder
from vpbench.results.result import Result
from vpbench.select.options import Options


@dataclass
class Drawing:
    """Draws clips of one result; the predictor and the data are opened when a clip needs them."""

    result: Result
    plugins: Plugins
    roots: Mapping[str, Path]
    options: Options
    device: str = "auto"
    full_size: bool = False

    @cached_property
    def _repetition(self) -> Repetition:
        return open_repetition(self.result, self.plugins, self.roots, self.options, self.device)

    @cached_property
    def _truth(self) -> Truth:
        return open_truth(self.result, self.plugins, self.roots)

    def draw(self, clips: Sequence[str], root: Path) -> Iterator[ClipPictures]:
        """Draw clips into ``root``, each from its saved prediction if there is one.

        Raises:
            VpbenchError: the predictor, its weights or the data are not the recorded ones.
        """
        unsaved = [clip for clip in clips if not is_saved(self.result, clip)]
        self._check_scores(unsaved)
        for clip in clips:
            if clip in unsaved:
                batch, prediction = self._repetition.predict(clip)
                yield draw_clip(root, batch, 0, prediction, full_size=self.full_size)
            else:
                yield self._draw_saved(clip, root)

    def _check_scores(self, clips: Sequence[str]) -> None:
        """Check that other code than the recorded one gives the recorded scores of the clips to draw."""
        if not clips or self._repetition.proven:
            return
        settings = Settings(data_roots=self.roots, options=self.options, device=self.device)
        outcome = reproduce_clips(self.result, self.plugins, settings, clips)
        if metric := next((metric for metric in outcome.metrics if metric.beyond), None):
            raise ResultError(
                f"{self.result.path}: the code or the values of {self.result.run.label} are not the recorded ones, and "
                f"{metric.metric} of clip {metric.worst!r} differs by {metric.largest:.2g}; install the version that "
                f"made the result"
            )

    def _draw_saved(self, clip: str, root: Path) -> ClipPictures:
        """Draw a saved prediction next to the truth; alone where the data are not available."""
        saved = read_saved(self.result, clip)
        assert saved.frames is not None  # frames make a saved prediction complete
        try:
            batch: Batch | None = self._truth.read(clip)
        except DataError:
            batch = None
        size = saved.frames.shape[-2:]
        if batch is not None:
            if size != batch.context.frames.shape[-2:]:
                raise ResultError(
                    f"{self.result.path}: the saved frames of clip {clip!r} have another size than its truth"
                )
            space = saved.label_space or batch.context.label_space or batch.future.label_space
            return draw_clip(root, batch, 0, replace(saved, label_space=space), full_size=self.full_size)
        films = predicted_films(saved, 0, None if self.full_size else SHOWN_SIDE)
        folder = pictures_folder(root, clip)
        return write_pictures(folder, clip, films, full_size=self.full_size, size=(size[0], size[1]))
