# whiteness.py
import numpy as np

import vpbench


@vpbench.hookimpl
def register_metrics(register):
    register("whiteness", "whiteness:Whiteness", summary="Frechet distance of the share of white")


class Whiteness(vpbench.SetMetric):
    """The Frechet distance between normal distributions of each frame's brightness, summed over the steps."""

    info = vpbench.MetricInfo("whiteness", revision=1, better="lower")

    def features(self, comparison):
        predicted, true = comparison.frames  # [B, K, 3, H, W]
        return predicted.mean(dim=(2, 3, 4)), true.mean(dim=(2, 3, 4))  # [B, K]

    def score(self, features):
        predicted, true = np.float64(features.predicted), np.float64(features.true)  # [clips, samples, K], [clips, K]
        means = predicted.mean(axis=(0, 1)) - true.mean(axis=0)
        spreads = predicted.std(axis=(0, 1)) - true.std(axis=0)
        return float((means**2 + spreads**2).sum())

    def caution(self, clips, samples):
        return "" if clips >= 30 else "fewer than 30 clips have no reliable spread"
