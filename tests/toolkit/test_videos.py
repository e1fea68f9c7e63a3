"""Videos as cameras, editors and broken disks leave them: counted by what is shown, upright, and damage refused."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tiny_video import known_frames, write_picture

from vpbench.errors import DataError
from vpbench.toolkit import decoding, media
from vpbench.toolkit.folders import file_stamp
from vpbench.toolkit.media import VideoReader, check_picture, count_frames, decoded_length, probe_video, read_image

IDENTITY = (1, 0, 0, 1)


def pattern(i: int, height: int = 64, width: int = 96) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([(x * 2 + i * 8) % 256, (y * 3 + i * 3) % 256, (x + y + i * 5) % 256], -1).astype(np.uint8)


def encode(path: Path, n: int = 50, codec: str = "libx264", fmt: str = "yuv420p", container: Any = None, **opts: str):
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=25, options=opts)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 96, 64, fmt, 25
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(pattern(i), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def patch(path: Path, at: int, data: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    whole[at : at + len(data)] = data
    path.write_bytes(whole)
    return path


def remux(source: Path, target: Path, skip: int) -> Path:
    """Copy packets, without the first ones: what an editor does that cuts between keyframes."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for i, packet in enumerate(read.demux(stream)):
            if i >= skip and packet.size:
                packet.stream = copy
                written.mux(packet)
    return target


class TestCounting:
    def counted(self, path: Path) -> int:
        facts = probe_video(path)
        assert facts.frames == decoded_length(path)
        assert VideoReader(path).read([facts.frames - 1]).shape[0] == 1
        return facts.frames

    def test_a_fragmented_mp4(self, tmp_path):
        assert self.counted(encode(tmp_path / "a.mp4", 100, container={"movflags": "frag_keyframe"})) == 100

    @pytest.mark.parametrize("ticks", [2560, 12800])  # within the first group of pictures, and beyond it
    def test_an_edit_list_hides_frames(self, tmp_path, ticks):
        path = encode(tmp_path / "a.mp4")
        at = path.read_bytes().find(b"elst") + 16
        (start,) = struct.unpack_from(">i", path.read_bytes(), at)
        patch(path, at, struct.pack(">i", start + ticks))
        assert self.counted(path) == 50 - ticks // 512
        assert probe_video(path).claimed == 50

    def test_an_edit_list_that_the_index_keeps(self, tmp_path):
        path = encode(tmp_path / "a.mp4", codec="mpeg4", b="4000000")
        at = path.read_bytes().find(b"elst") + 16
        patch(path, at, struct.pack(">i", 5120))
        assert self.counted(path) == 40

    @pytest.mark.parametrize("claim", [10**9, 10, 0])
    def test_an_avi_header_that_lies(self, tmp_path, claim):
        path = encode(tmp_path / "a.avi", codec="mpeg4", b="4000000")
        for name, offset in ((b"avih", 24), (b"strh", 40)):
            patch(path, path.read_bytes().find(name) + offset, struct.pack("<I", claim))
        assert self.counted(path) == 50
        assert probe_video(path).claimed == claim

    @pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
    def test_an_avi_of_unknown_size_and_without_an_index(self, tmp_path, size):
        path = encode(tmp_path / "a.avi", codec="mpeg4", b="4000000")
        path.write_bytes(path.read_bytes()[: path.read_bytes().find(b"idx1")])
        patch(path, 4, struct.pack("<I", size))
        assert self.counted(path) == 50

    def test_a_hidden_reference_frame_of_vp8(self, tmp_path):
        path = encode(tmp_path / "a.webm", 50, "libvpx", b="2M")
        with av.open(str(path)) as container:
            packets = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
        assert len(packets) == self.counted(path) == 50
        patch(path, path.read_bytes().find(packets[20]), bytes([packets[20][0] & ~0x10]))  # show_frame (RFC 6386, 9.1)
        assert self.counted(path) == 49

    @pytest.mark.parametrize(
        ("first", "last", "hidden"),
        [
            (0b10_00_0_1_1_0, 0, False),
            (0b10_00_0_1_0_0, 0, True),
            (0b10_00_0_1_0_0, 0xC1, False),  # a superframe, which holds a shown frame, too
            (0b10_00_1_0_0_0, 0, False),  # show_existing_frame
        ],
    )
    def test_a_hidden_reference_frame_of_vp9(self, first, last, hidden):
        assert media._is_hidden("vp9", bytes([first, 7, last])) is hidden

    @pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
    def test_a_cut_between_keyframes_is_decoded_to_be_counted(self, tmp_path, suffix):
        whole = encode(tmp_path / "whole.mkv", 60, **{"x264-params": "open-gop=1:bframes=3:keyint=15:min-keyint=15"})
        path = remux(whole, tmp_path / f"cut{suffix}", 7)
        assert self.counted(path) < 53

    def test_headers_are_used_where_the_index_agrees(self, tmp_path, monkeypatch):
        path = encode(tmp_path / "a.avi", codec="mpeg4", b="4000000")
        monkeypatch.setattr(media, "_count_packets", None)
        assert count_frames(path) == 50

    def test_the_frame_rate(self, tmp_path):
        assert probe_video(encode(tmp_path / "a.mp4")).rate == 25


class TestDamage:
    def test_an_unknown_codec(self, tmp_path):
        path = encode(tmp_path / "a.avi", codec="mpeg4")
        path.write_bytes(path.read_bytes().replace(b"FMP4", b"zzzz"))
        for read in (probe_video, decoded_length):
            with pytest.raises(DataError, match=r"a\.avi: has a codec that FFmpeg does not know"):
                read(path)

    def test_a_damaged_packet_of_mpeg4(self, tmp_path):
        path = encode(tmp_path / "a.avi", codec="mpeg4", b="4000000", qmin="1", qmax="2")
        data = path.read_bytes()
        tenth = [i for i in range(len(data)) if data[i : i + 4] == b"00dc"][10]
        patch(path, tenth + 208, b"\x55" * 20)
        reader = VideoReader(path)
        assert reader.read(range(5)).shape == (5, 64, 96, 3)
        for _ in range(2):  # also where it is asked again
            with pytest.raises(DataError, match=r"a\.avi: does not decode \(.*, after \d+ frames\); .*allow a partial"):
                reader.read(range(20, 24))
        assert reader.read([2]).shape == (1, 64, 96, 3)

    @pytest.mark.parametrize(
        ("codec", "suffix", "fmt"),
        [
            ("libx264", "mp4", "yuv420p"),
            ("mjpeg", "avi", "yuvj420p"),
            ("ffv1", "mkv", "yuv420p"),
            ("png", "avi", "rgb24"),
        ],
    )
    def test_zeros_in_the_middle_of_other_streams(self, tmp_path, codec, suffix, fmt):
        path = encode(tmp_path / f"a.{suffix}", codec=codec, fmt=fmt)
        assert decoded_length(path) == 50
        with av.open(str(path)) as container:
            packets = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
        at, size = max(packets[1:], key=lambda packet: packet[1])
        patch(path, at + size // 4, bytes(size // 2))
        with pytest.raises(DataError, match="does not decode"):
            decoded_length(path)

    def test_a_checksum_of_ffv1_that_does_not_match(self, tmp_path):
        path = encode(tmp_path / "a.mkv", codec="ffv1")
        patch(path, path.stat().st_size // 2, b"\x55" * 10)
        with pytest.raises(DataError, match=r"does not decode \(a checksum does not match, after \d+ frames\)"):
            decoded_length(path)

    def test_decoders_are_asked_to_report_what_they_conceal(self, tmp_path, monkeypatch):
        path = encode(tmp_path / "a.avi", codec="msmpeg4")
        data = path.read_bytes()
        with av.open(str(path)) as container:
            packets = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]

        def refused() -> int:
            count = 0
            for at, size in packets:
                path.write_bytes(data)
                patch(path, at + size // 2, b"\x55" * 20)
                try:
                    decoded_length(path)
                except DataError:
                    count += 1
            return count

        reported = refused()
        monkeypatch.setattr(decoding, "_ERROR_DETECTION", {})
        assert reported > refused()

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi", "a.gif"])
    @pytest.mark.parametrize("share", [0.6, 0.97])
    def test_a_file_that_was_cut_off(self, tmp_path, name, share):
        codec, fmt = {"mp4": ("libx264", "yuv420p"), "mkv": ("libx264", "yuv420p"), "webm": ("libvpx", "yuv420p"),
                      "avi": ("mpeg4", "yuv420p"), "gif": ("gif", "rgb8")}[name[2:]]  # fmt: skip
        faststart = {"movflags": "faststart"} if name == "a.mp4" else {}
        path = encode(tmp_path / name, codec=codec, fmt=fmt, container=faststart)
        assert count_frames(path) == 50
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(DataError, match=r"is cut off: \d+ of \d+ bytes; get the file again"):
            count_frames(path)

    def test_a_cut_fragmented_mp4_and_a_growing_one(self, tmp_path):
        path = encode(tmp_path / "a.mp4", 100, container={"movflags": "frag_keyframe+empty_moov"})
        data = path.read_bytes()
        path.write_bytes(data[: data.rfind(b"moof") - 4])  # whole fragments are left
        assert count_frames(path) == decoded_length(path)
        path.write_bytes(data[: data.rfind(b"mdat") + 100])
        with pytest.raises(DataError, match="is cut off"):
            count_frames(path)


class TestDisplay:
    TURNS = {  # a, b, c, d of the display matrix: x' = a*x + c*y, y' = b*x + d*y
        IDENTITY: lambda x: x,
        (0, 1, -1, 0): lambda x: np.rot90(x, -1),
        (-1, 0, 0, -1): lambda x: np.rot90(x, 2),
        (0, -1, 1, 0): lambda x: np.rot90(x, 1),
        (-1, 0, 0, 1): lambda x: x[:, ::-1],
        (1, 0, 0, -1): lambda x: x[::-1],
        (0, 1, 1, 0): lambda x: x.swapaxes(0, 1),
        (0, -1, -1, 0): lambda x: x[::-1, ::-1].swapaxes(0, 1),
    }

    def turned(self, path: Path, matrix: tuple[float, ...]) -> np.ndarray:
        a, b, c, d = (round(value * 65536) for value in matrix)
        patch(path, path.read_bytes().find(b"tkhd") + 44, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))
        return VideoReader(path).read([0, 3])

    @pytest.mark.parametrize("matrix", TURNS)
    def test_turns_and_flips(self, tmp_path, matrix):
        path = encode(tmp_path / "a.mp4", 5)
        plain = VideoReader(path).read([0, 3])
        expected = np.stack([self.TURNS[matrix](image) for image in plain])
        np.testing.assert_array_equal(self.turned(path, matrix), expected)

    def test_another_angle_is_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"at an angle of -?30 degrees; only turns by 90"):
            self.turned(encode(tmp_path / "a.mp4", 5), (0.866, 0.5, -0.5, 0.866))

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
    def test_all_orientations_of_pictures(self, tmp_path, suffix):
        turns = [IDENTITY, (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0),
                 (0, -1, -1, 0), (0, -1, 1, 0)]  # fmt: skip
        for orientation, matrix in enumerate(turns, start=1):
            exif = Image.Exif()
            exif[0x0112] = orientation
            path = tmp_path / f"a{suffix}"
            Image.fromarray(pattern(0, 16, 24)).save(path)
            plain = read_image(path)
            Image.fromarray(pattern(0, 16, 24)).save(path, exif=exif)
            np.testing.assert_array_equal(read_image(path), self.TURNS[matrix](plain))


class TestDepth:
    @pytest.mark.parametrize(
        ("codec", "suffix", "fmt", "bits"),
        [("libx264", "mp4", "yuv420p10le", 10), ("ffv1", "mkv", "gray16le", 16), ("ffv1", "mkv", "gbrp12le", 12),
         ("png", "mov", "rgb48be", 16)],
    )  # fmt: skip
    def test_deep_videos_are_refused(self, tmp_path, codec, suffix, fmt, bits):
        path = encode(tmp_path / f"a.{suffix}", 5, codec, fmt)
        for look in (probe_video, decoded_length):
            with pytest.raises(DataError, match=rf"has {bits} bits per channel \({fmt}\); convert it to 8 bits"):
                look(path)

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_deep_pictures_are_refused(self, tmp_path, suffix, channels):
        import cv2

        path = tmp_path / f"deep{suffix}"
        cv2.imwrite(str(path), np.full((8, 8, channels), 200, np.uint16))
        for look in (read_image, check_picture):
            with pytest.raises(DataError, match=r"has pixels of more than 8 bits \(16 per channel\)"):
                look(path)

    def test_palettes_alpha_grey_and_cmyk_are_converted(self, tmp_path):
        red = Image.new("RGB", (4, 4), (255, 0, 0))
        for name, mode in (("p.png", "P"), ("a.png", "RGBA"), ("c.jpg", "CMYK"), ("c.tif", "CMYK")):
            red.convert(mode).save(tmp_path / name)
            image = read_image(tmp_path / name)
            assert (abs(image.astype(int) - (255, 0, 0)) <= 2).all(), name
        red.convert("1").save(tmp_path / "b.png")
        assert set(read_image(tmp_path / "b.png").flat) <= {0, 255}


class TestPictures:
    @pytest.mark.parametrize("name", ["pages.tif", "moving.png", "moving.webp"])
    def test_several_pictures_in_one_file(self, tmp_path, name):
        stack = [Image.fromarray(pattern(i)) for i in range(20)]
        stack[0].save(tmp_path / name, save_all=True, append_images=stack[1:])
        for look in (read_image, check_picture):
            with pytest.raises(DataError, match=r"holds 20 pictures, .* save each of them as a file of its own"):
                look(tmp_path / name)

    def test_a_format_that_starts_programs_is_not_read(self, tmp_path):
        Image.fromarray(pattern(0)).save(tmp_path / "a.eps")
        (tmp_path / "a.eps").rename(tmp_path / "a.png")
        with pytest.raises(DataError, match="is not a picture that decodes"):
            read_image(tmp_path / "a.png")


class TestFiles:
    NAMES = ("12:30:00.mp4", "http:x.mp4", "concat:a|b.mp4", "file:a.mp4", "a%03d.mp4", "-i.mp4", "pipe:0")

    @pytest.mark.parametrize("name", NAMES)
    def test_any_name_is_the_name_of_a_file(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        encode(Path("plain.mp4"), 5).rename(name)
        assert decoded_length(Path(name)) == 5
        with pytest.raises(DataError, match="there is no such file"):
            probe_video(Path(f"{name}x"))

    @pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile plain.mp4\n", "#EXTM3U\n#EXTINF:1,\nplain.mp4\n"])
    def test_a_list_of_other_files_is_no_video(self, tmp_path, text):
        encode(tmp_path / "plain.mp4", 5)
        (tmp_path / "list.mp4").write_text(text)
        with pytest.raises(DataError, match=r"list\.mp4: is not a video that opens"):
            probe_video(tmp_path / "list.mp4")

    @pytest.mark.parametrize("look", [probe_video, decoded_length, read_image, check_picture])
    def test_what_is_no_regular_file_is_not_opened(self, tmp_path, look):
        os.mkfifo(tmp_path / "a")
        for path, kind in ((tmp_path / "a", "a FIFO"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
            with pytest.raises(DataError, match=f"is {kind}, not a regular file"):
                look(path)


class TestStamp:
    def test_a_folder_changes_with_any_picture_in_it(self, tmp_path):
        for i, frame in enumerate(known_frames(3)):
            write_picture(tmp_path / f"{i}.png", frame)
        stamps = [file_stamp(tmp_path)]
        state = (tmp_path / "1.png").stat()
        (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[::-1])  # in place, of the same size
        os.utime(tmp_path / "1.png", ns=(state.st_atime_ns, state.st_mtime_ns - 1))  # even if it looks older
        stamps.append(file_stamp(tmp_path))
        (tmp_path / "0.png").rename(tmp_path / "x.png")
        (tmp_path / "2.png").rename(tmp_path / "0.png")
        (tmp_path / "x.png").rename(tmp_path / "2.png")
        stamps.append(file_stamp(tmp_path))
        (tmp_path / "2.png").unlink()
        stamps.append(file_stamp(tmp_path))
        assert len(set(stamps)) == 4

    def test_hidden_files_change_nothing(self, tmp_path):
        write_picture(tmp_path / "0.png", known_frames(1)[0])
        before = file_stamp(tmp_path)
        for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (tmp_path / name).write_bytes(b"x")
        assert file_stamp(tmp_path) == before
