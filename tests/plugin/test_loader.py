"""The loader: lazy, guarded, and never silent about two things with one name."""

from __future__ import annotations

import os
import sys

import pytest

import vpbench_scenes
from vpbench.errors import PluginError, UsageError, did_you_mean
from vpbench.plugin import discovery
from vpbench.plugin.loader import load_plugins

PLUGIN = """
from vpbench.plugin.hookspecs import hookimpl

@hookimpl
def register_{kind}s(register):
    register({name!r}, {target!r}, summary="a toy", default={default})
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Pretend to install distributions, each with one plugin; nothing else is installed."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delenv("VPBENCH_PLUGINS", raising=False)
    monkeypatch.setattr(
        discovery, "distributions", lambda: __import__("importlib.metadata").metadata.distributions(path=[str(site)])
    )
    before = set(sys.modules)

    def add(distribution, source, *, point=None, version="1.0"):
        module = f"mod_{distribution.replace('-', '_')}"
        (site / f"{module}.py").write_text(source)
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[vpbench]\n{point or distribution} = {module}\n")
        return module

    yield add
    for name in set(sys.modules) - before:
        if name.startswith("mod_"):
            del sys.modules[name]


def plugin(name="toy", target="mod_nowhere:Toy", kind="predictor", default=False):
    return PLUGIN.format(name=name, target=target, kind=kind, default=default)


def test_a_target_stays_a_string_until_it_is_loaded(install):
    module = install("alpha", plugin(target="mod_alpha:Toy") + "\nclass Toy: pass\n")
    plugins = load_plugins()
    (entry,) = plugins.of("predictor")
    assert (entry.name, entry.target, entry.summary, entry.plugin) == ("toy", "mod_alpha:Toy", "a toy", "alpha")
    assert entry.load() is sys.modules[module].Toy is plugins.load("predictor", "toy")
    assert plugins.of("dataset") == []


def test_plugins_are_in_order_of_their_names_after_those_of_vpbench(install):
    for name in ("gamma", "vpbench", "alpha"):
        install(name, plugin(name=name))
    assert [loaded.distribution for loaded in load_plugins().plugins] == ["vpbench", "alpha", "gamma"]


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("mod_nowhere:Toy", "ModuleNotFoundError: No module named 'mod_nowhere'"),
        ("mod_alpha:Missing", "AttributeError"),
        ("mod_alpha", "AttributeError"),
    ],
)
def test_a_broken_target_is_listed_and_fails_when_it_is_loaded(install, target, cause):
    install("alpha", plugin(target=target))
    entry = load_plugins().entry("predictor", "toy")
    with pytest.raises(PluginError, match=rf"the predictor 'toy' of plugin alpha .*{cause}"):
        entry.load()


@pytest.mark.parametrize(
    ("files", "released"),
    [
        ({"RECORD": ""}, True),
        ({"RECORD": "", "direct_url.json": '{"url": "file:///x", "dir_info": {}}'}, True),
        ({"RECORD": "", "direct_url.json": '{"url": "file:///x", "dir_info": {"editable": true}}'}, False),
        ({"RECORD": "", "direct_url.json": '{"url": "file:///x", "dir_info": {"editable": false}}'}, True),
        ({"RECORD": "", "direct_url.json": "not JSON"}, False),
        ({}, False),
    ],
)
def test_a_plugin_is_released_if_its_installed_copy_is_not_edited_in_place(install, tmp_path, files, released):
    install("alpha", plugin(kind="metric"))
    for name, text in files.items():
        (tmp_path / "site/alpha-1.0.dist-info" / name).write_text(text)
    assert load_plugins().released("metric", "toy") is released


def test_vpbench_s_own_metrics_are_released_and_those_of_a_plugin_file_are_not(install, tmp_path):
    install("vpbench", plugin("ours", kind="metric"))
    path = tmp_path / "theirs.py"
    path.write_text(plugin("theirs", kind="metric"))
    plugins = load_plugins([str(path)])
    sys.modules.pop("theirs")
    assert plugins.released("metric", "ours")
    assert not plugins.released("metric", "theirs")


def test_defaults_are_those_registered_as_such(install):
    install("alpha", plugin("one", default=True))
    install("beta", plugin("two"))
    assert load_plugins().defaults("predictor") == ["one"]
    assert load_plugins().defaults("metric") == []


def test_a_thing_registered_itself_is_told_how_to_be(tmp_path):
    path = tmp_path / "eager.py"
    path.write_text("import vpbench\n@vpbench.hookimpl\ndef register_metrics(register):\n    register('toy', int)\n")
    with pytest.raises(PluginError, match=r"the metric 'toy' is registered with .*; register a text \"module:Name\""):
        load_plugins([str(path)])


def test_one_name_from_two_plugins_names_both(install):
    install("alpha", plugin())
    install("beta", plugin())
    with pytest.raises(PluginError, match=r"two plugins bring the predictor 'toy': alpha and beta"):
        load_plugins()


def test_one_name_in_two_kinds_is_told_apart(install):
    install("alpha", plugin("same"))
    install("beta", plugin("same", kind="dataset"))
    plugins = load_plugins()
    with pytest.raises(UsageError, match=r"say predictor/same or dataset/same"):
        plugins.find("same")
    assert plugins.find("dataset/same").plugin == "beta"
    assert plugins.find("predictor/same").plugin == "alpha"


def test_one_entry_point_name_in_two_distributions_names_both(install, monkeypatch):
    install("alpha", plugin("one"), point="models")
    install("beta", plugin("two"), point="models")
    with pytest.raises(PluginError, match=r"'models': (alpha and beta|beta and alpha)"):
        load_plugins()
    monkeypatch.setenv("VPBENCH_PLUGINS", "beta")  # what the message says to do
    assert [e.name for e in load_plugins().of("predictor")] == ["two"]


def test_an_older_copy_of_one_distribution_is_not_a_second_one(install, tmp_path, monkeypatch):
    install("alpha", plugin())
    copy = tmp_path / "other" / "alpha-0.9.dist-info"
    copy.mkdir(parents=True)
    (copy / "METADATA").write_text("Metadata-Version: 2.1\nName: Alpha\nVersion: 0.9\n")
    (copy / "entry_points.txt").write_text("[vpbench]\nalpha = mod_alpha\n")
    from importlib.metadata import distributions

    paths = [str(tmp_path / "site"), str(copy.parent)]
    monkeypatch.setattr(discovery, "distributions", lambda: distributions(path=paths))
    assert [(p.distribution, p.version) for p in load_plugins().plugins] == [("alpha", "1.0")]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise RuntimeError('no GPU\\nat all')", "RuntimeError: no GPU at all"),
        ("import mod_nowhere", "ModuleNotFoundError: No module named 'mod_nowhere'"),
        (plugin() + "\n    raise ValueError('half way')", "ValueError: half way"),
        (plugin().replace("register_predictors", "register_predictor"), "register_predictor"),
        (plugin().replace("(register)", "(register, wrong)", 1), "wrong"),
    ],
)
def test_an_installed_plugin_that_fails_is_isolated(install, source, error):
    install("broken", source)
    install("sound", plugin("sound-toy"))
    plugins = load_plugins()
    broken = {p.name: p.error for p in plugins.plugins}
    assert error in broken["broken"] and broken["sound"] == ""
    assert "\n" not in broken["broken"]
    assert [e.name for e in plugins.of("predictor")] == ["sound-toy"]
    with pytest.raises(UsageError, match=r"no predictor 'toy'.*not loaded: broken; see `vpbench plugins`"):
        plugins.entry("predictor", "toy")
    with pytest.raises(UsageError, match=r"not loaded: broken"):
        plugins.find("toy")


@pytest.mark.parametrize(
    ("value", "names"),
    [("alpha", ["one"]), (" beta , alpha,", ["one", "two"]), ("", []), (",", [])],
)
def test_the_environment_limits_what_is_loaded(install, monkeypatch, value, names):
    install("alpha", plugin("one"))
    install("beta", plugin("two"), point="models")
    monkeypatch.setenv("VPBENCH_PLUGINS", value)
    assert [e.name for e in load_plugins().of("predictor")] == names


def test_the_environment_names_an_entry_point_or_a_distribution(install, monkeypatch):
    install("alpha", plugin("one"), point="models")
    for value in ("alpha", "models"):
        monkeypatch.setenv("VPBENCH_PLUGINS", value)
        assert load_plugins().of("predictor")
    monkeypatch.setenv("VPBENCH_PLUGINS", "model")
    with pytest.raises(UsageError, match=r"no plugin 'model' is installed; did you mean 'models'\?"):
        load_plugins()


def test_extra_plugins_are_files_or_modules(install, tmp_path, monkeypatch):
    file = tmp_path / "mod_file.py"
    file.write_text(plugin("from-file", target="mod_file:Toy") + "\nclass Toy: pass\n")
    (tmp_path / "mod_module.py").write_text(plugin("from-module"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("VPBENCH_PLUGINS", "")  # does not limit what is named
    plugins = load_plugins([str(file), "mod_module"])
    assert [e.name for e in plugins.of("predictor")] == ["from-file", "from-module"]
    assert plugins.load("predictor", "from-file").__name__ == "Toy"
    assert [p.distribution for p in plugins.plugins] == [str(file), "mod_module"]
    monkeypatch.chdir(tmp_path)
    for name in (str(file), "mod_file.py", "mod_file"):
        assert load_plugins([str(file), name]).entries.keys() == load_plugins([str(file)]).entries.keys()


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("mod_gone.py", None, "there is no such file"),
        ("mod_gone", None, "ModuleNotFoundError"),
        ("mod_bad.py", "1 / 0", "ZeroDivisionError: division by zero"),
        ("mod_bad.py", "def (", "SyntaxError"),
        ("mod_bad.py", plugin().replace("register_predictors", "register_models"), "register_models"),
        ("mod_bad.py", plugin() + "\n    1 / 0", "ZeroDivisionError"),
        ("mod_bad.py", "x = 1", "registers nothing: mark its functions with @vpbench.hookimpl"),
        ("mod_bad.txt", "x = 1", "the name of its file does not end in .py"),
    ],
)
def test_an_extra_plugin_that_fails_is_an_error_at_once(install, tmp_path, monkeypatch, name, source, message):
    monkeypatch.chdir(tmp_path)
    if source is not None:
        (tmp_path / name).write_text(source)
    with pytest.raises(PluginError, match=message) as caught:
        load_plugins([name])
    assert f"plugin {name}" in str(caught.value)
    assert "\n" not in str(caught.value)
    if source in ("1 / 0", "def ("):
        assert "mod_bad" not in sys.modules  # the repaired file can be imported


def test_unknown_names_say_what_is_near_or_known(install):
    install("alpha", plugin("repeat"))
    plugins = load_plugins()
    with pytest.raises(UsageError, match=r"there is no predictor 'repaet'; did you mean 'repeat'\?"):
        plugins.entry("predictor", "repaet")
    with pytest.raises(UsageError, match=r"there is no metric 'repeat'; there are none"):
        plugins.find("metric/repeat")
    with pytest.raises(UsageError, match=r"nothing is named 'reapet'; did you mean 'repeat'\?"):
        plugins.find("reapet")
    assert did_you_mean("zzz", ["b", "a"]) == "; known: a, b"


def test_some_of_many_known_names_are_printed_with_the_command_that_lists_all():
    names = list("abcdefghi")
    assert did_you_mean("zzz", names[:8]) == "; known: a, b, c, d, e, f, g, h"
    assert did_you_mean("zzz", names) == "; known: a, b, c, d, e, f, g, h and 1 more"
    with pytest.raises(UsageError, match=r" and \d+ more \(`vpbench list metrics`\)$") as caught:
        load_plugins().entry("metric", "zzz")
    assert len(str(caught.value)) < 200
    with pytest.raises(UsageError, match=r" and \d+ more \(`vpbench list`\)$"):
        load_plugins().find("zzz")


@pytest.mark.parametrize("name", ["vpbench_scenes", vpbench_scenes.__file__, os.path.relpath(vpbench_scenes.__file__)])
def test_naming_an_installed_plugin_again_changes_nothing(name):
    once, twice = load_plugins(), load_plugins([name])
    assert once.entries == twice.entries
    assert once.plugins == twice.plugins


@pytest.mark.parametrize("name", ["colorsys", "vpbench_scenes"])
def test_a_file_with_the_name_of_another_module_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.delitem(sys.modules, name, raising=False)
    file = tmp_path / f"{name}.py"
    file.write_text("")
    with pytest.raises(PluginError, match=f"another module is named '{name}'; rename the file"):
        discovery.import_extra(str(file))
    assert name not in sys.modules


def test_a_file_on_the_path_of_modules_is_no_other_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a_file_on_the_path.py").write_text("VALUE = 3")
    assert discovery.import_extra(str(tmp_path / "a_file_on_the_path.py")).VALUE == 3
    monkeypatch.delitem(sys.modules, "a_file_on_the_path")


def test_files_of_one_name_in_two_folders_replace_each_other(tmp_path, monkeypatch):
    for value in (1, 2):
        file = tmp_path / str(value) / "a_file_in_two_folders.py"
        file.parent.mkdir()
        file.write_text(f"VALUE = {value}")
        module = discovery.import_extra(str(file))
        assert value == module.VALUE
        monkeypatch.delitem(sys.modules, "a_file_in_two_folders")
