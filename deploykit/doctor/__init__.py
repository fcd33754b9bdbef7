"""What this machine has for deploykit: one finding a line, each with its fix.

No framework is imported here: what loads native libraries is asked of processes of its own (`processes.py`), which may
crash or hang, and what that was becomes a finding. The others read package metadata and files.
"""

from collections.abc import Mapping
from pathlib import Path

from deploykit.backends import BACKENDS, backend_names, get_backend
from deploykit.doctor.building_pycuda import look_at_requirements
from deploykit.doctor.finding import Finding, State
from deploykit.doctor.libraries import (
    FoundGpu,
    first_gpu,
    library_names,
    look_at_libraries,
    look_at_pycuda,
    look_at_targets,
    look_at_tensorrt,
    look_at_torch,
)
from deploykit.doctor.machine import look_at_cpu, look_at_demo_images, look_at_gpus, look_at_store
from deploykit.doctor.packages import (
    LIBRARIES,
    cuda_majors,
    look_at_cuda,
    look_at_packages,
    look_for_duplicates,
)
from deploykit.doctor.processes import SECONDS, Answer, Question, ask
from deploykit.doctor.providers import look_at_providers
from deploykit.doctor.verdict import verdict

__all__ = ["Finding", "State", "examine"]


def examine(store: Path | None, backend: str | None = None, *, seconds: float = SECONDS) -> tuple[Finding, ...]:
    """Everything, or what matters to `backend`, whose own finding is then the last.

    `seconds` is the time limit of each process that is asked. Raises UnknownName.
    """
    names = backend_names()
    if backend is not None and backend not in names:
        get_backend(backend)
    packages = {finding.subject: finding for finding in look_at_packages(optional=backend is None)}
    majors = cuda_majors()
    answers = ask(_questions(packages, majors, names, backend), seconds=seconds)
    gpu = first_gpu(answers["gpus"])
    findings = [
        *(_looked_into(each, answers, gpu) for each in packages.values()),
        *look_for_duplicates(),
        *look_at_cpu(),
        *look_at_gpus(answers["gpus"], majors),
        *look_at_cuda(majors),
        *(look_at_libraries(answers["libraries"], majors) if "libraries" in answers else ()),
        *(look_at_providers(answers["onnxruntime"], gpu, majors) if "onnxruntime" in answers else ()),
        *(look_at_targets(answers["tensorrt-rtx"], gpu) if "tensorrt-rtx" in answers else ()),
        look_at_demo_images(),
        *look_at_store(store),
    ]
    plugins = answers["plugins"].steps if "plugins" in answers else {}
    wanted = names if backend is None else (backend,)
    verdicts = [verdict(name, findings, gpu, plugins.get(name)) for name in wanted]
    return (*(each for each in findings if backend is None or each.matters_to(backend)), *verdicts)


def _questions(
    packages: Mapping[str, Finding], majors: Mapping[str, int], names: tuple[str, ...], backend: str | None
) -> dict[str, Question]:
    """What has to be loaded to be sure of, as far as it is installed and matters to `backend`."""
    of_library: dict[str, Question] = {
        "torch": ("torch",),
        "onnxruntime": ("providers",),
        "tensorrt-rtx": ("tensorrt", "tensorrt_rtx"),
        "tensorrt": ("tensorrt", "tensorrt"),
        "pycuda": ("pycuda",),
    }
    asked: dict[str, Question] = {"gpus": ("gpus",)} | {
        subject: question
        for subject, question in of_library.items()
        if packages[subject].state == "ok" and (backend is None or backend in LIBRARIES[subject][1])
    }
    if libraries := library_names(majors):
        asked["libraries"] = ("libraries", *libraries)
    if plugins := [name for name in names if name not in BACKENDS and backend in (None, name)]:
        asked["plugins"] = ("plugins", *plugins)
    return asked


def _looked_into(package: Finding, answers: Mapping[str, Answer], gpu: FoundGpu | None) -> Finding:
    """The finding on a package with what its process found; that pycuda is missing, with whether it can be built."""
    if package.subject == "pycuda" and package.state == "missing":
        return look_at_requirements(package)
    if package.subject not in answers:
        return package
    answer = answers[package.subject]
    if package.subject == "torch":
        return look_at_torch(package, answer, gpu)
    if package.subject in ("tensorrt", "tensorrt-rtx"):
        return look_at_tensorrt(package, answer, builds_here=package.subject == "tensorrt-rtx" or gpu is not None)
    return look_at_pycuda(package, answer) if package.subject == "pycuda" else package
