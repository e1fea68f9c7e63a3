"""Cityscapes on a synthetic twin: snippets by name, labels by the official table, and the protocols."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from twins import cityscapes_snippet, cityscapes_val, label_ids, picture

from vpbench.errors import DataError
from vpbench.plugin.dataset import check_array
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import build_manifest
from vpbench.toolkit.labels import CITYSCAPES9, CITYSCAPES19, CITYSCAPES20, MOVING
from vpbench_cityscapes.dataset import TRAIN_IDS, Cityscapes
from vpbench_cityscapes.snippets import cut, find_unclear, mcvd_test

LABELS = Cityscapes.Options(labels=True)
SIZE = (20, 34)
DRIVES = {"frankfurt_000000": [275, 305, 560], "munster_000000": [0], "munster_000173": [0]}
FRAMES, GTFINE = "leftImg8bit_sequence", "gtFine"


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    """Five snippets of val, two of them adjoining, and one of train."""
    root = tmp_path / "cityscapes"
    for drive, firsts in DRIVES.items():
        for first in firsts:
            cityscapes_snippet(root, "val", drive, first, SIZE)
    cityscapes_snippet(root, "train", "aachen_000003", 0, SIZE)
    return root


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VPBENCH_PLUGINS", "")
    return load_plugins(["vpbench_cityscapes"])


def frame_file(root: Path, name: str, number: int, split: str = "val") -> Path:
    city, drive = name.split("/")[0], name.split("/")[1].rpartition("_")[0]
    return root / FRAMES / split / city / f"{drive}_{number:06d}_leftImg8bit.png"


class TestSnippets:
    @given(st.lists(st.integers(30, 90), min_size=1, max_size=8), st.integers(0, 400), st.data())
    def test_names_and_annotations_say_the_same(self, gaps: list[int], start: int, data: st.DataObject) -> None:
        firsts = (start + np.cumsum([0, *gaps])).tolist()
        whole = {first: list(range(first, first + 30)) for first in firsts}
        frames = [number for numbers in whole.values() for number in numbers]
        anchors = [first + 19 for first in firsts]
        subset = data.draw(st.lists(st.sampled_from(anchors), unique=True))
        assert cut(frames, anchors) == cut(frames, subset) == cut(frames[::-1], []) == whole

    @given(st.lists(st.integers(30, 60), min_size=1, max_size=5), st.data())
    def test_annotations_hold_the_snippets_where_frames_are_missing(self, gaps, data: st.DataObject) -> None:
        firsts = np.cumsum([7, *gaps]).tolist()
        frames = [number for first in firsts for number in range(first, first + 30)]
        lost = set(data.draw(st.lists(st.sampled_from(frames), max_size=9)))
        snippets = cut([n for n in frames if n not in lost], [first + 19 for first in firsts])
        assert snippets == {first: [n for n in range(first, first + 30) if n not in lost] for first in firsts}

    def test_without_annotations_a_missing_frame_does_not_split_a_snippet(self) -> None:
        frames = [n for n in range(275, 335) if n != 280]
        assert {first: len(numbers) for first, numbers in cut(frames, []).items()} == {275: 29, 305: 30}

    @pytest.mark.parametrize(
        ("ranges", "annotated", "firsts", "unclear"),
        [
            ([(1, 30)], [], [0], {}),  # a drive begins at 0
            ([(0, 29)], [], [0], {}),
            ([(3, 60)], [], [0, 30], {}),
            ([(276, 305)], [324], [275, 305], {}),  # the next snippet is known
            ([(276, 335)], [], [276, 306], {276: (275, 335), 306: (275, 335)}),
            ([(275, 334)], [], [275, 305], {275: (274, 334), 305: (274, 334)}),
            ([(277, 335)], [], [277, 307], {277: (275, 335), 307: (275, 335)}),
            ([(275, 305), (306, 335)], [], [275, 306], {306: (305, 335)}),
        ],
    )
    def test_where_a_chain_without_its_first_or_last_frame_begins(self, ranges, annotated, firsts, unclear) -> None:
        frames = [number for part in ranges for number in range(*part)]
        assert list(cut(frames, annotated)) == firsts
        assert find_unclear(frames, annotated) == unclear


class TestSequences:
    @pytest.mark.parametrize("annotated", [True, False])
    def test_snippets_by_name(self, twin: Path, annotated: bool) -> None:
        if not annotated:
            (twin / GTFINE).rename(twin.parent / "elsewhere")
        sequences = Cityscapes(twin).sequences("val")
        expected = {f"{d.split('_')[0]}/{d}_{first:06d}": first for d, firsts in DRIVES.items() for first in firsts}
        assert "frankfurt/frankfurt_000000_000275" in expected
        assert [(s.name, s.frames, s.problem) for s in sequences] == [
            (name, range(first, first + 30), "") for name, first in sorted(expected.items())
        ]
        assert [s.name for s in Cityscapes(twin).sequences("train")] == ["aachen/aachen_000003_000000"]

    @pytest.mark.slow
    def test_500_snippets_in_val(self, tmp_path: Path, plugins) -> None:
        drives = cityscapes_val(tmp_path)
        sequences = Cityscapes(tmp_path, options=LABELS).sequences("val")
        assert len(sequences) == 500
        assert not any(s.problem for s in sequences)
        assert [s.frames[0] for s in sequences if "frankfurt_000001" in s.name] == drives["frankfurt_000001"]
        assert {s.name for s in sequences} == {
            f"{d.rpartition('_')[0]}/{d}_{first:06d}" for d, firsts in drives.items() for first in firsts
        }
        clips = {name: build_manifest(*opened(plugins, name, tmp_path)).clips for name in PROTOCOLS}
        assert {name: len(sequences) for name, sequences in clips.items()} == {
            "cityscapes-video": 500, "cityscapes-semantic": 2000, "cityscapes-semantic-stride3": 1000,
        }  # fmt: skip
        assert [f.holds for f in Cityscapes(tmp_path, options=LABELS).check()] == [False, False, True, True]
        # The same without annotations, but for the protocols that need them.
        (tmp_path / GTFINE).rename(tmp_path / "elsewhere")
        assert build_manifest(*opened(plugins, "cityscapes-video", tmp_path)).clips == clips["cityscapes-video"]
        missing = Cityscapes(tmp_path, options=LABELS).sequences("val")
        assert [s.name for s in missing] == [s.name for s in sequences]
        assert all("_gtFine_labelIds.png: is missing; unpack gtFine" in s.problem for s in missing)

    def test_the_test_split_has_frames_and_no_annotations(self, tmp_path: Path) -> None:
        cityscapes_snippet(tmp_path, "test", "berlin_000007", 0, SIZE)
        (snippet,) = Cityscapes(tmp_path).sequences("test")
        assert (snippet.name, snippet.frames, snippet.problem) == ("berlin/berlin_000007_000000", range(30), "")
        assert Cityscapes(tmp_path).read(snippet.name, [3], "frames").shape == (1, *SIZE, 3)
        with pytest.raises(DataError, match="has no split 'test'; it has train, val"):
            Cityscapes(tmp_path, options=LABELS).sequences("test")
        findings = {f.name: (f.found, f.expected) for f in Cityscapes(tmp_path).check()}
        assert findings["test: complete snippets"] == ("1", "1525")

    def test_the_256_snippets_of_mcvd(self, tmp_path: Path) -> None:
        """Cities with a snippet per drive are numbered without gaps, so their names follow from the rule."""
        numbers = [round(i / 255 * 1524) for i in range(256)]
        cities = {"berlin": 544, "bielefeld": 181, "bonn": 46, "leverkusen": 58, "mainz": 298, "munich": 398}
        order = [(city, number) for city, count in cities.items() for number in range(count)]
        assert (len(order), len(mcvd_test())) == (1525, 256)
        for (city, number), name in zip([order[n] for n in numbers], sorted(mcvd_test()), strict=True):
            assert name.startswith(f"{city}/{city}_")
            if city not in ("bielefeld", "mainz"):
                assert name == f"{city}/{city}_{number:06d}_000000"
        for drive in ("berlin_000000", "berlin_000001", "berlin_000006"):
            cityscapes_snippet(tmp_path, "test", drive, 0)
        data = Cityscapes(tmp_path, options=Cityscapes.Options(test_snippets="mcvd-256"))
        snippets = data.sequences("test")
        assert [s.name for s in snippets] == sorted(mcvd_test())
        assert [s.name for s in snippets if not s.problem] == [
            "berlin/berlin_000000_000000", "berlin/berlin_000006_000000",
        ]  # fmt: skip
        assert "berlin_000012_000000_leftImg8bit.png: is missing (0 of the snippet's 30" in snippets[2].problem
        assert [(f.found, f.expected) for f in data.check()][2] == ("2", "256")

    def test_an_incomplete_snippet_is_told(self, twin: Path) -> None:
        frame_file(twin, "frankfurt/frankfurt_000000_000275", 275).unlink()
        frame_file(twin, "frankfurt/frankfurt_000000_000275", 290).unlink()
        sequences = {s.name: s for s in Cityscapes(twin).sequences("val")}
        assert len(sequences) == 5
        broken = sequences.pop("frankfurt/frankfurt_000000_000275")
        assert "000275_leftImg8bit.png: is missing (28 of the snippet's 30 frames are there)" in broken.problem
        assert not any(s.problem for s in sequences.values())

    def test_without_annotations_the_missing_first_frame_of_a_chain_is_named(self, twin: Path) -> None:
        (twin / GTFINE).rename(twin.parent / "elsewhere")
        frame_file(twin, "frankfurt/frankfurt_000000_000275", 275).unlink()
        frame_file(twin, "munster/munster_000173_000000", 0).unlink()
        problems = {s.name: s.problem for s in Cityscapes(twin).sequences("val") if s.problem}
        incomplete = problems.pop("munster/munster_000173_000000")
        assert "munster_000173_000000_leftImg8bit.png: is missing (29 of the snippet's 30 frames" in incomplete
        assert len(problems) == 2  # no snippet of the chain is scored at a wrong place
        for problem in problems.values():
            assert "frankfurt_000000_000275_leftImg8bit.png: is missing, or " in problem
            assert "frankfurt_000000_000335_leftImg8bit.png: is missing, so that" in problem
            assert "unpack gtFine_trainvaltest.zip" in problem

    def test_a_snippet_that_only_its_annotation_tells_of(self, twin: Path) -> None:
        for path in (twin / FRAMES / "val/munster").glob("munster_000173_*"):
            path.unlink()
        (problem,) = [s.problem for s in Cityscapes(twin).sequences("val") if s.problem]
        assert "munster_000173_000000_leftImg8bit.png: is missing (0 of the snippet's 30" in problem

    def test_a_missing_annotation(self, twin: Path) -> None:
        (twin / GTFINE / "val/munster/munster_000000_000019_gtFine_labelIds.png").unlink()
        assert not any(s.problem for s in Cityscapes(twin).sequences("val"))
        (broken,) = [s for s in Cityscapes(twin, options=LABELS).sequences("val") if s.problem]
        assert broken.name == "munster/munster_000000_000000"
        assert "munster_000000_000019_gtFine_labelIds.png: is missing; unpack gtFine_trainvaltest.zip" in broken.problem

    def test_other_files_are_passed_over(self, twin: Path) -> None:
        before = [(s.name, s.frames, s.problem) for s in Cityscapes(twin).sequences("val")]
        for stray in (
            "munster/._munster_000000_000003_leftImg8bit.png",
            "munster/munster_000000_000030_rightImg8bit.png",
            "munster/frankfurt_000000_000030_leftImg8bit.png",
            "munster/munster_000000_00030_leftImg8bit.png",
            "munster/munster_000000_000030_leftImg8bit.png.part",
            "readme.txt",
        ):
            (twin / FRAMES / "val" / stray).touch()
        (twin / GTFINE / "val/munster/munster_000000_000025_gtFine_instanceIds.png").touch()
        assert [(s.name, s.frames, s.problem) for s in Cityscapes(twin).sequences("val")] == before

    def test_links_out_of_the_root_are_not_followed(self, twin: Path, tmp_path: Path) -> None:
        path = frame_file(twin, "munster/munster_000000_000000", 3)
        path.rename(tmp_path / "outside.png")
        path.symlink_to(tmp_path / "outside.png")
        (broken,) = [s for s in Cityscapes(twin).sequences("val") if s.problem]
        assert "munster_000000_000003_leftImg8bit.png: is missing (29 of" in broken.problem
        with pytest.raises(DataError, match=r"000003_leftImg8bit\.png: is a symbolic link out of the data root"):
            Cityscapes(twin).read(broken.name, [3], "frames")
        (twin / FRAMES).rename(tmp_path / "frames")
        (twin / FRAMES).symlink_to(tmp_path / "frames")
        with pytest.raises(DataError, match="leftImg8bit_sequence/train: is reached by a symbolic link out of"):
            Cityscapes(twin).sequences("val")


class TestRead:
    def test_frames(self, twin: Path) -> None:
        array = Cityscapes(twin).read("frankfurt/frankfurt_000000_000305", [305, 320, 334], "frames")
        check_array(array, BUILT_IN["frames"], 3, "cityscapes")
        names = [f"frankfurt_000000_{n:06d}_leftImg8bit.png" for n in (305, 320, 334)]
        np.testing.assert_array_equal(array, [picture(name, SIZE) for name in names])

    def test_labels_equal_an_independent_computation(self, twin: Path) -> None:
        # cityscapesScripts' labels.py, the rows that are evaluated, in the order of their train ids.
        evaluated = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
        array = Cityscapes(twin, options=LABELS).read("frankfurt/frankfurt_000000_000275", [294], "semantics")
        check_array(array, BUILT_IN["semantics"], 1, "cityscapes")
        file = twin / GTFINE / "val/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png"
        raw = np.array(Image.open(file))
        assert sorted(set(raw.flat)) == list(range(34))
        for label in range(34):
            expected = evaluated.index(label) if label in evaluated else 255
            assert set(array[0][raw == label]) == {expected}

    def test_only_the_annotated_frame_has_labels(self, twin: Path) -> None:
        data = Cityscapes(twin, options=LABELS)
        with pytest.raises(
            DataError, match=r"frame 18 has no labels: only the 20th .*, here 19, .*--annotate semantics"
        ):
            data.read("munster/munster_000000_000000", [18, 19], "semantics")
        with pytest.raises(DataError, match="has no semantics, only frames; its option labels"):
            Cityscapes(twin).read("munster/munster_000000_000000", [19], "semantics")
        assert Cityscapes(twin).info.label_space is None
        assert data.info.label_space is CITYSCAPES19

    def test_a_label_outside_the_table(self, twin: Path) -> None:
        file = twin / GTFINE / "val/munster/munster_000000_000019_gtFine_labelIds.png"
        ids = label_ids("x", SIZE)
        data = Cityscapes(twin, options=LABELS)
        for wrong in (34, 255):
            ids[3, 5] = wrong
            cv2.imwrite(str(file), ids)
            with pytest.raises(DataError, match=rf"000019_gtFine_labelIds\.png: holds the label id {wrong}, .*0 to 33"):
                data.read("munster/munster_000000_000000", [19], "semantics")
        cv2.imwrite(str(file), picture("colour", SIZE))
        with pytest.raises(DataError, match=r"labelIds\.png: is a coloured picture"):
            data.read("munster/munster_000000_000000", [19], "semantics")

    def test_broken_files(self, twin: Path) -> None:
        data, name = Cityscapes(twin), "munster/munster_000000_000000"
        path = frame_file(twin, name, 4)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DataError, match=r"000004_leftImg8bit\.png: is not a picture that decodes"):
            data.read(name, [4], "frames")
        cv2.imwrite(str(path), picture("x", (10, 10)))
        with pytest.raises(DataError, match=r"munster_000000_000000: the frame size changes .*10x10 and 34x20"):
            data.read(name, [3, 4], "frames")
        path.unlink()
        with pytest.raises(DataError, match=r"000004_leftImg8bit\.png: is missing; unpack leftImg8bit_sequence"):
            data.read(name, [4], "frames")

    def test_frames_of_another_snippet(self, twin: Path) -> None:
        with pytest.raises(DataError, match="has no frame 305, only 275 to 304"):
            Cityscapes(twin).read("frankfurt/frankfurt_000000_000275", [304, 305], "frames")


class TestLabelSpaces:
    def test_the_official_table(self) -> None:
        assert len(CITYSCAPES19) == 19 == len(CITYSCAPES19.palette)
        assert sorted(TRAIN_IDS) == list(range(34))
        assert sorted(set(TRAIN_IDS.values())) == [*range(19), 255]

    def test_the_papers_merge(self) -> None:
        """SADM, supplement 6.2: 12 static classes (with void) into one, 8 moving ones as they are."""
        assert len(CITYSCAPES20) == 20
        assert len(CITYSCAPES9) == 9 == len(CITYSCAPES9.palette)
        merged = CITYSCAPES20.into["cityscapes9"]
        assert [sum(k == new for k in merged) for new in range(9)] == [12, 1, 1, 1, 1, 1, 1, 1, 1]
        assert [CITYSCAPES9.names[k] for k in merged[11:19]] == list(CITYSCAPES20.names[11:19])
        assert merged[CITYSCAPES20.names.index("void")] == 0
        assert CITYSCAPES19.into["cityscapes9"] == merged[:19]

    @pytest.mark.parametrize("space", [CITYSCAPES9, CITYSCAPES19, CITYSCAPES20])
    def test_the_foreground_is_what_moves(self, space) -> None:
        assert [int(name in MOVING) for name in space.names] == list(space.into["foreground2"])

    @pytest.mark.parametrize("space", [CITYSCAPES19, CITYSCAPES20])
    def test_mappings_fit_their_spaces(self, space) -> None:
        spaces = {s.name: s for s in (CITYSCAPES9, CITYSCAPES19, CITYSCAPES20)}
        for name, table in space.into.items():
            if name not in spaces:
                continue
            assert len(table) == len(space)
            assert set(table) - {255} == set(range(len(spaces[name]))) - ({19} if name == "cityscapes20" else set())
            same = [(k, new) for k, new in enumerate(table) if new not in (0, 255)]
            assert all(space.names[k] == spaces[name].names[new] for k, new in same)


PROTOCOLS = ("cityscapes-video", "cityscapes-semantic", "cityscapes-semantic-stride3")


def opened(plugins, name: str, root: Path) -> tuple[Protocol, Cityscapes]:
    protocol = Protocol.read(plugins.load("protocol", name))
    kind = plugins.load("dataset", protocol.dataset.name)
    return protocol, kind(root, options=kind.Options(**protocol.dataset.options))


class TestProtocols:
    def test_video(self, plugins, twin: Path) -> None:
        protocol, data = opened(plugins, "cityscapes-video", twin)
        assert (protocol.size, protocol.quantise, protocol.report) == ((512, 1024), True, (1, 3, 5))
        assert protocol.display == {"ms-ssim": 100, "lpips": 100}
        manifest = build_manifest(protocol, data, allow_partial=True)
        assert manifest.partial == "5 of 500 clips"
        assert [c.id for c in manifest.clips][:2] == [
            "frankfurt/frankfurt_000000_000275@275",
            "frankfurt/frankfurt_000000_000305@305",
        ]
        assert manifest.clips[1].frames == tuple(range(305, 319))
        assert manifest.clips[1].context == 4

    @pytest.mark.slow
    def test_video_frames_at_the_official_size(self, plugins, tmp_path: Path) -> None:
        cityscapes_snippet(tmp_path, "val", "lindau_000012", 0, labels=False)
        protocol, data = opened(plugins, "cityscapes-video", tmp_path)
        (ref,) = build_manifest(protocol, data, allow_partial=True).clips
        expected = []
        for number in range(14):
            path = frame_file(tmp_path, "lindau/lindau_000012_000000", number)
            cv2.imwrite(str(path), picture(path.name, (1024, 2048)), [cv2.IMWRITE_PNG_COMPRESSION, 1])
            expected.append(cv2.resize(cv2.imread(str(path)), (1024, 512))[..., ::-1])
        frames = transform(data.read(ref.sequence, ref.frames, "frames"), protocol.pixels, BUILT_IN["frames"])
        np.testing.assert_array_equal(frames, expected)

    def test_two_to_28_at_128(self, plugins, tmp_path: Path) -> None:
        cityscapes_snippet(tmp_path, "test", "berlin_000006", 0)
        pixels = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(frame_file(tmp_path, "berlin/berlin_000006_000000", 5, "test")), pixels[..., ::-1])
        square = Image.fromarray(pixels[:, 20:60]).resize((128, 128), Image.Resampling.LANCZOS)
        for name, clips in (("cityscapes-128-2to28", 1525), ("cityscapes-128-2to28-mcvd", 256)):
            protocol, data = opened(plugins, name, tmp_path)
            assert (protocol.size, protocol.clips, protocol.sampling.context) == ((128, 128), clips, 2)
            (clip,) = build_manifest(protocol, data, allow_partial=True).clips
            assert clip.frames == tuple(range(30))
            frames = transform(data.read(clip.sequence, [5], "frames"), protocol.pixels, BUILT_IN["frames"])
            np.testing.assert_array_equal(frames[0], square)

    def test_semantics_move_the_context(self, plugins, twin: Path) -> None:
        windows = {}
        for name in PROTOCOLS[1:]:
            protocol, data = opened(plugins, name, twin)
            assert (protocol.size, protocol.label_size) == ((512, 1024), (1024, 2048))
            assert (protocol.version, protocol.metrics, protocol.display) == (2, ("miou",), {"miou": 100})
            clips = build_manifest(protocol, data, allow_partial=True).clips
            windows[name] = {c.steps: c.frames for c in clips if c.sequence.endswith("_000275")}
        contexts = {
            name: {s: [f - 275 for f in frames[:4]] for (s,), frames in of.items()} for name, of in windows.items()
        }
        assert all(frames[-1] == 294 for of in windows.values() for frames in of.values())
        assert contexts["cityscapes-semantic"] == {
            1: [15, 16, 17, 18], 3: [13, 14, 15, 16], 5: [11, 12, 13, 14], 9: [7, 8, 9, 10],
        }  # fmt: skip
        assert contexts["cityscapes-semantic-stride3"] == {1: [7, 10, 13, 16], 3: [1, 4, 7, 10]}

    def test_the_scored_labels(self, plugins, tmp_path: Path) -> None:
        cityscapes_snippet(tmp_path, "val", "lindau_000012", 0, (16, 32))
        file = tmp_path / GTFINE / "val/lindau/lindau_000012_000019_gtFine_labelIds.png"
        ids = label_ids("official", (1024, 2048))
        cv2.imwrite(str(file), ids)
        protocol, data = opened(plugins, "cityscapes-semantic", tmp_path)
        ref = build_manifest(protocol, data, allow_partial=True).clips[-1]
        operations = protocol.operations("semantics")
        labels = transform(data.read(ref.sequence, ref.frames[-1:], "semantics"), operations, BUILT_IN["semantics"])
        np.testing.assert_array_equal(labels, np.vectorize(TRAIN_IDS.get)(ids)[None])
