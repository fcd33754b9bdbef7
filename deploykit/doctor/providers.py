"""Which of ONNX Runtime's providers compute, and which one `ort` needs on this machine."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from deploykit.backends.device import INSTALL_DRIVER
from deploykit.doctor.finding import Finding
from deploykit.doctor.libraries import FoundGpu, install_line, missing_library
from deploykit.doctor.packages import ORT
from deploykit.doctor.processes import Answer, shortened
from deploykit.host import installed_version

PREFIX = re.compile(r"^\S+ \S+ \[[A-Z]:[^]]*\] ")  # time, severity and place in ONNX Runtime's sources
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
REINSTALL = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"


def wanted_provider(gpu: FoundGpu | None) -> str:
    """That which `ort` uses: CUDA where there is a GPU and the package that has the provider."""
    return CUDA if gpu and installed_version("onnxruntime-gpu") else CPU


def look_at_providers(answer: Answer, gpu: FoundGpu | None, majors: Mapping[str, int]) -> Iterator[Finding]:
    """Each provider that ONNX Runtime advertises, and the wanted one where it does not."""
    wanted = wanted_provider(gpu)
    if answer.fault:
        yield Finding(f"provider {wanted}", "broken", f"onnxruntime cannot be imported: {answer.fault}", REINSTALL, ORT)
        return
    for name, found in answer.steps.items():
        yield _provider(name, found, gpu, majors)
    if wanted not in answer.steps:
        detail = f"onnxruntime-gpu is installed, but what is imported has only {', '.join(answer.steps)}"
        yield Finding(f"provider {wanted}", "broken", detail, REINSTALL, ORT)


def _provider(name: str, found: Mapping[str, Any], gpu: FoundGpu | None, majors: Mapping[str, int]) -> Finding:
    subject = f"provider {name}"
    if "fault" in found:
        return Finding(subject, "broken", f"a session failed: {found['fault']}", REINSTALL, ORT)
    if found["ran"] == [name]:
        return Finding(subject, "ok", "ran a convolution", backends=ORT)
    others = " and ".join(each for each in found["ran"] if each != name)
    if name in found["loaded"]:
        return Finding(subject, "ok", f"loads, and left a convolution to {others}", backends=ORT)
    library, said = missing_library(found["printed"]), _complaint(found["printed"])
    what = f"{library} is not here" if library else said
    detail = f"does not load, {others} ran in its place" + (f": {what}" if what else "")
    if library:
        fix = install_line(library, majors.get("onnxruntime-gpu", 0))
    else:
        fix = REINSTALL if gpu or name == CPU else INSTALL_DRIVER
    return Finding(subject, "broken" if gpu else "missing", detail, fix, ORT)


def _complaint(printed: str) -> str:
    """The line that says what failed, among those that ONNX Runtime prints around it."""
    lines = [PREFIX.sub("", line).strip(" *") for line in printed.splitlines() if line.strip(" *")]
    errors = [line for line in lines if "rror" in line or "ailed" in line or "ailure" in line]
    return shortened(next(iter(errors or lines), ""))
