"""external: a worker's answers reach the harness, a broken worker fails by name, and nothing of it remains."""

from __future__ import annotations

import ast
import copy
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from workers import documented_worker, write_worker

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context, LabelSpace
from vpbench_external.messages import Hello
from vpbench_external.predictor import External, WorkerError

B, T, K, H, W = 2, 3, 4, 6, 8
SPACE = LabelSpace("two", ("ground", "thing"), ((0, 0, 0), (255, 0, 0)))


def make_context(**arrays):
    frames = torch.rand(B, T, 3, H, W, generator=torch.Generator().manual_seed(0))
    return Context(frames=frames, clips=("a@0", "b@0"), **arrays)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def build(command, **options):
    return External(External.Options(command=command, **({"timeout": 60} | options)))


def predict(external, context=None):
    return external.predict(context or make_context(), K, generators(5, 2**62))


def processes_of(path) -> list[psutil.Process]:
    listed = psutil.process_iter(["cmdline", "status"])
    return [p for p in listed if str(path) in (p.info["cmdline"] or []) and p.info["status"] != psutil.STATUS_ZOMBIE]


def wait_until_gone(path):
    deadline = time.monotonic() + 10
    while processes_of(path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processes_of(path)


def test_the_documented_worker_is_short_and_old():
    """Twenty lines without blank ones, in Python 3.6; the functions of numpy that it calls are older than 1.16."""
    source = documented_worker()
    tree = ast.parse(source, feature_version=(3, 6))
    lines = [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= 20
    called = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "np"}
    assert called == {"load", "save", "repeat", "float32"}
    imported = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    assert imported == {"io", "json", "struct", "sys", "traceback", "numpy"}
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr | ast.NamedExpr)]


@pytest.mark.slow
def test_the_documented_worker_repeats_the_last_frame(tmp_path):
    external, context = build(write_worker(tmp_path / "w.py")), make_context()
    for _ in range(2):
        prediction = predict(external, context)
        assert torch.equal(prediction.frames, context.frames[:, -1:].expand(B, K, 3, H, W))
    assert (external.info.outputs, external.info.requires) == (("frames",), ("frames",))
    assert external.result_name() == "w"
    del external
    wait_until_gone(tmp_path / "w.py")


@pytest.mark.slow
def test_a_worker_receives_clips_seeds_sample_and_labels_and_describes_itself(tmp_path):
    check = (
        "assert header['clips'] == ['a@0', 'b@0'] and header['sample'] == 1, header\n"
        "assert seeds == [5, 2**62] and header['labels'] == ['ground', 'thing'], header\n"
        "assert arrays['caption'].tolist() == [['x', 'yy', 'z'], ['x', 'y', 'z']], arrays\n"
        "return np.stack([np.full((horizon,) + frames.shape[2:], s % 7 / 10.0) for s in seeds]).astype('>f8')"
    )
    hello = (
        '{"version": 1, "outputs": ["frames"], "stochastic": True, "context": [2, None], "size": 2, "horizon": 9,'
        ' "causal": False, "uses": ["caption"], "name": "noise", "paper": "p", "licence": "MIT", "trained_on": ["kth"]}'
    )
    external = build(write_worker(tmp_path / "w.py", predict=check, hello=hello))
    extras = {"caption": (("x", "yy", "z"), ("x", "y", "z"))}
    prediction = predict(external, make_context(sample=1, label_space=SPACE, extras=extras))
    assert prediction.frames.dtype == torch.float32
    assert prediction.frames[:, 0, 0, 0, 0].tolist() == pytest.approx([0.5, 2**62 % 7 / 10])
    info = external.info
    assert (info.stochastic, info.causal, info.horizon, info.size, info.context) == (True, False, 9, 2, (2, None))
    assert (info.paper, info.licence, info.trained_on, external.result_name()) == ("p", "MIT", ("kth",), "noise")
    named = External(external.options.model_copy(update={"name": "mine"}))
    assert named.result_name() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("scores", [False, True])
def test_every_modality_goes_both_ways(tmp_path, scores):
    answer = (
        "k, past = header['horizon'], arrays['semantics'][:, -1:]\n"
        f"labels = {'np.stack([1 - past, past], 2) * 0.5' if scores else 'past.astype(np.uint8)'}\n"
        "flow = np.asfortranarray(arrays['flow'][:, -1:].repeat(k, 1))\n"
        "reply({'arrays': ['flow', 'semantics', 'frames', 'disocclusion']}, flow, labels.repeat(k, 1),\n"
        "      frames.astype(np.float16), flow[:, :, 0] > 0)"
    )
    hello = '{"version": 1, "outputs": ["frames", "semantics", "flow", "disocclusion"], "uses": ["semantics", "flow"]}'
    external = build(write_worker(tmp_path / "w.py", hello=hello, answer=answer))
    context = make_context(
        semantics=torch.arange(B * T * H * W).view(B, T, H, W) % 2,
        flow=torch.randn(B, T - 1, 2, H, W),
        label_space=SPACE,
    )
    prediction = predict(external, context)
    labels = prediction.semantics.argmax(2) if scores else prediction.semantics
    assert torch.equal(labels, context.semantics[:, -1:].expand(B, K, H, W))
    assert torch.equal(prediction.flow, context.flow[:, -1:].expand(B, K, 2, H, W))
    assert torch.equal(prediction.disocclusion, prediction.flow[:, :, 0] > 0)
    assert torch.equal(prediction.frames, context.frames[:, -1:].expand(B, K, 3, H, W).half().float())


BROKEN_STARTS = {
    "ends": ("os._exit(3)", "ended with exit code 3"),
    "raises": ("raise SystemError('no weights')", "ended with exit code 1; its standard error ends: .*no weights"),
    "crashes": ("ctypes.string_at(0)", "was ended by SIGSEGV"),
    "prints": ("os.write(1, b'Loading model ...' * 9)", "prints 'Loading model ...Load.*print on standard error"),
    "prints little": (
        "os.write(1, b'hello'); os._exit(0)",
        "ended with exit code 0 after it printed 'hello' on standard",
    ),
    "closes": ("os.close(1); time.sleep(60)", "closed its standard output"),
    "version": ("reply({'version': 2})", "speaks version 2 of the protocol; this vpbench speaks 1"),
    "field": ("reply({'version': 1, 'output': ['frames']})", "wrong first header: output: is unknown"),
    "output": ("reply({'version': 1, 'outputs': ['pixels']})", "describes itself wrongly: .*no 'pixels'"),
    "fields": (
        "reply({'version': 1, 'causl': True, 'outputs': 3})",
        "wrong first header: causl: is unknown; outputs: must be a list",
    ),
    "no-object": ("reply([1])", "sends a header that is no JSON object"),
    "long": ("sink.write(struct.pack('<4sQ', b'vpb1', 2**40)); sink.flush()", "sends 1099511627776 bytes of its first"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN_STARTS)
def test_a_worker_that_does_not_start_as_it_should_is_refused(tmp_path, name):
    start, words = BROKEN_STARTS[name]
    command = write_worker(tmp_path / "w.py", start=start)
    with pytest.raises(PredictorError, match=f"^external:{re.escape(shlex.quote(command))}: its worker .*{words}"):
        build(command)
    wait_until_gone(tmp_path / "w.py")


SAVE = "reply({'arrays': ['frames']}, %s)"
BROKEN_ANSWERS = {
    "ends": ("sys.stderr.write('out of luck'); os._exit(3)", "ended with exit code 3; its standard error ends: out of"),
    "crashes": ("ctypes.string_at(0)", "was ended by SIGSEGV"),
    "killed": ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
    "prints": ("os.write(1, b'0 %\\n' * 9)", "prints '0 % 0 %"),
    "shape": (
        SAVE % "frames[:, :-1]",
        r"sends frames as float32 \[2, 3, 3, 6, 8\]; they must be floating point \[2, 4,",
    ),
    "dtype": (SAVE % "(frames * 255).astype(np.uint8)", r"sends frames as uint8 \[2, 4, 3, 6, 8\]"),
    "nan": (SAVE % "frames * np.nan", "sends frames that hold NaN or infinite values"),
    "large": (SAVE % "frames.repeat(9, 0)", "sends 41600 bytes of frames; at most 13312 are expected"),
    "objects": (
        "reply({'arrays': ['frames']}, np.array([{}]))",
        "sends frames in .* bytes, which are no object array of shape",
    ),
    "bytes": ("send(json.dumps({'arrays': ['frames']}).encode(), b'nonsense')", "sends frames that are no .npy file"),
    "cut": (
        "send(json.dumps({'arrays': ['frames']}).encode(), npy(frames)[:-1])",
        "sends frames in .* bytes, which are no float32 array of shape",
    ),
    "unknown": ("reply({'arrays': ['flow']})", r"answers with arrays \['flow'\]; its outputs are frames"),
    "twice": ("reply({'arrays': ['frames', 'frames']})", "answers with one array twice"),
    "json": ("sink.write(struct.pack('<4sQ', b'vpb1', 1) + b'{'); sink.flush()", "sends a header that is no JSON"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN_ANSWERS)
def test_a_worker_that_answers_nonsense_fails_and_is_ended(tmp_path, name):
    answer, words = BROKEN_ANSWERS[name]
    external = build(write_worker(tmp_path / "w.py", answer=answer))
    with pytest.raises(PredictorError, match=f"^its worker {words}"):
        predict(external)
    wait_until_gone(tmp_path / "w.py")


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended_at_its_time_limit_with_all_it_started(tmp_path):
    hang = "import subprocess\nsubprocess.Popen(['sleep', '98765'])\ntime.sleep(1e6)"
    external = build(write_worker(tmp_path / "w.py", answer=hang))
    external.options = external.options.model_copy(update={"timeout": 1.0})
    start = time.monotonic()
    with pytest.raises(PredictorError, match="did not send a header in time: it hangs, or the option timeout"):
        predict(external)
    assert time.monotonic() - start < 20
    wait_until_gone(tmp_path / "w.py")
    wait_until_gone("98765")


@pytest.mark.slow
def test_a_worker_that_does_not_read_hangs_too(tmp_path):
    external = build(write_worker(tmp_path / "w.py", start="reply({'version': 1}); time.sleep(1e6)"), timeout=5)
    large = Context(frames=torch.zeros(1, 1, 3, 1024, 1024), clips=("a@0",))
    external.options = external.options.model_copy(update={"timeout": 0.5})
    with pytest.raises(PredictorError, match="did not read its input in time"):
        external.predict(large, 1, generators(1))
    wait_until_gone(tmp_path / "w.py")


@pytest.mark.slow
def test_an_error_of_the_worker_is_told_by_its_last_line_and_the_worker_stays(tmp_path):
    raising = (
        "if 'b@0' in header['clips']:\n    raise KeyError('weights')\nreturn np.repeat(frames[:, -1:], horizon, axis=1)"
    )
    external = build(write_worker(tmp_path / "w.py", predict=raising))
    with pytest.raises(WorkerError, match="KeyError: 'weights'") as caught:
        predict(external)
    assert str(caught.value) == "KeyError: 'weights'"
    assert "Traceback" in caught.value.__notes__[0]
    first = Context(frames=torch.rand(1, T, 3, H, W), clips=("a@0",))
    (before,) = processes_of(tmp_path / "w.py")
    assert external.predict(first, K, generators(1)).frames.shape == (1, K, 3, H, W)
    assert processes_of(tmp_path / "w.py") == [before]


@pytest.mark.slow
def test_a_worker_is_started_again_after_a_failure_and_for_a_copy(tmp_path):
    flag = str(tmp_path / "flag")
    once = f"if not os.path.exists({flag!r}):\n    open({flag!r}, 'w').close()\n    os._exit(1)\n"
    external = build(write_worker(tmp_path / "w.py", answer=once + SAVE % "frames"))
    with pytest.raises(PredictorError, match="exit code 1"):
        predict(external)
    expected = predict(external).frames
    for duplicate in (pickle.loads(pickle.dumps(external)), copy.deepcopy(external)):
        assert torch.equal(predict(duplicate).frames, expected)
    assert len(processes_of(tmp_path / "w.py")) >= 1


@pytest.mark.slow
def test_much_text_on_standard_error_does_not_stop_a_worker(tmp_path):
    loud = "sys.stderr.write('warning\\n' * 300000)\n" + SAVE % "frames"
    assert predict(build(write_worker(tmp_path / "w.py", answer=loud))).frames.shape == (B, K, 3, H, W)


@pytest.mark.slow
def test_a_worker_dies_with_a_vpbench_that_is_killed(tmp_path):
    command = write_worker(tmp_path / "w.py", start="reply({'version': 1}); time.sleep(1e6)")
    code = (
        "import os, sys\nfrom vpbench_external.predictor import External\n"
        "external = External(External.Options(command=sys.argv[1]))\nos.kill(os.getpid(), 9)"
    )
    process = subprocess.run([sys.executable, "-c", code, command], check=False)
    assert process.returncode == -signal.SIGKILL
    wait_until_gone(tmp_path / "w.py")


@pytest.mark.slow
def test_a_fork_leaves_the_worker_alone(tmp_path):
    external = build(write_worker(tmp_path / "w.py"))
    expected = predict(external).frames
    pid = os.fork()
    if pid == 0:
        external._worker.close()
        os._exit(0)
    os.waitpid(pid, 0)
    (worker,) = processes_of(tmp_path / "w.py")
    assert torch.equal(predict(external).frames, expected)
    assert processes_of(tmp_path / "w.py") == [worker]


def test_commands_that_cannot_start_a_worker(tmp_path):
    for command, words in {
        "nonesuch w": "names no file, so a change of the worker would go unnoticed",
        "python -v missing.py": r"^external: there is no file missing\.py, which the command names$",
        f"nonesuch {__file__}": "there is no program 'nonesuch' to start the worker",
        "python 'w": "cannot be split into words",
        " ": "the command is empty",
    }.items():
        with pytest.raises(PredictorError, match=words):
            build(command)
    (tmp_path / "w.py").touch()
    with pytest.raises(
        PredictorError, match=r"w\.py' is not executable: write its interpreter before it, such as python3"
    ):
        build(str(tmp_path / "w.py"))
    with pytest.raises(PredictorError, match=r"files: there is no .*nowhere"):
        build(f"python3 {__file__}", files=(Path("nowhere"),))


class Unstarted(External):
    """An External without its process, to look at identities."""

    def _start(self):
        return Hello(version=1)


def test_the_identity_is_of_contents_and_of_the_command_not_of_paths(tmp_path):
    def fingerprint(folder, command="python3 {}/w.py --fast", **options):
        return Unstarted(External.Options(command=command.format(folder), **options)).fingerprint()

    left, right = tmp_path / "left", tmp_path / "right"
    for folder in (left, right):
        (folder / "parts/__pycache__").mkdir(parents=True)
        (folder / "w.py").write_text("pass")
        (folder / "parts/model.py").write_text("pass")
        (folder / "parts/weights").write_text(folder.name)
        (folder / "parts/__pycache__/model.pyc").write_text(folder.name)
    first = fingerprint(left)
    assert (
        fingerprint(right)
        == first
        == fingerprint(left, f"{sys.executable} {{}}/w.py --fast".replace(Path(sys.executable).name, "python3"))
    )
    assert fingerprint(left, "python3 {}/w.py --slow") != first
    assert fingerprint(left, files=(left / "parts/model.py",)) != first
    assert fingerprint(left, files=(left / "parts",)) != fingerprint(right, files=(right / "parts",))
    (right / "parts/weights").write_text("left")
    assert fingerprint(left, files=(left / "parts",)) == fingerprint(right, files=(right / "parts",))
    (right / "w.py").write_text("pass  # changed")
    assert fingerprint(right) != first
    assert External.Options(command="a", files=(left,), name="b", timeout=3).model_dump() == {}
