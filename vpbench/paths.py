"""Where vpbench keeps what it may delete and looks for what users put there."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """Return the cache folder: ``$VPBENCH_CACHE``, else the user's cache folder of this platform."""
    named = os.environ.get("VPBENCH_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("vpbench"))


def config_file() -> Path:
    """Return the configuration file: ``$VPBENCH_CONFIG``, else ``config.toml`` in the user's configuration folder."""
    named = os.environ.get("VPBENCH_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("vpbench")) / "config.toml"


def weights_dirs() -> list[Path]:
    """Return the folders searched for weights: ``$VPBENCH_WEIGHTS``, then the cache's."""
    named = os.environ.get("VPBENCH_WEIGHTS")
    return [*([Path(named)] if named else []), cache_dir() / "weights"]
