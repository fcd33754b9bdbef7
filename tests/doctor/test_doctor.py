"""Findings are plain text, one for each thing that this machine may lack, and each lack has its fix."""

import json
import os
from dataclasses import asdict
from importlib.metadata import requires
from pathlib import Path

import pytest
from in_process import run_in_process

import deploykit as dk
from deploykit import host
from deploykit.backends import backend_names
from deploykit.backends.device import find_gpu
from deploykit.doctor import examine, machine
from deploykit.doctor.finding import Finding
from deploykit.doctor.libraries import (
    FoundGpu,
    first_gpu,
    install_line,
    look_at_libraries,
    look_at_pycuda,
    look_at_torch,
)
from deploykit.doctor.machine import look_at_cpu, look_at_gpus, look_at_store
from deploykit.doctor.packages import (
    GENERAL,
    LIBRARIES,
    OPTIONAL,
    cuda_majors,
    look_at_cuda,
    look_at_packages,
    look_for_duplicates,
)
from deploykit.doctor.processes import Answer, ask
from deploykit.doctor.providers import CPU, CUDA, look_at_providers
from deploykit.doctor.verdict import verdict
from deploykit.errors import UnknownName

without_gpu = pytest.mark.skipif(find_gpu() is not None, reason="says what a machine without a GPU says")
H100 = FoundGpu("NVIDIA H100 80GB HBM3", "sm_90")


def by_subject(findings):
    return {finding.subject: finding for finding in findings}


def doctor(*arguments, store):
    """The command, as a shell would run it."""
    return run_in_process(("doctor", *arguments), cwd=store, environment={"DEPLOYKIT_STORE": str(store)})


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Everything that the doctor finds on this machine, as it is."""
    return by_subject(examine(tmp_path_factory.mktemp("store")))


def test_findings_are_text_of_one_line_and_what_is_not_well_has_a_fix(here):
    for finding in here.values():
        texts = [value for value in asdict(finding).values() if type(value) is str]
        assert len(texts) == 4
        assert not any("\n" in text for text in texts)
        assert finding.detail
        assert finding.state == "ok" or finding.fix, finding
        assert set(finding.backends) <= {*backend_names()}


def test_every_package_that_deploykit_asks_for_is_looked_at():
    asked = {line.split(";")[0].split(">")[0] for line in requires("deploykit") if "extra ==" not in line}
    optional = {line.split(";")[0].split(">")[0] for line in requires("deploykit") if 'extra == "gpu"' in line}
    of_library = {name for names, _ in LIBRARIES.values() for name in names}
    assert asked | optional <= of_library | {*GENERAL, *OPTIONAL}


@without_gpu
def test_a_machine_without_a_gpu_computes_on_the_cpu_and_compiles_with_tensorrt_rtx(here):
    assert "for CUDA" in here["torch"].detail
    assert here[f"provider {CPU}"].detail == "ran a convolution"
    assert here[f"provider {CUDA}"].state == "missing"
    assert f"{CPU} ran in its place" in here[f"provider {CUDA}"].detail
    assert here["gpu"].state == here["driver"].state == "missing"
    targets, others = here["tensorrt-rtx targets"].detail.split("; ")
    assert {"sm_75", "sm_89", "sm_120"} <= set(targets.split(", "))
    assert "h100-sxm" in others
    assert others.endswith("need full TensorRT")
    assert here["tensorrt"].fix.startswith('pip install "tensorrt>=10.3"')
    assert here["backend torch"].detail == here["backend ort"].detail == "runs on the CPU"
    assert here["backend trt"].detail == "compiles engines, by TensorRT-RTX; there is no GPU to run them on"
    assert here["backend trt-rtx"].detail == "compiles engines; there is no GPU to run them on"
    assert {here[f"backend {name}"].state for name in ("torch", "ort", "trt", "trt-rtx")} == {"ok"}


def test_only_what_matters_to_a_backend_is_looked_at_and_its_verdict_comes_last(tmp_path):
    found = dk.doctor(backend="trt-rtx", store=tmp_path)
    assert found[-1].subject == "backend trt-rtx"
    subjects = {finding.subject for finding in found}
    assert {"tensorrt-rtx", "tensorrt-rtx targets", "store", "gpu"} <= subjects
    assert not subjects & {"torch", f"provider {CPU}", "backend ort", "mlcommons-loadgen"}


def test_an_unknown_backend_is_named(tmp_path):
    with pytest.raises(UnknownName, match="unknown backend 'tensorrt'; write trt"):
        examine(tmp_path, "tensorrt")


# Packages


def test_packages_for_another_cuda_are_named_with_the_line_that_makes_them_meet(installed):
    installed("torch", "2.12.0+cu126", ["nvidia-cudnn-cu12==9.10"])
    installed("onnxruntime-gpu", "1.31.0", ['nvidia-cudnn-cu13~=9.0; extra == "cudnn"'])
    installed("tensorrt", "11.4.0", ["tensorrt_cu13==11.4.0"])
    majors = cuda_majors()
    assert {name: majors[name] for name in ("onnxruntime-gpu", "torch", "tensorrt")} == {
        "onnxruntime-gpu": 13, "torch": 12, "tensorrt": 13,
    }  # fmt: skip
    (finding,) = look_at_cuda(majors)
    assert finding.state == "broken"
    assert "onnxruntime-gpu for CUDA 13, torch for CUDA 12, tensorrt for CUDA 13" in finding.detail
    assert finding.fix == "pip install --upgrade --force-reinstall torch"


def test_packages_for_one_cuda_are_well_and_those_for_the_cpu_say_nothing(installed):
    assert next(look_at_cuda({"torch": 13, "onnxruntime-gpu": 13})).state == "ok"
    assert list(look_at_cuda({})) == []
    installed("torch", "2.12.0+cpu")
    assert "torch" not in cuda_majors()


def test_packages_that_overwrite_each_other_are_named(installed):
    before = {finding.subject for finding in look_for_duplicates()}
    assert before == set()
    installed("onnxruntime", "1.31.0")
    installed("onnxruntime-gpu", "1.31.0")
    (finding,) = look_for_duplicates()
    assert (finding.subject, finding.state) == ("duplicate onnxruntime", "broken")
    assert finding.detail.startswith("onnxruntime-gpu and onnxruntime are both installed")
    assert finding.fix == "pip uninstall -y onnxruntime-gpu onnxruntime && pip install onnxruntime-gpu"


def test_a_package_that_is_too_old_is_broken(installed):
    installed("onnx", "1.19.0")
    installed("click", "8.1.0")
    found = by_subject(look_at_packages(optional=False))
    assert (found["onnx"].state, found["onnx"].fix) == ("broken", 'pip install "onnx>=1.21"')
    assert found["onnx"].detail == "1.19.0 is older than 1.21"
    assert found["click"].state == "broken"
    assert "click" not in found["other packages"].detail
    assert "numpy" in found["other packages"].detail


# What loads


def test_the_only_package_with_cuda_overwritten_by_the_one_without_is_the_reason(installed):
    installed("onnxruntime", "1.31.0")
    installed("onnxruntime-gpu", "1.31.0")
    answer = Answer({CPU: {"ran": [CPU], "loaded": [CPU], "printed": ""}})
    found = [*look_for_duplicates(), *look_at_providers(answer, H100, {}), Finding("gpu", "ok", "there")]
    assert by_subject(found)[f"provider {CUDA}"].state == "broken"
    decisive = verdict("ort", found, H100)
    assert decisive.state == "broken"
    assert decisive.detail.startswith("duplicate onnxruntime: onnxruntime-gpu and onnxruntime are both installed")
    assert verdict("ort", found, None).state == "ok"


def test_a_provider_that_lacks_a_library_names_it_with_its_package():
    printed = "[E] Failed to load libproviders_cuda.so with error: libcufft.so.11: cannot open shared object file: No"
    answer = Answer({CUDA: {"ran": [CPU], "loaded": [CPU], "printed": printed}})
    finding = next(look_at_providers(answer, H100, {"onnxruntime-gpu": 12}))
    assert finding.state == "broken"
    assert finding.detail == f"does not load, {CPU} ran in its place: libcufft.so.11 is not here"
    assert finding.fix == "pip install nvidia-cufft-cu12"


def test_a_provider_that_fails_otherwise_is_quoted_without_the_time_and_the_place():
    printed = (
        "2026-11-27 23:01:14.786057963 [E:onnxruntime:Default, bridge.cc:2458 operator()] Failed to load library "
        "libproviders_cuda.so: undefined symbol: cuTensorMapEncodeTiled\n"
    )
    finding = next(look_at_providers(Answer({CUDA: {"ran": [CPU], "loaded": [CPU], "printed": printed}}), H100, {}))
    said = "Failed to load library libproviders_cuda.so: undefined symbol: cuTensorMapEncodeTiled"
    assert finding.detail == f"does not load, {CPU} ran in its place: {said}"


@pytest.mark.parametrize(
    ("library", "cuda", "line"),
    [
        ("libcublasLt.so.13", 13, "pip install nvidia-cublas"),
        ("cublasLt64_12.dll", 12, "pip install nvidia-cublas-cu12"),
        ("libcudnn.so.9", 13, "pip install nvidia-cudnn-cu13"),
        ("libnvinfer.so.10", 13, 'pip install "tensorrt==10.*"  # on a machine with an NVIDIA GPU'),
        ("nvinfer_11.dll", 13, 'pip install "tensorrt==11.*"  # on a machine with an NVIDIA GPU'),
        ("libcuda.so.1", 13, "install NVIDIA's driver, or run on a machine with an NVIDIA GPU"),
        ("libz.so.1", 13, "install the package of your system that has libz.so.1"),
    ],
)
def test_a_missing_library_has_its_package(library, cuda, line):
    assert install_line(library, cuda) == line


def test_libraries_that_are_absent_are_told_from_those_that_lack_another():
    no_file = "cannot open shared object file: No such file or directory"
    answer = Answer({
        "libcublasLt.so.13": {"path": "/opt/libcublasLt.so.13"},
        "libcublasLt.so.12": {"fault": f"libcublasLt.so.12: {no_file}"},
        "libcudnn.so.9": {"fault": f"libcublas.so.13: {no_file}"},
        "libnvinfer.so.11": {"fault": "/opt/libnvinfer.so.11: file too short"},
    })  # fmt: skip
    found = [
        (each.state, each.detail, each.fix) for each in look_at_libraries(answer, {"torch": 13, "onnxruntime-gpu": 12})
    ]
    assert found[0] == ("ok", "loads from /opt/libcublasLt.so.13", "")
    assert found[1] == ("missing", "not here", "pip install nvidia-cublas-cu12")
    assert found[2] == ("broken", "needs libcublas.so.13, which is not here", "pip install nvidia-cublas")
    assert found[3][:2] == ("broken", "/opt/libnvinfer.so.11: file too short")


def test_pytorch_that_cannot_use_the_gpu_is_broken_and_says_why():
    package = Finding("torch", "ok", "2.14.1")
    imported = {"version": "2.14.1", "cuda": "13.0"}
    on_gpu = {"computes": False, "why": "The NVIDIA driver on your system is too old"}
    found = look_at_torch(package, Answer({"import": imported, "gpu": on_gpu}), H100)
    assert found.state == "broken"
    assert found.detail == f"2.14.1, for CUDA 13.0, cannot use {H100}: The NVIDIA driver on your system is too old"
    assert look_at_torch(package, Answer({"import": imported, "gpu": on_gpu}), None).state == "ok"
    assert look_at_torch(package, Answer({"import": imported, "gpu": {"computes": True}}), H100).state == "ok"


def test_pycuda_without_the_drivers_library_wants_the_driver():
    fault = "libcuda.so.1: cannot open shared object file: No such file or directory"
    found = look_at_pycuda(Finding("pycuda", "ok", "2026.1"), Answer({"import": {"fault": fault}}))
    assert (found.state, found.fix) == ("broken", machine.INSTALL_DRIVER)
    assert found.detail == f"2026.1 cannot be imported: {fault}"


# The machine


def test_cores_are_those_that_this_process_may_use(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("model name\t: Model T\nflags\t\t: avx2 avx512_vnni amx_int8\n")
    found = by_subject(look_at_cpu())
    assert found["cpu"].detail.startswith(f"Model T, {host.usable_cores()} of {os.cpu_count()} cores usable")
    assert found["int8 on the cpu"].detail == f"avx512_vnni, amx_int8, {host.usable_cores()} cores"
    (tmp_path / "cpuinfo").write_text("flags\t\t: avx2\n")
    assert by_subject(look_at_cpu())["int8 on the cpu"].state == "missing"


def test_the_store_tells_its_size_its_mode_and_the_free_space(tmp_path):
    store = tmp_path / "engines"
    assert by_subject(look_at_store(store))["store"].detail == f"{store}, made by the first build"
    store.mkdir(mode=0o700)
    (store / "a").write_bytes(bytes(1_500_000))
    (store / "b").write_bytes(bytes(500_000))
    found = by_subject(look_at_store(store))
    assert found["store"].detail == f"{store}, 2.0 MB in 2 files, mode 0700"
    assert found["disk"].detail.endswith("GB free")
    store.chmod(0o777)
    assert "mode 0777, others may write until the next build" in by_subject(look_at_store(store))["store"].detail


def test_a_store_that_cannot_be_used_is_a_finding(tmp_path):
    (tmp_path / "engines").write_text("")
    found = by_subject(look_at_store(tmp_path / "engines"))
    assert (found["store"].state, found["store"].fix[:20]) == ("broken", "choose another store")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_store_that_cannot_be_written_is_decisive_for_every_backend():
    found = by_subject(look_at_store(Path("/proc/deploykit")))
    assert found["store"].state == "broken"
    assert "cannot write to /proc" in found["store"].detail
    assert "disk" not in found
    decisive = verdict("torch", [*found.values(), Finding("gpu", "missing", "none")], None)
    assert (decisive.state, decisive.fix) == ("broken", found["store"].fix)


def test_little_free_space_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "LEAST_FREE", 1e18)
    assert by_subject(look_at_store(tmp_path))["disk"].state == "broken"


# `--for`, in processes that find a driver


def test_an_h100_needs_full_tensorrt(driver, tmp_path):
    driver(target=90)
    done = doctor("--for", "trt-rtx", store=tmp_path)
    assert done.returncode == 4
    gpu = next(line for line in done.stdout.splitlines() if " gpu " in line)
    assert "2; rows run on the first: NVIDIA H100 80GB HBM3, sm_90, NVIDIA L4, sm_89" in gpu
    (line,) = done.stderr.splitlines()
    assert "trt-rtx cannot work here: tensorrt-rtx targets: TensorRT-RTX does not compile for NVIDIA H100" in line
    assert line.endswith("pip install tensorrt pycuda  # then --backends trt".replace("  ", " "))


@pytest.mark.parametrize(
    ("on_start", "said"),
    [("return *(volatile int *)8;", "killed by SIGSEGV"), ("sleep(60); return 0;", "no answer within 2 s")],
    ids=["crash", "hang"],
)
def test_a_driver_that_takes_its_process_down_is_decisive(driver, on_start, said):
    driver(on_start=on_start)
    answer = ask({"gpus": ("gpus",)}, seconds=2 if "sleep" in on_start else 60)["gpus"]
    found = by_subject(look_at_gpus(answer, {}))
    assert said in found["driver"].detail
    decisive = verdict("ort", [*found.values()], first_gpu(answer))
    assert (decisive.state, decisive.detail) == ("broken", "gpu: the driver does not answer")


def test_a_driver_that_is_too_old_for_a_package_is_named(driver):
    driver(cuda=12040)
    answer = ask({"gpus": ("gpus",)})["gpus"]
    assert first_gpu(answer) == H100
    found = by_subject(look_at_gpus(answer, {"torch": 12, "tensorrt": 13}))
    assert found["driver"].state == "broken"
    assert found["driver"].detail.endswith("runs CUDA up to 12.4, and tensorrt need CUDA 13")
    assert found["driver"].fix == "install NVIDIA's driver 580 or newer"
    assert by_subject(look_at_gpus(answer, {"torch": 12}))["driver"].state == "ok"


def test_on_a_gpu_trt_is_tensorrt_and_pycuda():
    gpu, rtx = Finding("gpu", "ok", str(H100)), Finding("tensorrt-rtx", "ok", "1.7.1")
    missing = Finding("tensorrt", "missing", "not installed", "pip install tensorrt")
    assert verdict("trt", [gpu, rtx, missing], H100).fix == "pip install tensorrt"
    assert verdict("trt", [gpu, rtx, missing], None).state == "ok"
    there = Finding("tensorrt", "ok", "11.4")
    uncompiled = Finding("pycuda", "missing", "not installed; it can be compiled here", "pip install pycuda")
    assert verdict("trt", [gpu, rtx, there, uncompiled], H100).fix == "pip install pycuda"
    assert verdict("trt", [gpu, rtx, there], H100).detail == f"compiles engines and runs them on {H100}"


def test_a_backend_of_another_package_that_fails_is_named_with_its_package(install, tmp_path):
    (tmp_path / "slow.py").write_text("import os; os.abort()")
    install("deploykit.backends", {"slow": "slow:Slow"}, tmp_path)
    answer = ask({"plugins": ("plugins", "slow")})["plugins"]
    found = verdict("slow", [Finding("gpu", "missing", "none")], None, answer.steps["slow"])
    assert (found.state, found.fix) == ("broken", "pip install --force-reinstall plugged")
    assert found.detail == "its package fails: its process was killed by SIGABRT"


@without_gpu
def test_a_compiler_that_cannot_be_imported_is_an_exit_code_and_one_line(module, tmp_path):
    module("tensorrt_rtx", "raise ImportError('libtensorrt_rtx.so.1: cannot open shared object file: No such file')")
    done = doctor("--for", "trt", "--json", store=tmp_path)
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "trt cannot work here: there is no GPU, and TensorRT-RTX cannot compile without one: " in line
    assert "libtensorrt_rtx.so.1: cannot open" in line
    assert line.endswith("; pip install --force-reinstall tensorrt-rtx")
    last = json.loads(done.stdout)["findings"][-1]
    assert (last["subject"], last["state"], last["backends"]) == ("backend trt", "broken", ["trt"])


@without_gpu
@pytest.mark.parametrize("name", ["ort", "trt"])
def test_a_backend_that_can_work_exits_with_0(tmp_path, name):
    done = doctor("--for", name, store=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"ok       backend {name}")
    assert ("there is no GPU to run them on" in last) == (name == "trt")
