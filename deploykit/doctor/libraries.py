"""Which libraries load, as the processes of `processes.py` found it: PyTorch, TensorRT, pycuda, CUDA's and cuDNN's."""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from deploykit.backends.device import INSTALL_DRIVER
from deploykit.doctor.finding import Finding
from deploykit.doctor.packages import ORT, TORCH, TRT
from deploykit.doctor.processes import Answer
from deploykit.host import installed_version
from deploykit.plan.gpus import FULL_TENSORRT_ONLY, find_gpu_spec, gpu_names

CUDNN = 9  # the release of cuDNN that packages for CUDA 12 and 13 are linked to
REINSTALL = "pip install --force-reinstall"
PIP_PACKAGES = {  # by how the library's name begins
    "libcublas": "nvidia-cublas",
    "libcudart": "nvidia-cuda-runtime",
    "libcufft": "nvidia-cufft",
    "libcurand": "nvidia-curand",
    "libnvrtc": "nvidia-cuda-nvrtc",
}


@dataclass(frozen=True, slots=True)
class FoundGpu:
    """The first GPU: its name and its compute capability, `sm_90`."""

    name: str
    target: str

    def __str__(self) -> str:
        return f"{self.name} ({self.target})"


def first_gpu(answer: Answer) -> FoundGpu | None:
    gpus = answer.steps.get("gpus", {}).get("gpus")
    return FoundGpu(gpus[0]["name"], gpus[0]["target"]) if gpus else None


def look_at_torch(package: Finding, answer: Answer, gpu: FoundGpu | None) -> Finding:
    imported, on_gpu = answer.steps.get("import", {}), answer.steps.get("gpu", {})
    if fault := answer.fault or imported.get("fault"):
        return _not_imported(package, fault)
    detail = f"{imported['version']}, " + (f"for CUDA {imported['cuda']}" if imported["cuda"] else "without CUDA")
    if gpu is None:
        return replace(package, detail=detail)
    if on_gpu.get("computes"):
        return replace(package, detail=f"{detail}, computes on {gpu}")
    why = on_gpu.get("fault") or on_gpu.get("why") or "it finds no GPU"
    fix = f"{REINSTALL} torch  # or hide the GPU: CUDA_VISIBLE_DEVICES="
    return replace(package, state="broken", detail=f"{detail}, cannot use {gpu}: {why}", fix=fix)


def look_at_tensorrt(package: Finding, answer: Answer, *, builds_here: bool) -> Finding:
    """TensorRT or TensorRT-RTX. Full TensorRT makes no builder without a GPU: there `builds_here` is False."""
    if fault := answer.fault or answer.steps.get("import", {}).get("fault"):
        return _not_imported(package, fault)
    if builds_here and (fault := answer.steps.get("builder", {}).get("fault")):
        detail = f"{package.detail} makes no builder: {fault}"
        return replace(package, state="broken", detail=detail, fix=f"{REINSTALL} {package.subject}")
    return package


def look_at_targets(answer: Answer, gpu: FoundGpu | None) -> Iterator[Finding]:
    """What TensorRT-RTX compiles for, and whether this machine's GPU is among that."""
    subject = "tensorrt-rtx targets"
    targets = [name.replace("SM", "sm_") for name in answer.steps.get("import", {}).get("targets", ())]
    if gpu and targets and gpu.target not in targets:
        detail = f"TensorRT-RTX does not compile for {gpu}, which needs full TensorRT"
        yield Finding(subject, "broken", detail, "pip install tensorrt pycuda  # then --backends trt", ("trt-rtx",))
    elif targets:
        others = [name for name in gpu_names() if find_gpu_spec(name).target in FULL_TENSORRT_ONLY]
        detail = f"{', '.join(targets)}; {', '.join(others)} need full TensorRT"
        yield Finding(subject, "ok", detail, backends=("trt-rtx",))


def look_at_pycuda(package: Finding, answer: Answer) -> Finding:
    fault = answer.first_fault()
    if not fault:
        return package
    found = _not_imported(package, fault)
    if missing_library(fault).startswith("libcuda.so"):
        return replace(found, fix=INSTALL_DRIVER)
    return replace(found, fix=f"{REINSTALL} --no-cache-dir pycuda")  # compiled anew


def _not_imported(package: Finding, fault: str) -> Finding:
    detail, fix = f"{package.detail} cannot be imported: {fault}", f"{REINSTALL} {package.subject}"
    return replace(package, state="broken", detail=detail, fix=fix)


def library_names(majors: Mapping[str, int]) -> list[str]:
    """The shared libraries of CUDA, cuDNN and TensorRT that the installed packages are linked to."""
    if not majors or sys.platform == "darwin":
        return []
    cuda, tensorrt = sorted({*majors.values()}), (installed_version("tensorrt") or "").partition(".")[0]
    if sys.platform == "win32":
        own = [f"nvinfer_{tensorrt}.dll"] if tensorrt else []
        return [*(f"cublasLt64_{major}.dll" for major in cuda), f"cudnn64_{CUDNN}.dll", *own]
    own = [f"libnvinfer.so.{tensorrt}"] if tensorrt else []
    return [*(f"libcublasLt.so.{major}" for major in cuda), f"libcudnn.so.{CUDNN}", *own]


def look_at_libraries(answer: Answer, majors: Mapping[str, int]) -> Iterator[Finding]:
    for name, found in answer.steps.items():
        backends = TRT if "nvinfer" in name else (*ORT, *TORCH)
        if "path" in found:
            yield Finding(f"library {name}", "ok", f"loads from {found['path']}", backends=backends)
            continue
        major = next((int(digits) for digits in re.findall(r"cublasLt\D+(\d\d)", name)), max(majors.values()))
        lacking = missing_library(found["fault"])
        fix = install_line(lacking or name, major)
        if lacking == name:
            yield Finding(f"library {name}", "missing", "not here", fix, backends)
        else:
            detail = f"needs {lacking}, which is not here" if lacking else found["fault"]
            yield Finding(f"library {name}", "broken", detail, fix, backends)


def missing_library(text: str) -> str:
    """The shared library that a loader's message says it could not find; "" where it says something else."""
    found = re.search(r"([\w.+-]+\.so[\w.]*): cannot open shared object file", text)
    found = found or re.search(r"Could not find module '([^']+)'", text)  # Windows
    return found[1] if found else ""


def install_line(library: str, cuda: int) -> str:
    """What brings a shared library, for this release of CUDA."""
    if library.startswith("libcuda.so"):
        return INSTALL_DRIVER
    if "cudnn" in library:
        return f"pip install nvidia-cudnn-cu{cuda}"
    if found := re.match(r"(?:lib)?nv(?:infer|onnxparser)\w*?(?:\.so\.|_)(\d+)", library):
        return f'pip install "tensorrt=={found[1]}.*"  # on a machine with an NVIDIA GPU'
    for begins, package in PIP_PACKAGES.items():
        if library.startswith((begins, begins.removeprefix("lib"))):
            return f"pip install {package}" + ("" if cuda >= 13 else f"-cu{cuda}")
    return f"install the package of your system that has {library}"
