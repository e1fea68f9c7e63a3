"""Generated files through the readers of the commands: an error of vpbench, or the same numbers; no hang, no bomb.

``FUZZ_FILES`` is the number of files (`make fuzz`: 10,000). A failure names the seed of its file.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import folders
import pytest
from mutations import mutated_bytes, mutated_json, mutated_toml

from vpbench.cli.show import _weights as show_weights
from vpbench.errors import ResultError, VpbenchError
from vpbench.pages.candidates import collect
from vpbench.pages.leaderboard import build_pages
from vpbench.pages.reported import load_reported
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.suite import Suite
from vpbench.report.site import write_site
from vpbench.results.card import make_card, read_card
from vpbench.results.costs import read_cost
from vpbench.results.reading import read_training
from vpbench.results.result import load
from vpbench.results.verify import check_result, verify

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FILES = int(os.environ.get("FUZZ_FILES", "200"))
TOML_FILES = {
    "protocol": "datasets/*/protocols/*.toml",
    "suite": "suites/*.toml",
    "reported": "leaderboards/reported/*.toml",
}
RESULT_FILES = {
    "run": "run.json",
    "summary": "summary.json",
    "unit": "units/*",
    "attempt": "attempts/*",
    "cost": "../costs/*.json",
}
CARD = {
    "schema": 1,
    "identity": "0" * 64,
    "contact": "who@example.org",
    "licence": "MIT",
    "code": "https://example.org/code",
    "training_data": "the training split",
}
SECONDS, BYTES = 60, 2 * 2**30


def scores(path: Path) -> object:
    """Check the result that a file is part of as commands do before they use it, and return its numbers."""
    result = load(result_of(path))
    check_result(result, folders.plugins())
    verify(result.store, folders.plugins())
    return result.summary.scores, [(row["clip"], row["step"], row["metric"], row["value"]) for row in result.rows()]


def tables(path: Path) -> None:
    for score in load_reported(path.parent)[0].scores():
        printed = float(score.printed)
        assert abs(score.natural * score.factor + score.column.offset - printed) <= 1e-5 * abs(printed)


def protocol(path: Path) -> None:
    value = Protocol.read(path)
    assert Protocol.parse(value.model_dump(mode="json", by_alias=True), "copy").hash == value.hash


def suite(path: Path) -> None:
    assert len(Suite.read(path).jobs()) < 10**6


def cost(path: Path) -> object:
    """Show the cost as all pages do, and return its identity: times have no digest."""
    folder = path.parents[1]
    candidates = collect([folder], folders.plugins())
    build_pages(candidates, folders.plugins())
    write_site(candidates, folders.plugins(), (), folder / "site")
    return read_cost(path).identity


def training(path: Path) -> None:
    record = read_training(path)
    copy = path.with_name("copy.json")
    copy.write_text(json.dumps(record.to_json(), allow_nan=False))
    assert read_training(copy).same_weights(record)


def card(path: Path) -> None:
    _, problems = make_card(read_card(path))
    if problems:
        raise ResultError("; ".join(problems))


def intact_files(kind: str, folder: Path) -> list[Path]:
    """Return intact files of a kind; those of a result lie in a complete one."""
    if kind == "weights":
        return sorted((ROOT / "plugins").rglob("*.safetensors"))
    if kind in TOML_FILES:
        return sorted(ROOT.glob(TOML_FILES[kind]))
    folder.mkdir()
    if kind == "training":
        return [folders.make_training(folder / "training.json")]
    if kind == "card":
        file = folder / "card.json"
        file.write_text(json.dumps(CARD))
        return [file]
    result = folders.make_result(folder, "net", {"mse": [0.1, 0.2], "psnr": [20.0, None]})
    if kind == "cost":
        folders.make_cost(result)
    return sorted(result.glob(RESULT_FILES[kind]))


def copied(path: Path, kind: str, folder: Path) -> Path:
    """Copy a file, or the result that it is part of, into a folder, and return the file's copy."""
    if kind not in RESULT_FILES:
        return Path(shutil.copy(path, folder / f"file{path.suffix}"))
    result = result_of(path)
    return shutil.copytree(result, folder / "result") / path.relative_to(result)


def result_of(path: Path) -> Path:
    """Return the result that a file is part of; of a cost, the folder with all results of the predictor."""
    return path.parent if path.name in ("run.json", "summary.json") else path.parent.parent


def mutate(kind: str, path: Path, random: Random) -> None:
    """Change a file; in half of the records and units, also the digests of it that a forger can compute."""
    data = path.read_bytes()
    if kind == "weights":
        path.write_bytes(mutated_weights(data, random))
    elif random.random() < 0.3:
        path.write_bytes(mutated_bytes(data, random))
    elif kind == "unit":
        lines = data.decode().splitlines()
        place = random.randrange(len(lines))
        lines[place] = mutated_json(lines[place], random)
        path.write_text("".join(f"{line}\n" for line in lines))
    elif path.suffix == ".toml":
        path.write_text(mutated_toml(data.decode(), random))
    else:
        path.write_text(mutated_json(data.decode(), random))
    if kind == "unit" and random.random() < 0.5:
        (attempt,) = (result_of(path) / "attempts").iterdir()
        record = json.loads(attempt.read_text())
        record["units"][str(int(path.stem))] = hashlib.sha256(path.read_bytes()).hexdigest()
        attempt.write_text(json.dumps(record))
    if kind == "run" and random.random() < 0.5:
        with suppress(ValueError, KeyError, AttributeError, TypeError):  # no record any more
            folders.edit_run(path.parent, lambda run: None, rehash=True)


def mutated_weights(data: bytes, random: Random) -> bytes:
    """Change the record in the metadata of a safetensors file, its header, or its first bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    choice = random.random()
    if choice < 0.2:
        return mutated_bytes(data[:end], random) + data[end:]
    header = json.loads(data[8:end])
    if choice < 0.8:
        metadata = header["__metadata__"]
        metadata["vpbench"] = mutated_json(metadata["vpbench"], random)
        text = json.dumps(header)
    else:
        text = mutated_json(json.dumps(header), random)
    return len(text).to_bytes(8, "little") + text.encode() + data[end:]


READERS: dict[str, Callable[[Path], object]] = {
    "run": scores,
    "summary": scores,
    "unit": scores,
    "attempt": scores,
    "protocol": protocol,
    "suite": suite,
    "reported": tables,
    "cost": cost,
    "training": training,
    "card": card,
    "weights": show_weights,
}


@contextmanager
def limits() -> Iterator[None]:
    """A minute and 2 GiB more than now."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, before[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_generated_files(kind: str, tmp_path: Path) -> None:
    faults, accepted, count = [], 0, -(-FILES // len(READERS))
    examples = intact_files(kind, tmp_path / "intact")
    expected = READERS[kind](examples[0])
    for seed in range(count):
        random = Random(f"{kind} {seed}")
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = copied(random.choice(examples), kind, folder)
        mutate(kind, path, random)
        try:
            with limits():
                numbers = READERS[kind](path)
            accepted += 1
            if kind in RESULT_FILES and numbers != expected:
                faults.append(f"seed {seed}: other numbers without an error")
        except VpbenchError as error:
            if not str(error).strip() or "\n" in str(error):
                faults.append(f"seed {seed}: an error that is not one line: {error!r}")
        except Exception as error:
            faults.append(f"seed {seed}: {type(error).__name__}: {error}"[:300])
        shutil.rmtree(folder)
    print(f"{kind}: {count} files, {count - accepted} refused, {accepted} read, {len(faults)} faults")
    assert not faults, "\n".join(faults[:20])
