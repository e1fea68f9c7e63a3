"""The review of a pull request: new bundles pass, everything else is a fault with a name, and clips are run again."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from itertools import count
from pathlib import Path
from urllib.error import URLError

import folders
import pytest

from vpbench.errors import DataError, ResultError
from vpbench.evaluation.evaluate import evaluate
from vpbench.evaluation.plan import Settings
from vpbench.evaluation.reproduce import Reproduction, reproduce
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.results.card import Card
from vpbench.results.result import load
from vpbench.submission import public_weights
from vpbench.submission.bundle import publish_bundle
from vpbench.submission.changes import find_changes
from vpbench.submission.public_weights import download_weights
from vpbench.submission.review import review, why_not_again

TOYS = str(Path(__file__).resolve().parents[1] / "toys.py")
FIELDS = {"contact": "me@example.org", "licence": "MIT", "code": "https://example.org"}


def submit(folder, root, **changes):
    result = load(folder)
    values = FIELDS | {"identity": result.run.identity_hash} | changes
    return publish_bundle(result, root, Card.model_validate(values))


@pytest.fixture
def accepted(tmp_path):
    """An archive with one result."""
    folder = folders.make_result(tmp_path / "results", "last", {"mse": [0.1, 0.2]})
    submit(folder, tmp_path / "accepted")
    return tmp_path / "accepted"


@pytest.fixture
def pulled(accepted, tmp_path):
    """The same archive in a pull request."""
    shutil.copytree(accepted, tmp_path / "pulled")
    return tmp_path / "pulled"


def add(pulled, name="net", score=0.15, **options):
    folder = folders.make_result(pulled.parent / "new", name, {"mse": [score, score]}, **options)
    return submit(folder, pulled)


def findings(pulled, accepted, plugins=None, clips=2):
    out = pulled.parent / "out"
    found_lines = review(pulled, accepted, plugins or folders.plugins(), out, clips=clips)
    return [(finding.kind, finding.subject, finding.text) for finding in found_lines]


class TestChanges:
    def test_an_equal_archive_has_none(self, accepted, pulled):
        changes = find_changes(accepted, pulled)
        assert (changes.added, changes.faults) == ((), ())

    def test_a_new_bundle_is_added(self, accepted, pulled):
        bundle = add(pulled)
        changes = find_changes(accepted, pulled)
        assert (changes.added, changes.faults) == ((bundle,), ())

    def test_a_changed_or_missing_result_and_a_stray_file_are_faults(self, accepted, pulled):
        add(accepted, "gone")
        (changed,) = (pulled / "toy/last").iterdir()
        (changed / "summary.json").write_text("{}")
        (pulled / "toy/README.md").write_text("")
        lines = find_changes(accepted, pulled).faults
        assert [line.split(": ", 1)[1] for line in lines] == [
            "a file outside of bundles; remove it",
            "an accepted result is missing",
            "an accepted result was changed; a submission only adds bundles",
        ]

    def test_a_file_more_in_an_accepted_result_is_a_change(self, accepted, pulled):
        (changed,) = (pulled / "toy/last").iterdir()
        (changed / "evil.py").write_text("")
        (line,) = find_changes(accepted, pulled).faults
        assert "was changed" in line

    def test_a_file_less_in_an_accepted_result_is_a_change(self, accepted, pulled):
        (changed,) = (pulled / "toy/last").iterdir()
        (changed / "card.json").unlink()
        (line,) = find_changes(accepted, pulled).faults
        assert "was changed" in line

    def test_a_link_is_refused(self, accepted, pulled, tmp_path):
        (pulled / "toy/evil").symlink_to(tmp_path)
        with pytest.raises(Exception, match="toy/evil is a link"):
            find_changes(accepted, pulled)


class TestReview:
    def test_a_sound_bundle_passes_and_boards_and_report_are_built(self, accepted, pulled):
        bundle = add(pulled)
        lines = findings(pulled, accepted)
        name = str(bundle.relative_to(pulled))
        assert ("passed", name, "a sound bundle") in lines
        assert ("note", name, "no clip was run again: the predictor 'net' is not installed here") in lines
        assert lines[-1][:2] == ("passed", "boards")
        assert "net" in (pulled.parent / "out/leaderboards/toy.md").read_text()
        assert (pulled.parent / "out/site/index.html").is_file()

    def test_an_archive_below_a_link_is_refused(self, accepted, pulled, tmp_path):
        (tmp_path / "leaderboards").symlink_to(tmp_path)
        with pytest.raises(ResultError, match="leaderboards is a link"):
            findings(tmp_path / "leaderboards/accepted", accepted)

    def test_a_fault_stops_the_boards(self, accepted, pulled):
        bundle = add(pulled)
        (bundle / "run.py").write_text("")
        lines = findings(pulled, accepted)
        assert lines == [("fault", str(bundle.relative_to(pulled)), "run.py: a bundle has no such file; remove it")]
        assert not (pulled.parent / "out").exists()

    def test_alerts_of_new_bundles_are_listed(self, accepted, pulled):
        folder = folders.make_result(pulled.parent / "new", "copy", {"mse": [0.1, 0.2]})
        submit(folder, pulled)
        (warning,) = [text for kind, _, text in findings(pulled, accepted) if kind == "warning"]
        assert warning.startswith("equals-reference: the same mse at every step as of last")

    def test_a_pull_request_without_a_bundle_says_so(self, accepted, pulled):
        assert findings(pulled, accepted)[0] == ("note", "pull request", "it adds no bundle")


class TestRunningAgain:
    @pytest.fixture
    def plugins(self):
        return load_plugins([TOYS])

    @pytest.fixture
    def original(self, plugins, tmp_path):
        value = {"schema": 1, "name": "bars", "version": 1, "summary": "", "dataset": {"name": "toy"}}
        value["sampling"] = {"kind": "first", "context": 3, "horizon": 2}
        protocol = Protocol.parse(value, "here")
        return evaluate("last", protocol, out=tmp_path / "r", metrics=["mse"], plugins=plugins).path

    @pytest.mark.slow
    def test_an_offset_moves_the_choice_along_the_list(self, plugins, original):
        clips = [entry.clip for entry in load(original).run.manifest]
        outcome = reproduce(load(original), plugins, Settings(), clips=2, offset=len(clips) - 1)
        assert outcome.clips == (clips[len(clips) // 2 - 1], clips[-1])

    @pytest.mark.slow
    def test_equal_rows_pass(self, plugins, original, accepted, pulled):
        bundle = submit(original, pulled)
        lines = findings(pulled, accepted, plugins)
        name = str(bundle.relative_to(pulled))
        assert ("passed", name, "2 clips run again, tolerance 1e-06; largest differences: mse 0") in lines

    @pytest.mark.slow
    def test_a_consistent_forgery_is_not_reproduced(self, plugins, original, accepted, pulled):
        folders.edit_unit(original, lambda rows: [row.update(value=row["value"] / 2) for row in rows])
        folders.edit_unit(original, lambda rows: [row.update(value=row["value"] / 2) for row in rows], 1)
        (original / "summary.json").unlink()
        from vpbench.results.store import Store
        from vpbench.results.summarise import merge

        merge(Store.open(original), plugins, allow_partial=False)
        submit(original, pulled)
        (fault,) = [text for kind, _, text in findings(pulled, accepted, plugins) if kind == "fault"]
        assert fault.startswith("not reproduced (mse); 2 clips run again")

    @pytest.mark.parametrize(("device", "tolerance"), [("cpu", 1e-6), ("cuda", 1e-4)])
    def test_what_a_reviewer_must_judge_is_a_warning(self, accepted, pulled, monkeypatch, device, tolerance):
        bundle, settings = add(pulled), {}
        name = str(bundle.relative_to(pulled))
        attempt = bundle / "attempts/00.json"
        attempt.write_text(attempt.read_text().replace('"device": "cpu"', f'"device": "{device}"'))

        def repeat(*_, **options):
            settings.update(options)
            return Reproduction(
                ("a",), options["tolerance"], (), {"ssim": "it is of other code"}, ("the code of net differs",)
            )

        monkeypatch.setattr("vpbench.submission.review.why_not_again", lambda *_: "")
        monkeypatch.setattr("vpbench.submission.review.reproduce", repeat)
        monkeypatch.setattr("secrets.randbelow", lambda count: count - 1)
        texts = [text for kind, subject, text in findings(pulled, accepted) if (kind, subject) == ("warning", name)]
        wide = [text for text in texts if text.startswith("the tolerance is wide because the result says that it was")]
        assert len(wide) == (device == "cuda")
        assert texts == [*wide, "ssim: not compared, it is of other code", "the code of net differs"]
        assert settings["tolerance"] == tolerance
        assert settings["offset"] == len(load(bundle).run.manifest) - 1, "a random one: no forger knows the clips"

    def test_reasons_against_running_again(self, plugins, tmp_path):
        card, numbers = Card.model_validate(FIELDS | {"identity": "0"}), count()
        weights = {"clips": "disjoint", "seen": 0, "sha256": "a" * 64, "protocol": "toy"}

        def reason(name, card=card, **options):
            root = tmp_path / str(next(numbers))  # weights are no part of the identity, which names the folder
            run = load(folders.make_result(root, name, {"mse": [0.1]}, **options)).run
            return why_not_again(run, card, plugins)

        assert reason("net") == "the predictor 'net' is not installed here"
        assert reason("last", protocol={"dataset": {"name": "none"}}) == "the dataset 'none' is not installed here"
        assert reason("last") == ""
        assert reason("last", weights=weights) == "the weights are not public"
        public = Card.model_validate(FIELDS | {"identity": "0", "weights_url": "https://example.org/w"})
        assert reason("last", card=public, weights=weights) == ""
        needing = next(
            entry.name for entry in plugins.of("dataset") if entry.load().info.needs_root and entry.plugin == "vpbench"
        )
        assert reason("last", protocol={"dataset": {"name": needing}}) == f"the data of {needing!r} are not here"


class TestPublicWeights:
    DATA = b"weights" * 1000
    SHA256 = hashlib.sha256(DATA).hexdigest()

    def download(self, path, data=DATA, sha256=SHA256, address="https://example.org/w"):
        download_weights(address, sha256, path, lambda _: io.BytesIO(data))

    def test_a_file_with_the_recorded_hash_is_written(self, tmp_path):
        self.download(tmp_path / "w")
        assert (tmp_path / "w").read_bytes() == self.DATA
        assert [path.name for path in tmp_path.iterdir()] == ["w"]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"data": b"other"}, "the file has the sha256 .*, run.json records"),
            ({"address": "http://example.org/w"}, "only https addresses are opened"),
            ({"address": "file:///etc/passwd"}, "only https addresses are opened"),
        ],
    )
    def test_another_file_is_refused_and_not_kept(self, tmp_path, options, words):
        with pytest.raises(DataError, match=words):
            self.download(tmp_path / "w", **options)
        assert list(tmp_path.iterdir()) == []

    def test_a_large_file_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(public_weights, "MAX_WEIGHTS", 100)
        with pytest.raises(DataError, match="more than 0 MiB"):
            self.download(tmp_path / "w")
        assert list(tmp_path.iterdir()) == []

    def test_an_address_that_cannot_be_read_is_one_line(self, tmp_path):
        def fail(_):
            raise URLError("no route")

        with pytest.raises(DataError, match=r"https://example.org/w: cannot be downloaded \(.*no route"):
            download_weights("https://example.org/w", self.SHA256, tmp_path / "w", fail)

    def test_redirects_stay_on_https(self):
        handler = public_weights._HttpsOnly()
        with pytest.raises(URLError, match="without https"):
            handler.redirect_request(None, None, 302, "", {}, "http://169.254.169.254/")


def test_a_card_is_json_that_anyone_can_read(accepted):
    (card,) = accepted.rglob("card.json")
    assert json.loads(card.read_text())["contact"] == "me@example.org"
