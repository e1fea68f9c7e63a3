"""A model file imports torch, the toolkit and its family's shared parts, but no harness and no other model."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from vpbench.plugin.loader import load_plugins

PLUGINS = Path(__file__).parents[2] / "plugins"
FAMILIES = {"vpbench_recurrent", "vpbench_simvp"}
TARGETS = {entry.target.partition(":")[0] for entry in load_plugins().entries.values() if entry.kind == "predictor"}
MODELS = sorted({*(t for t in TARGETS if t.startswith("vpbench_recurrent.")), "vpbench_simvp.network"})
"""SimVP's and TAU's network is not in the module of their predictor."""
LIBRARIES = {*sys.stdlib_module_names, "torch", "jaxtyping", "pydantic"}
CONTRACTS = {"vpbench.plugin.predictor", "vpbench.plugin.training"}


def imported(source: str) -> set[str]:
    """The modules that a source imports: ``a.b`` of ``from a import b`` if that is a module of a family."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names} if node.module in FAMILIES else set()
            modules |= inner or {str(node.module)}
    return modules


def foreign(source: str, family: str) -> set[str]:
    """The imports that a model file of a family must not have."""
    return {
        module
        for module in imported(source)
        if module.split(".")[0] not in LIBRARIES
        and module not in CONTRACTS
        and not module.startswith("vpbench.toolkit.")
        and (module.split(".")[0] != family or module in MODELS)
    }


def test_the_model_files_are_those_of_the_papers():
    names = "convlstm", "crevnet", "mim", "motionrnn", "phydnet", "predrnn"
    assert [*(f"vpbench_recurrent.{name}" for name in names), "vpbench_simvp.network"] == MODELS


@pytest.mark.parametrize("model", MODELS)
def test_a_model_file_imports_torch_the_toolkit_and_its_familys_shared_parts(model):
    source = PLUGINS.joinpath(*model.split(".")).with_suffix(".py").read_text()
    assert not foreign(source, model.split(".")[0])


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("import lightning", "lightning"),
        ("import numpy as np", "numpy"),
        ("from vpbench.errors import DataError", "vpbench.errors"),
        ("from vpbench.plugin.clip import Context", "vpbench.plugin.clip"),
        ("from vpbench_recurrent import mim", "vpbench_recurrent.mim"),
        ("from vpbench_recurrent.predrnn import Network", "vpbench_recurrent.predrnn"),
        ("def late():\n    from vpbench_simvp.losses import divergence", "vpbench_simvp.losses"),
    ],
)
def test_foreign_imports_are_seen(statement, module):
    assert foreign(f"import torch\n{statement}\n", "vpbench_recurrent") == {module}
