"""What a process that loads libraries meets is an answer: a crash, silence, an exception, and the steps around it."""

import onnx
import onnxruntime
import pytest

from deploykit.doctor.probe import CONVOLUTION
from deploykit.doctor.processes import ask

# ONNX Runtime's API as far as the doctor calls it; `FAILS` is what a session with the CUDA provider does.
ONNXRUNTIME = """
import json, os, signal, sys, time
from pathlib import Path

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

def get_available_providers():
    return [TENSORRT, CUDA, CPU]

class SessionOptions:
    pass

class InferenceSession:
    def __init__(self, model, options, providers):
        self.provider, self.file = providers[0], options.profile_file_prefix + ".json"
        if self.provider == CUDA:
            FAILS
        if self.provider == TENSORRT:
            print("[E] Failed to load libproviders_tensorrt.so with error: libnvinfer.so.10: cannot open shared object "
                  "file: No such file or directory")
            self.provider = CPU

    def run(self, names, feed):
        assert set(feed) == {"x", "w"}

    def get_providers(self):
        return [self.provider]

    def end_profiling(self):
        Path(self.file).write_text(json.dumps([{"name": "load"}, {"args": {"provider": self.provider}}]))
        return self.file
"""
CRASH = "os.kill(os.getpid(), signal.SIGSEGV)"
HANG = "time.sleep(60)"
ABORT = 'print("corrupted double-linked list", file=sys.stderr, flush=True); os.abort()'
RAISE = 'raise RuntimeError("CUDA failure 35:\\n too old a driver")'


def test_the_graph_is_the_convolution_that_its_comment_says():
    model = onnx.load_from_string(CONVOLUTION)
    onnx.checker.check_model(model, full_check=True)
    assert [(node.op_type, list(node.input)) for node in model.graph.node] == [("Conv", ["x", "w"])]
    session = onnxruntime.InferenceSession(CONVOLUTION, providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [1, 1, 4, 4]


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (CRASH, "its process was killed by SIGSEGV"),
        (ABORT, "its process was killed by SIGABRT (corrupted double-linked list)"),
        (RAISE, "CUDA failure 35: too old a driver"),
        ("sys.exit(7)", "its process exited with code 7"),
    ],
    ids=["crash", "abort", "raise", "exit"],
)
def test_a_provider_that_takes_its_process_down_is_named_and_the_others_are_asked(module, fails, said):
    module("onnxruntime", ONNXRUNTIME.replace("FAILS", fails))
    (answer,) = ask({"onnxruntime": ("providers",)}).values()
    assert answer.fault == ""
    assert list(answer.steps) == ["CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"]
    assert answer.steps["CPUExecutionProvider"]["ran"] == ["CPUExecutionProvider"]
    assert answer.steps["CUDAExecutionProvider"] == {"fault": said}
    assert "libnvinfer.so.10: cannot open" in answer.steps["TensorrtExecutionProvider"]["printed"]


@pytest.mark.full
def test_a_provider_that_hangs_is_ended_and_the_others_are_asked(module):
    module("onnxruntime", ONNXRUNTIME.replace("FAILS", HANG))
    (answer,) = ask({"onnxruntime": ("providers",)}, seconds=5).values()
    assert answer.steps["CPUExecutionProvider"]["ran"] == ["CPUExecutionProvider"]
    assert answer.steps["CUDAExecutionProvider"] == {"fault": "no answer within 5 s"}
    assert answer.steps["TensorrtExecutionProvider"]["ran"] == ["CPUExecutionProvider"]


def test_a_library_that_cannot_be_imported_at_all_is_the_fault_of_the_whole(module):
    module("onnxruntime", "raise ImportError('libonnxruntime.so.1: wrong ELF class')")
    (answer,) = ask({"onnxruntime": ("providers",)}).values()
    assert answer.steps == {}
    assert answer.fault == "ImportError: libonnxruntime.so.1: wrong ELF class"
    assert answer.first_fault() == answer.fault


def test_what_a_library_says_is_shortened(module):
    module("torch", f"raise OSError({'far ' * 200!r} + 'away')")
    (answer,) = ask({"torch": ("torch",)}).values()
    assert answer.steps["import"]["fault"].startswith("far far ")
    assert answer.steps["import"]["fault"].endswith("far away")
    assert len(answer.steps["import"]["fault"]) <= 200


def test_steps_that_build_on_each_other_are_not_tried_again(module):
    module("torch", "import os; os.abort()")
    (answer,) = ask({"torch": ("torch",)}).values()
    assert answer.steps == {"import": {"fault": "its process was killed by SIGABRT"}}


def test_a_library_is_loaded_from_a_package_and_one_that_lacks_another_says_which(site, compiled, tmp_path):
    lib = site / "tensorrt_libs"
    compiled("int cublas(void) { return 1; }", lib / "libcublasLt.so.11")
    stub = compiled("int stub(void) { return 1; }", lib / "libstub.so", "-Wl,-soname,libstub.so")
    compiled("int stub(void); int nvinfer(void) { return stub(); }", lib / "libnvinfer.so.10", str(stub))
    stub.unlink()
    names = ("libcublasLt.so.11", "libnvinfer.so.10", "libof_nobody.so.1")
    (answer,) = ask({"libraries": ("libraries", *names)}).values()
    assert answer.steps["libcublasLt.so.11"] == {"path": str(lib / "libcublasLt.so.11")}
    assert answer.steps["libnvinfer.so.10"]["fault"].startswith("libstub.so: cannot open shared object file")
    assert answer.steps["libof_nobody.so.1"]["fault"].startswith("libof_nobody.so.1: cannot open shared object file")
