"""Imported by the process that forks the children of ``warm``: all that a command imports when it first needs it."""

import sys

import lightning.fabric.plugins.io  # noqa: F401
import tensorboard.compat.tensorflow_stub.io.gfile  # noqa: F401
import toy_trainable  # noqa: F401
import toys  # noqa: F401

import vpbench.cli.data
import vpbench.cli.report
import vpbench.cli.run
import vpbench.cli.train
import vpbench.clips.prepare
import vpbench.evaluation.evaluate
import vpbench.evaluation.suite
import vpbench.pages.candidates
import vpbench.pages.terminal
import vpbench.report.site
import vpbench.training.suite
import vpbench.training.train  # noqa: F401
from vpbench.plugin.loader import load_plugins

sys.modules["numba"] = None  # type: ignore[assignment]  # loading its compiled functions takes seconds; OpenCV does the same
for name in ("mse", "psnr"):
    load_plugins().load("metric", name)("cpu")
