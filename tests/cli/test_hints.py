"""What other tools call an option, a command or a value is answered with what it is called here."""

import sys

import pytest

from deploykit import __main__ as program
from deploykit.plan.gpus import FULL_TENSORRT_ONLY, find_gpu_spec, gpu_names


@pytest.fixture
def said(monkeypatch, capsys):
    """Run the command line in this process; its one line on stderr."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["deploykit", *arguments])
        assert program._run() == 2
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "test_resnet", "--fp16"], "No such option '--fp16'; write --precision fp16"),
        (["build", "test_resnet", "--best"], "write --precision best (see"),
        (["bench", "test_resnet", "--best"], "write --precision (see"),
        (["build", "test_resnet", "--batch-size", "4"], "write --batch (see `deploykit build --help`)"),
        (["build", "test_resnet", "--imgsz", "4"], "write --image-size"),
        (["build", "test_resnet", "--checkpoint", "x"], "write --weights"),
        (["build", "test_resnet", "--onnx", "x"], "MODEL is an argument, not an option"),
        (["build", "test_resnet", "--precison", "fp16"], "No such option '--precison'; did you mean --precision"),
        (["bench", "test_resnet", "--device", "cuda"], "the GPU is used where there is one"),
        (["bench", "test_resnet", "--backend", "ort"], "did you mean --backends"),
        (["bench", "test_resnet", "--zzz"], "No such option '--zzz' (see"),
        (["verify", "test_resnet", "--backends", "torch", "ort"], "write lists with commas"),
        (["build"], "Missing argument 'MODEL': a name from `deploykit list`"),
        (["convert", "x"], "export makes the ONNX file"),
        (["quantize", "x"], "build --precision int8"),
        (["test_resnet"], "a command comes first: deploykit build test_resnet"),
        (["net.onnx"], "a command comes first: deploykit build net.onnx"),
        (["bulid"], "did you mean build?"),
        (["build", "gone.onnx"], "there is no file gone.onnx"),
        (["build", "test_resnet", "--precision", "half"], "unknown precision 'half'; write fp16"),
        (["build", "test_resnet", "--precision", "bf16"], "use fp16, with --keep-fp32"),
        (["build", "test_resnet", "--precision", "fp8"], "its 8-bit type is int8"),
        (["build", "test_resnet", "--precision", "tf32"], "give --precision fp32 --tf32"),
        (["build", "test_resnet", "--precision", "fp16,int8"], "verify and bench take several"),
        (["build", "test_resnet", "--backend", "tensorrt"], "unknown backend 'tensorrt'; write trt\n"),
        (["verify", "test_resnet", "--backends", "pytorch"], "write torch"),
        (["build", "test_resnet", "--target", "a100"], "unknown GPU 'a100'; did you mean a100-sxm-80gb?"),
        (["build", "test_resnet", "--target", "h100"], "did you mean h100-pcie or h100-sxm? That is sm_90, which"),
        (["build", "test_resnet", "--target", "h100"], "to see a plan here, use --target sm_89"),
        (["build", "test_resnet", "--target", "hopper"], "that is an architecture: give sm_90 (h100-sxm"),
        (["build", "test_resnet", "--target", "v100"], "for Turing (sm_75) and newer"),
        (["build", "test_resnet", "--target", "cpu"], "engines are for NVIDIA GPUs"),
        (["build", "test_resnet", "--target", "sm_x"], "write a compute capability such as sm_89"),
    ],
)
def test_the_line_says_what_to_write(said, arguments: list[str], words: str):
    line = said(*arguments)
    assert words in line
    assert line.count("\n") == 1
    assert line.startswith("deploykit: error: ")


def test_the_gpus_that_need_full_tensorrt_are_those_that_tensorrt_rtx_does_not_know():
    trt = pytest.importorskip("tensorrt_rtx")
    known = {name for name in dir(trt.ComputeCapability) if name.startswith("SM")}
    targets = {find_gpu_spec(name).target for name in gpu_names()}
    assert {target for target in targets if f"SM{target.major}{target.minor}" not in known} == set(FULL_TENSORRT_ONLY)
