"""A plugin of predictors that end, stop or fill their process."""

from __future__ import annotations

import ctypes
import time

import numpy as np

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Prediction
from vpbench.plugin.dataset import DatasetInfo, SequenceInfo
from vpbench.plugin.hookspecs import hookimpl
from vpbench.plugin.predictor import PredictorInfo


@hookimpl
def register_predictors(register):
    for name, target in {
        "segfaults": "Segfaults",
        "leaves": "Leaves",
        "hangs": "Hangs",
        "leaks": "Leaks",
        "crashes-when-built": "CrashesWhenBuilt",
        "crashes-when-pickled": "CrashesWhenPickled",
        "hangs-when-pickled": "HangsWhenPickled",
        "prints-in-colour": "Prints",
        "raises-a-local-error": "RaisesALocalError",
    }.items():
        register(name, f"crashers:{target}")


@hookimpl
def register_datasets(register):
    register("crashes-when-read", "crashers:CrashesWhenRead")


class CrashesWhenRead:
    info = DatasetInfo(modalities=("frames",), splits=("test", "train"), needs_root=False)

    def __init__(self, root):
        pass

    def sequences(self, split):
        return [SequenceInfo(f"{split}/a", range(4))]

    def read(self, sequence, frames, modality):
        if sequence == "test/a":
            ctypes.string_at(0)
        return np.zeros((len(frames), 8, 8, 3), np.uint8)


class Crasher:
    info = PredictorInfo()

    def predict(self, context, horizon, generators):
        if "test/seq017@0" in context.clips:  # in the second unit
            self.act()
        return Prediction(frames=context.frames[:, -1:].repeat(1, horizon, 1, 1, 1))


class Segfaults(Crasher):
    def act(self):
        ctypes.string_at(0)


class Leaves(Crasher):
    def act(self):
        ctypes.CDLL(None)._exit(3)


class Hangs(Crasher):
    def act(self):
        time.sleep(1e6)


class Leaks(Crasher):
    def act(self):
        self.blocks = []
        for _ in range(10 * 2**10):  # 10 GiB
            self.blocks.append(b"x" * 2**20)
            time.sleep(0.0005)


class CrashesWhenBuilt(Crasher):
    def __init__(self):
        ctypes.string_at(0)


class CrashesWhenPickled(Crasher):
    def __deepcopy__(self, copies):
        return self

    def __reduce__(self):
        ctypes.string_at(0)


class HangsWhenPickled(CrashesWhenPickled):
    def __reduce__(self):
        time.sleep(1e6)


class Prints(Crasher):
    def predict(self, context, horizon, generators):
        print("\x1b[31mpredicting")
        return super().predict(context, horizon, generators)


class RaisesALocalError(Crasher):
    def __init__(self):
        class LocalError(PredictorError):
            """No other process can make it."""

        raise LocalError("no weights")
