"""Fixtures for all tests. Shapes in plugins' signatures are checked by beartype while tests run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from vpbench.paths import cache_dir

IMPORTED = pytest.StashKey[dict[str, ModuleType]]()

CHECKED = [
    "vpbench_metrics",
    "vpbench_baselines",
    "vpbench_recurrent",
    "vpbench_annotators",
    "vpbench_sadm",
    "vpbench_simvp",
    "vpbench_svg",
    "vpbench.toolkit.warp",
]
USERS_WEIGHTS = os.environ.get("VPBENCH_WEIGHTS", "")
os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir() / "numba"))  # compiling takes seconds; tests have new caches
install_import_hook(CHECKED, "beartype.beartype")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background would let tests ignore it
settings.register_profile("short", max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("short"), max_examples=50)
settings.load_profile("short")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and known answers, named by VPBENCH_SHARED; in CI it must be there."""
    named = os.environ.get("VPBENCH_SHARED", "")
    if named and Path(named).is_dir():
        return Path(named).resolve()
    reason = "VPBENCH_SHARED does not name the folder of real clips and known answers"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def lpips_weights(shared: Path) -> Callable[[str], str]:
    """Return the folder that holds the backbone of a metric, to be named by VPBENCH_WEIGHTS; without it, skip.

    VGG-16 (59 MB) is not in the shared folder: the user's ``$VPBENCH_WEIGHTS`` may hold it.
    """

    def folder(metric: str) -> str:
        if metric != "lpips@vgg":
            return str(shared / "weights")
        if not Path(USERS_WEIGHTS, "lpips_vgg16_features.safetensors").is_file():
            pytest.skip("VPBENCH_WEIGHTS names no folder with lpips_vgg16_features.safetensors")
        return USERS_WEIGHTS

    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, so that no test finds or leaves anything in the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("VPBENCH_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_package_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep pip, here and in subprocesses, from every package index; a test may name a folder or a local server."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def pytest_collection_finish(session: pytest.Session) -> None:
    names = ("toys", "suite_toys", "toy_trainable", "robots")
    session.config.stash[IMPORTED] = {name: sys.modules[name] for name in names if name in sys.modules}


@pytest.fixture(autouse=True)
def same_toys(request: pytest.FixtureRequest) -> None:
    """Tests and fixtures of ``--plugin`` load these files again; every test finds the modules that it imported."""
    sys.modules.update(request.config.stash[IMPORTED])
