"""Requests that cannot be met: what the user reads, what the shell gets, and what is left on the disk."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
import torch
from one_line import complaint
from safetensors.torch import save_file

from deploykit.spec import ModelSpec
from deploykit.zoo.registry import build_module

USAGE, GATE, MISSING, UNTRUSTED = 2, 3, 4, 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "resnet51"], ["unknown model 'resnet51'", "did you mean resnet50"]),
        (["bench", "test_convnet", "--backends", "tort"], ["unknown backend 'tort'", "torch"]),
        (["build", "test_convnet", "--backend", "tensorrt"], ["unknown backend 'tensorrt'", "trt"]),
        (["build", "test_convnet", "--precision", "fp61"], ["unknown precision 'fp61'", "fp16"]),
        (["verify", "test_convnet", "--precision", ","], ["--precision is empty"]),
        (["build", "test_convnet", "--target", "rtx"], ["unknown GPU 'rtx'", "rtx4090"]),
        (["build", "test_convnet", "--target", "sm_90"], ["sm_90", "install deploykit[gpu]", "--target sm_89"]),
        (["build", "test_convnet", "--batch", "0"], ["batch", "1:8:32"]),
        (["build", "test_convnet", "--batch", "8:4:2"], ["batch 8:4:2"]),
        (["bench", "test_convnet", "--batch", "0"], ["batch"]),
        (["bench", "test_convnet", "--batch", "-3"], ["batch"]),
        (["bench", "test_convnet", "--threads", "-1"], ["--threads", "-1 is not in the range"]),
        (["bench", "test_convnet", "--max-seconds", "0"], ["--max-seconds", "0.0 is not in the range x>0"]),
        (["export", "test_convnet", "--image-size", "-32"], ["-32 pixels", "minimum"]),
        (["export", "vgg16", "--image-size", "31"], ["31 pixels are too small for vgg16", "the minimum is 32"]),
        (["export", "resnet18", "--width-mult", "0.5"], ["resnet18 has no width multiplier", "mobilenet"]),
        (["export", "mobilenet", "--width-mult", "0"], ["width multiplier 0"]),
        (["verify", "test_convnet", "--data", "/nowhere"], ["/nowhere"]),
        (["export", "nowhere.onnx"], ["nowhere.onnx"]),
        (["export", "test_convnet", "--weights", "/nowhere.pth"], ["/nowhere.pth"]),
        (["list", "nothing-like-it"], ["unknown model"]),
        (["export"], ["Missing argument 'MODEL'"]),
        (["exprot", "resnet50"], ["unknown command 'exprot'", "export"]),
        (["export", "test_convnet", "--no-such-option"], ["No such option"]),
        (["verify", "test_convnet", "--typed", "x.onnx", "--precision", "fp32,fp16"], ["--typed verifies one graph"]),
        (
            ["verify", "test_convnet", "--typed", "x.onnx", "--precision", "fp16", "--int8-policy", "no-first"],
            ["--int8-policy cannot be combined with --typed"],
        ),
        (
            ["verify", "test_convnet", "--against", __file__, "--backends", "trt"],
            ["--backends cannot be combined with --against, which is judged as it is"],
        ),
        (["verify", "test_convnet", "--against", "nowhere.onnx"], ["nowhere.onnx"]),
        (["export", "x.onnx", "--image-size", "64", "--width-mult", "1"], ["leave out --image-size, --width-mult"]),
        (["build", "test_convnet", "--backend", "ort"], ["does not compile engines", "trt"]),
        (["build", "test_convnet", "-o", "no/such/folder/x.engine"], ["no/such/folder is not a folder"]),
        (["export", "test_convnet", "-o", "no/such/folder/x.onnx"], ["no/such/folder is not a folder"]),
        (["build", "test_convnet", "--max-aux-streams", "8"], ["--max-aux-streams 8 is not one of 0, 1, 2", "auto"]),
        (["build", "test_convnet", "--optimization-level", "6"], ["--optimization-level", "not in the range 0<=x<=5"]),
        (["build", "test_convnet", "--calibration-images", "0"], ["--calibration-images", "range"]),
    ],
)
def test_a_wrong_request_is_a_usage_error_that_names_the_fix(run, arguments, said):
    done = run(*arguments)
    line = complaint(done)
    assert done.returncode == USAGE, done.stderr
    for part in said:
        assert part in line


@pytest.fixture
def state():
    return dict(build_module(ModelSpec("test_convnet")).state_dict())


def _first_weight(state):
    return next(name for name, tensor in state.items() if tensor.ndim == 4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("fault", ["missing", "extra", "misshapen"])
def test_a_checkpoint_that_does_not_fit_names_its_tensors(run, tmp_path, state, suffix, fault):
    name = _first_weight(state)
    if fault == "missing":
        del state[name]
    elif fault == "extra":
        name = "head.bias"
        state[name] = torch.zeros(3)
    else:
        state[name] = state[name][:1].clone()
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    done = run("export", "test_convnet", "--weights", path)
    assert name in complaint(done)
    assert done.returncode == USAGE


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.pth", b"not a checkpoint"),
        ("weights.safetensors", b"\x10\0\0\0\0\0\0\0{"),
        ("model.onnx", b""),
        ("model.onnx", b"not an onnx file at all"),
        ("model.onnx", "truncated"),
    ],
)
def test_an_unreadable_file_is_untrusted(run, tmp_path, name, content):
    path = tmp_path / name
    if content == "truncated":
        text = '<ir_version: 10, opset_import: ["": 20]> g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) {y = Relu(x)}'
        whole = onnx.parser.parse_model(text)
        whole.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1000, np.float32), "w"))
        content = whole.SerializeToString()[:2000]
    path.write_bytes(content)
    done = run("export", path) if name.endswith(".onnx") else run("export", "test_convnet", "--weights", path)
    assert path.name in complaint(done)
    assert done.returncode == UNTRUSTED


def test_a_pickle_that_would_run_code_is_refused_and_not_run(run, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv.weight": Trap()}, path)
    done = run("export", "test_convnet", "--weights", path)
    complaint(done)
    assert done.returncode == UNTRUSTED
    assert not list(tmp_path.rglob("sprung"))


def test_a_folder_without_images_is_refused(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    done = run("build", "test_convnet", "--precision", "int8", "--data", tmp_path)
    assert str(tmp_path) in complaint(done)
    assert done.returncode == USAGE


def test_a_broken_image_is_skipped_counted_and_named(run, image_folder, tmp_path):
    for path in image_folder.iterdir():
        shutil.copy(path, tmp_path)
    for name in ("broken1.png", "broken2.png", "broken3.png", "broken4.png"):
        (tmp_path / name).write_bytes((image_folder / "image0.png").read_bytes()[:-60] + name.encode())
    done = run("build", "test_convnet", "--precision", "int8", "--data", tmp_path)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("calibration"))
    assert "skipped (broken" in line
    assert "Traceback" not in done.stderr


def test_trt_without_tensorrt_rtx_is_missing_with_the_install_line(run_process, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorrt_rtx'] = None\n")
    done = run_process("build", "test_convnet", path=tmp_path)
    assert "pip install tensorrt-rtx" in complaint(done)
    assert done.returncode == MISSING


@pytest.mark.full
def test_rows_without_tensorrt_rtx_have_the_install_line(run_process, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorrt_rtx'] = None\n")
    bench = run_process("verify", "test_convnet", "--backends", "trt", path=tmp_path)
    assert bench.returncode == MISSING
    assert "unavailable" in bench.stdout
    beside = run_process("verify", "test_convnet", "--backends", "ort,trt", path=tmp_path)
    assert beside.returncode == 0, beside.stderr
    assert "pip install tensorrt-rtx" in beside.stdout


def test_strict_forbids_the_substitute(run):
    done = run("build", "test_convnet", "--strict-backend")
    assert "GPU" in complaint(done)
    assert done.returncode == MISSING


def _files(store):
    return [path for path in store.rglob("*") if path.is_file() and path.parent.name != "locks"]


def test_a_read_only_store_is_one_line(run, tmp_path):
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    store = tmp_path / "store"
    store.mkdir(mode=0o500)
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    if os.geteuid() != 0:
        command = []
    done = subprocess.run(
        [*command, sys.executable, "-m", "deploykit", "export", "test_convnet", "--store", str(store)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "cannot write" in complaint(done)
    assert not _files(store)


def test_a_full_store_is_one_line_and_leaves_nothing(tmp_path):
    store = tmp_path / "store"

    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = subprocess.run(
        [sys.executable, "-m", "deploykit", "export", "test_convnet", "--store", str(store)],
        capture_output=True, text=True, cwd=tmp_path, preexec_fn=no_room,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "no room" in complaint(done)
    assert not _files(store)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "stage",
    [
        "",
        *(
            pytest.param(stage, marks=pytest.mark.full)
            for stage in ("seed weights", "export to ONNX", "optimize the graph")
        ),
    ],
)
def test_an_interrupted_build_leaves_no_partial_artifact(tmp_path, number, code, stage):
    """The signal comes soon after `stage` has been reported: in the middle of the stage that follows."""
    store = tmp_path / "store"
    command = [sys.executable, "-m", "deploykit", "build", "resnet18", "--image-size", "64", "--store", str(store)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as build:
        while stage and stage not in build.stderr.readline():
            assert build.poll() is None
        while not (store / "work").exists():
            time.sleep(0.01)
        time.sleep(0.2)
        build.send_signal(number)
        output, errors = build.communicate(timeout=120)
    assert build.returncode == code, errors
    assert "Traceback" not in errors
    assert output == ""
    whole = {path.name for path in store.rglob("objects/*/*")}
    listed = "".join(path.read_text() for path in store.rglob("entries/*/*.json"))
    assert all(name.split(".")[0] in listed for name in whole)
    assert not list(store.glob("work/*/*"))


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), pytest.param("SIGTERM", 143, marks=pytest.mark.full)])
def test_a_signal_that_a_library_turns_into_its_own_error_is_still_a_signal(run_process, tmp_path, number, code):
    (tmp_path / "clumsy.py").write_text(f"""
import os, signal, time

def network():
    try:
        os.kill(os.getpid(), signal.{number})
        time.sleep(10)
    except BaseException:
        raise RuntimeError("could not determine the shape")
""")
    done = run_process("export", "clumsy:network", "--input-shape", "3,8,8", path=tmp_path)
    assert done.returncode == code, done.stderr
    assert "no unfinished result was left" in complaint(done)


@pytest.mark.full
def test_two_builds_of_the_same_thing_at_once_both_end_well(tmp_path):
    command = [sys.executable, "-m", "deploykit", "build", "test_resnet", "--store", str(tmp_path / "store"), "--json"]
    builds = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [build.communicate(timeout=120) for build in builds]
    assert [build.returncode for build in builds] == [0, 0], outputs
    assert len(list((tmp_path / "store").glob("entries/engine/*.json"))) == 1


FIXED = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[{batch}, 3, {height}, 16] x) => (float[{batch}, 3] y) {{
    p = GlobalAveragePool (x)
    y = Flatten (p)
}}
"""


def _save(path, **sizes):
    onnx.save(onnx.parser.parse_model(FIXED.format(**{"batch": 2, "height": 16, **sizes})), path)
    return path


def test_a_graph_of_one_fixed_batch_takes_that_batch_and_no_other(run, image_folder, tmp_path):
    path = _save(tmp_path / "fixed.onnx")
    common = [path, "--data", image_folder]
    right = run("verify", *common, "--batch", "2:2:2", "--backends", "ort,trt")
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = run("verify", *common, "--batch", "3", "--backends", "ort")
    assert wrong.returncode == USAGE
    assert "takes batches of 2 only" in complaint(wrong)
    assert run("export", path).returncode == 0


def test_a_graph_with_open_image_sizes_is_not_compiled_for_a_guess(run, tmp_path):
    done = run("build", _save(tmp_path / "open.onnx", batch="N", height="H"))
    assert "leaves H open" in complaint(done)
    assert done.returncode == USAGE


@pytest.mark.parametrize("redirect", [">&-", ">/dev/full"])
def test_a_stdout_that_takes_nothing_is_no_traceback(redirect):
    done = subprocess.run(f"{sys.executable} -m deploykit list {redirect}", shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_no_command_prints_the_help_as_it_is(run):
    done = run()
    assert done.returncode == USAGE
    assert done.stderr == run("--help").stdout


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_leaves_early_is_no_error(reader):
    script = f"set -o pipefail; {sys.executable} -m deploykit list --json | {reader}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
