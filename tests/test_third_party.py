"""A stranger's wheel beside the built wheel of vpbench, in an environment of its own, not from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # builds a wheel

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("vpbench", "plugins", "datasets")


def build_wheel(source: Path, out: Path) -> Path:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)]
    command = [sys.executable, "-m", "pip", "wheel", *options]
    subprocess.run(command, check=True, cwd=out)
    (wheel,) = out.glob("*.whl")
    return wheel


def tracked(*options: str) -> list[str]:
    """List the files of the checkout that git tracks."""
    command = ["git", "ls-files", "--cached", *options]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what git would give, so that an ignored file cannot hide."""
    copy = tmp_path_factory.mktemp("source")
    for name in tracked("--others", "--exclude-standard"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy


@pytest.fixture(scope="module")
def wheels(checkout, tmp_path_factory):
    sources = {"vpbench": checkout, "fade": ROOT / "examples" / "vpbench-fade"}
    return [build_wheel(source, tmp_path_factory.mktemp(name)) for name, source in sources.items()]


@pytest.fixture(scope="module")
def vpbench_command(wheels, tmp_path_factory):
    """The command `vpbench` of a clean environment; its dependencies are borrowed from this one, vpbench is not."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", *map(str, wheels)], check=True)
    # A path in a .pth file does not process the .pth files there, so the editable vpbench stays out.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("VPBENCH", "PYTHON"))} | env
        return subprocess.run(
            [home / "bin" / "vpbench", *args], cwd=home, env=environment, capture_output=True, text=True
        )

    location = subprocess.run(
        [python, "-c", "import vpbench; print(vpbench.__file__)"], cwd=home, capture_output=True, text=True
    )
    assert location.stdout.startswith(str(home)), location
    return run


def test_the_wheel_holds_every_package_and_data_file_and_no_stray_top_level(wheels):
    names = zipfile.ZipFile(wheels[0]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert not tops & {"plugins", "datasets", "tests", "docs"}
    files = {path.removeprefix("plugins/").removeprefix("datasets/") for path in tracked(*PACKAGES)}
    assert not files - set(names)
    assert {Path(path).suffix for path in files} >= {".py", ".toml", ".png", ".safetensors"}


def test_the_source_archive_holds_every_package_and_data_file(checkout, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path], cwd=checkout, check=True
    )
    (path,) = tmp_path.glob("vpbench-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert not set(tracked(*PACKAGES)) - names


def test_the_wheel_stays_small(wheels):
    assert wheels[0].stat().st_size < 20 * 10**6


def test_its_names_stand_beside_the_first_party_ones(vpbench_command):
    listed = json.loads(vpbench_command("list", "--json").stdout)["entries"]
    brought = {(e["kind"], e["name"]) for e in listed if e["plugin"] == "vpbench-fade"}
    assert brought == {("predictor", "fade"), ("dataset", "bars"), ("metric", "brightness"), ("protocol", "bars-2to3")}
    assert any(e["plugin"] == "vpbench" for e in listed)
    plugins = json.loads(vpbench_command("plugins", "--json").stdout)["plugins"]
    (fade,) = [plugin for plugin in plugins if plugin["name"] == "fade"]
    assert (fade["distribution"], fade["version"], fade["released"]) == ("vpbench-fade", "1.2.3", True)


def test_it_runs_end_to_end_with_its_preset(vpbench_command, tmp_path):
    common = ["-p", "bars-2to3", "--metric", "brightness", "--metric", "mse", "--out", str(tmp_path), "--json"]
    process = vpbench_command("run", "-m", "fade:fast", "-m", "repeat", *common)
    assert process.returncode == 0, process.stderr
    fade, repeat = json.loads(process.stdout)["results"]
    assert Path(fade["path"]).parent.name == "fade-fast"
    # A bar is 1 of 32 columns: the frame's mean is 1/32, and the fast fade moves it half way to grey at each step.
    expected = [(1 - 0.5**k) * (0.5 - 1 / 32) for k in (1, 2, 3)]
    assert fade["summary"]["scores"]["brightness"]["per_step"] == pytest.approx(expected, abs=1e-6)
    assert repeat["summary"]["scores"]["brightness"]["per_step"] == pytest.approx([0, 0, 0], abs=1e-6)
    # The bar has moved: two of 32 columns are wrong by 1.
    assert repeat["summary"]["scores"]["mse"]["per_step"] == pytest.approx([2 / 32] * 3, abs=1e-6)


def test_its_command_is_added(vpbench_command):
    assert vpbench_command("hello").stdout == "hello from vpbench-fade\n"
    assert "hello" in vpbench_command("--help").stdout


def test_vpbench_plugins_leaves_it_out(vpbench_command):
    process = vpbench_command("list", "predictors", VPBENCH_PLUGINS="baselines")
    assert "repeat" in process.stdout
    assert "fade" not in process.stdout


def test_a_submission_of_its_predictor_is_taken_through(vpbench_command, tmp_path):
    """Run, submit, run clips again, check with and without the plugin, and show on a board."""

    def run(*args: str, code: int = 0, **env: str) -> str:
        process = vpbench_command(*args, **env)
        output = process.stdout + process.stderr
        assert process.returncode == code, output
        return output

    results, bundles = str(tmp_path / "results"), str(tmp_path / "bundles")
    metrics = ["--metric", "mse", "--metric", "psnr", "--metric", "brightness"]
    run("run", "-p", "bars-2to3", "-m", "fade:fast", "-m", "repeat", *metrics, "--out", results)
    (result,) = (tmp_path / "results/bars-2to3/fade-fast").iterdir()
    refused = run("submit", str(result), "--out", bundles, code=1)
    assert len(refused.splitlines()) >= 2 and "card, contact: it is missing" in refused
    card = ["--contact", "fade@example.org", "--licence", "MIT", "--code", "https://example.org/vpbench-fade"]
    run("submit", str(result), *card, "--out", bundles)
    bundle = tmp_path / "bundles/bars-2to3/fade-fast" / result.name
    repeated = run("reproduce", str(bundle), "--clips", "3")
    assert "brightness" in repeated and repeated.splitlines()[-1] == "reproduced"
    assert "a sound bundle" in run("submit", bundles, "--check")
    reviewed = run("submit", bundles, "--check", VPBENCH_PLUGINS="vpbench")
    assert "predictor 'fade' is not installed here" in reviewed
    assert "brightness: this metric is not installed here; its scores are shown without a rank" in reviewed
    assert "there is no" in run("reproduce", str(bundle), VPBENCH_PLUGINS="vpbench", code=2)
    run("leaderboard", bundles, "--out", str(tmp_path / "pages"), VPBENCH_PLUGINS="vpbench")
    page = (tmp_path / "pages/bars-2to3.md").read_text()
    assert "fade-fast" in page and "brightness could not be computed again" in page
