"""The machine: processor, driver, GPUs, and the store with the disk under it."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from deploykit.backends.device import INSTALL_DRIVER, LIBRARY
from deploykit.doctor.finding import Finding
from deploykit.doctor.processes import Answer
from deploykit.errors import DeploykitError
from deploykit.host import cpu_facts, cpu_flags, usable_cores
from deploykit.store import Store
from deploykit.store.ownership import CHOOSE_ANOTHER

DRIVER_RELEASE = Path("/sys/module/nvidia/version")
OLDEST_DRIVER = {12: 525, 13: 580}  # by CUDA release, from NVIDIA's table of compatible drivers
LEAST_FREE = 2e9  # bytes: VGG's graphs and engines in three precisions take about that much
VNNI = ("avx512_vnni", "avx_vnni")
AMX = ("amx_tile", "amx_int8", "amx_bf16")


def look_at_cpu() -> Iterator[Finding]:
    name = cpu_facts().get("model name", "processor of unknown name")
    limits = [f"{each}={os.environ[each]}" for each in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if os.environ.get(each)]
    cores = f"{usable_cores()} of {os.cpu_count()} cores usable"
    yield Finding("cpu", "ok", ", ".join([name, cores, *limits]))
    flags = cpu_flags()
    if not flags:
        return
    if not flags & {*VNNI}:
        yield Finding(
            "int8 on the cpu",
            "missing",
            "no VNNI: ort int8 gets weights of seven bits, since eight would saturate; less accurate and slower",
            "for the INT8 figures of a CPU with VNNI, measure on one",
            ("ort",),
        )
        return
    found = ", ".join(each for each in (*VNNI, *AMX) if each in flags)
    yield Finding("int8 on the cpu", "ok", f"{found}, {usable_cores()} cores", backends=("ort",))


def look_at_gpus(answer: Answer, majors: Mapping[str, int]) -> Iterator[Finding]:
    """The driver and the GPUs; `majors` is the CUDA release that each package is for."""
    found = answer.steps.get("gpus", {})
    if fault := answer.first_fault():
        fix = "restart the machine, or install NVIDIA's driver anew; CUDA_VISIBLE_DEVICES= hides the GPU until then"
        yield Finding("driver", "broken", f"asking {LIBRARY} for its GPUs failed: {fault}", fix)
        yield Finding("gpu", "broken", "the driver does not answer", fix)
    elif gpus := found.get("gpus"):
        yield _driver(str(found["cuda"]), majors)
        named = ", ".join(f"{gpu['name']}, {gpu['target']}" for gpu in gpus)
        yield Finding("gpu", "ok", named if len(gpus) == 1 else f"{len(gpus)}; rows run on the first: {named}")
    else:
        release = _driver_release()
        detail = f"{release}, without a usable GPU" if release else f"{LIBRARY} is not here, or finds no GPU"
        yield Finding("driver", "missing", detail, INSTALL_DRIVER)
        yield Finding("gpu", "missing", str(found["what"]), str(found["fix"]))


def _driver(cuda: str, majors: Mapping[str, int]) -> Finding:
    release = _driver_release() or "of unknown release"
    newer = {name: major for name, major in majors.items() if major > int(cuda.partition(".")[0])}
    if not newer:
        return Finding("driver", "ok", f"{release}, runs CUDA up to {cuda}")
    needed = max(newer.values())
    detail = f"{release} runs CUDA up to {cuda}, and {', '.join(newer)} need CUDA {needed}"
    oldest = OLDEST_DRIVER.get(needed)
    return Finding(
        "driver", "broken", detail, f"install NVIDIA's driver {oldest} or newer" if oldest else INSTALL_DRIVER
    )


def _driver_release() -> str:
    try:
        return DRIVER_RELEASE.read_text().strip()
    except OSError:
        return ""


def look_at_demo_images() -> Finding:
    from deploykit.data.dataset import demo_images

    try:
        found = demo_images()
    except DeploykitError as error:
        return Finding("demo images", "missing", error.message, error.hint)
    return Finding("demo images", "ok", f"{len(found)} images for calibration and parity")


def look_at_store(path: Path | None) -> Iterator[Finding]:
    """The store, and the free space where it lies or will lie."""
    try:
        store = Store.open(path)
    except DeploykitError as error:
        yield Finding("store", "broken", error.message, error.hint)
        return
    nearest = next(folder for folder in (store.root, *store.root.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        detail = f"{store.root}: cannot write to {nearest} ({error.strerror})"
        yield Finding("store", "broken", detail, CHOOSE_ANOTHER)
        return
    yield _contents(store.root)
    free = shutil.disk_usage(nearest).free
    if free < LEAST_FREE:
        detail = f"{_gigabytes(free)} free at {nearest}; a large network takes more"
        yield Finding("disk", "broken", detail, f"free space, or {CHOOSE_ANOTHER}")
    else:
        yield Finding("disk", "ok", f"{_gigabytes(free)} free")


def _contents(root: Path) -> Finding:
    if not root.exists():
        return Finding("store", "ok", f"{root}, made by the first build")
    sizes = list(_sizes(root))
    mode = stat.S_IMODE(root.stat().st_mode)
    others = ", others may write until the next build" if mode & 0o022 else ""
    files = f"{_gigabytes(sum(sizes))} in {len(sizes)} files" if sizes else "empty"
    return Finding("store", "ok", f"{root}, {files}, mode {mode:04o}{others}")


def _sizes(root: Path) -> Iterator[int]:
    """Bytes of every file; a build may remove some meanwhile."""
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                yield Path(folder, name).lstat().st_size


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
