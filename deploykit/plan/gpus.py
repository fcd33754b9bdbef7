"""GPUs by name: compute capability, peak rates and memory bandwidth, for bounds on what a plan can take.

The figures stand in `gpus.toml` beside this file with their sources. A user's file of the same form overrides single
figures of a GPU there, or adds one:

    [rtx4090]
    bandwidth_gbs = 960      # memory clocked down

    [my-card]
    compute_capability = "8.9"
    fp32_tflops = 40
    bandwidth_gbs = 500
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from deploykit.errors import UnknownName, UsageError, nearest
from deploykit.io.toml_file import read_toml
from deploykit.spec import Target

FIGURES = ("fp32_tflops", "tf32_tflops", "fp16_tflops", "int8_tops", "bandwidth_gbs")
REQUIRED = ("compute_capability", "fp32_tflops", "bandwidth_gbs")
LARGEST = 1_000_000  # of any figure: a slip of the unit is beyond it, no GPU is
CAPABILITY = re.compile(r"\d{1,2}\.\d")
LOOKS_LIKE_A_TARGET = re.compile(r"(sm.*|compute.*|\d{1,3}|[\d.]*\.[\d.]*)", re.IGNORECASE)
FULL_TENSORRT_ONLY = (Target(8, 7), Target(9, 0), Target(10, 0))  # of the GPUs here, what TensorRT-RTX leaves out
ARCHITECTURES = {  # what people name in place of a GPU: the compute capabilities that it stands for
    "turing": "sm_75 (t4)",
    "ampere": "sm_80 (a100-sxm-80gb, a30) or sm_86 (a10)",
    "ada": "sm_89 (l4, l40s, rtx4090)",
    "lovelace": "sm_89 (l4, l40s, rtx4090)",
    "hopper": "sm_90 (h100-sxm, h100-pcie, h200-sxm)",
    "blackwell": "sm_120 (rtx5090) or sm_100 (b200-sxm)",
    "jetson": "sm_87 (orin-agx-64gb)",
}

Table = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """Dense peak rates (TFLOP/s, TOP/s; None where the GPU has no such unit) and bandwidth (GB/s of 1e9 bytes).

    `approximate` names the figures that were not checked against the vendor's data sheet. `device_name` is what the
    driver calls the GPU, "" where nobody said.
    """

    name: str
    target: Target
    fp32_tflops: float
    tf32_tflops: float | None = None
    fp16_tflops: float | None = None
    int8_tops: float | None = None
    bandwidth_gbs: float
    approximate: tuple[str, ...] = ()
    device_name: str = ""

    def peak(self, dtype: str, *, tf32: bool = False) -> float | None:
        """TFLOP/s or TOP/s of products that read `dtype` (TensorRT's name); None where the table has no figure.

        `tf32` lets Float products round their operands to TF32; a GPU without it computes them in FP32 all the same.
        """
        if dtype == "Float":
            return (self.tf32_tflops if tf32 else None) or self.fp32_tflops
        return {"Half": self.fp16_tflops, "Int8": self.int8_tops}.get(dtype)


def gpu_names(table: Path | None = None) -> tuple[str, ...]:
    """Every GPU that `find_gpu_spec` knows."""
    return tuple(_tables(table))


def find_gpu_spec(name: str, table: Path | None = None) -> Gpu:
    """The GPU `name`, in either case; the figures of the TOML file `table` stand before the built-in ones.

    Raises UnknownName, and UsageError for a `table` that cannot be read or holds anything but such figures.
    """
    found = _tables(table)
    key = name.strip().lower()
    if key not in found:
        raise UnknownName("GPU", name, found, fix=_other_than_a_gpu(key) or _without_a_plan(key, found))
    figures = found[key]
    if missing := [field for field in REQUIRED if field not in figures]:
        raise UsageError(f"{table}: [{key}] lacks {', '.join(missing)}", hint="a new GPU needs at least those")
    return Gpu(
        name=key,
        target=Target.parse(figures["compute_capability"]),
        fp32_tflops=float(figures["fp32_tflops"]),
        bandwidth_gbs=float(figures["bandwidth_gbs"]),
        approximate=tuple(figures.get("approximate", ())),
        device_name=str(figures.get("device_name", "")),
        **{field: float(figures[field]) for field in ("tf32_tflops", "fp16_tflops", "int8_tops") if field in figures},
    )


def gpu_by_device(device_name: str) -> Gpu | None:
    """The GPU of the built-in table that the driver calls so."""
    names = (name for name, figures in _tables(None).items() if figures.get("device_name") == device_name)
    return next(map(find_gpu_spec, names), None)


def gpu_for(text: str, table: Path | None = None) -> tuple[Target, Gpu | None]:
    """What `--target` names: a GPU (`rtx4090`), or a compute capability alone (`sm_89`), which has no roofline.

    Raises UsageError, or UnknownName for a name that neither of the two is.
    """
    if LOOKS_LIKE_A_TARGET.fullmatch(text.strip()):
        return Target.parse(text), None
    gpu = find_gpu_spec(text, table)
    return gpu.target, gpu


def _other_than_a_gpu(key: str) -> str:
    if key in ARCHITECTURES:
        return f"that is an architecture: give {ARCHITECTURES[key]}"
    if key in ("volta", "v100", "pascal", "p100", "p4", "p40", "maxwell", "gtx1080", "gtx1080ti", "k80"):
        return "TensorRT-RTX compiles for Turing (sm_75) and newer: give a compute capability such as sm_89"
    if key in ("cpu", "x86", "arm", "amd", "mps", "metal"):
        return "engines are for NVIDIA GPUs; on the CPU compare with --backends torch,ort"
    if key in ("cuda", "gpu", "nvidia", "native", "local", "auto", "all"):
        return "leave --target out for the GPU that is here, or give a compute capability such as sm_89"
    return ""


def _without_a_plan(key: str, found: Table) -> str:
    """The hint where all that `key` may mean are GPUs that TensorRT-RTX does not compile for."""
    near = nearest(key, found)
    targets = {Target.parse(found[name]["compute_capability"]) for name in near if "compute_capability" in found[name]}
    if len(targets) != 1 or not targets <= set(FULL_TENSORRT_ONLY):
        return ""
    return (
        f"did you mean {' or '.join(near)}? That is {targets.pop()}, which TensorRT-RTX does not compile for: install "
        "deploykit[gpu] on that machine and build there; to see a plan here, use --target sm_89"
    )


def _tables(user: Path | None) -> dict[str, Mapping[str, Any]]:
    """The built-in table, then what the user's file says over it, GPU by GPU and figure by figure."""
    built_in = tomllib.loads(resources.files("deploykit.plan").joinpath("gpus.toml").read_text("utf-8"))
    merged: dict[str, Mapping[str, Any]] = dict(built_in)
    if user is not None:
        for name, figures in _read(user):
            old = merged.get(name, {})
            checked = [figure for figure in old.get("approximate", ()) if figure not in figures]
            merged[name] = {**old, "approximate": checked, **figures}
    return merged


def _read(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = read_toml(path, "GPU table")
    for name, figures in found.items():
        if not isinstance(figures, dict):
            raise UsageError(f"{path}: {name!r} is not a table", hint=f"write [{name}] above the GPU's figures")
        for key, value in figures.items():
            _check(path, name, key, value)
        yield name.lower(), figures


def _check(path: Path, name: str, key: str, value: object) -> None:
    where = f"{path}: [{name}] {key}"
    if key == "compute_capability":
        if not isinstance(value, str) or not CAPABILITY.fullmatch(value):
            raise UsageError(f"{where} is {value!r}", hint='write it as text, such as "8.9"')
    elif key == "device_name":
        if not isinstance(value, str):
            raise UsageError(f"{where} is {value!r}", hint="write it as text, as nvidia-smi -L prints it")
    elif key == "approximate":
        if not isinstance(value, list) or not set(map(str, value)) <= set(FIGURES):
            raise UsageError(f"{where} is {value!r}", hint=f"list names among {', '.join(FIGURES)}")
    elif key not in FIGURES:
        raise UnknownName(
            f"key in {path}, [{name}]:", key, (*FIGURES, "compute_capability", "device_name", "approximate")
        )
    elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
        raise UsageError(f"{where} is {str(value)[:40]!r}", hint=f"give a number above 0, at most {LARGEST}")
