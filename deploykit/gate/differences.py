"""What is not alike about two results: the machines, and the conditions under which their figures came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deploykit.bench.environment import Machine
from deploykit.results.accuracy import AccuracyReport
from deploykit.results.build import BuildResult
from deploykit.results.comparison import Report
from deploykit.results.gate import Difference
from deploykit.results.saved import Results

TIMED_CONDITIONS = ("inputs", "copies", "batch")  # others may change without any effect on times
CONDITIONS = ("weights", "weights_digest", "preprocessing", "calibration", "fusions", "data", "images_digest")
PLAN_FACTS = ("weights", "weights_digest", "targets", "tf32")
DIGITS = 12  # of a digest
ABSENT = "none"


def differences(base: Results, new: Results) -> Iterator[Difference]:
    """Every fact that differs; those `of_times` first."""
    if isinstance(base, Report | AccuracyReport) and isinstance(new, Report | AccuracyReport):
        yield from _changed(machine_facts(base.environment), machine_facts(new.environment), of_times=True)
        before, after = base.conditions, new.conditions
        yield from _changed(_facts(before, TIMED_CONDITIONS), _facts(after, TIMED_CONDITIONS), of_times=True)
        yield from _changed(_facts(before, CONDITIONS), _facts(after, CONDITIONS), of_times=False)
    else:
        yield from _changed(_plan_facts(base), _plan_facts(new), of_times=False)


def machine_facts(machine: Machine) -> dict[str, str]:
    """What has to be the same before two times may be compared, in words."""
    cpu, gpu = machine.cpu, machine.gpu
    return {
        "CPU": cpu.model,
        "CPU cores": str(cpu.cores),
        "instruction set": ", ".join(cpu.flags) or ABSENT,
        "CPU governor": cpu.governor or ABSENT,
        "GPU": f"{gpu.count} x {gpu.name}, CUDA {gpu.driver}" if gpu else ABSENT,
        "threads": str(machine.threads),
        "TF32": "on" if machine.tf32 else "off",
        "Python": machine.python,
        **machine.libraries,
    }


def _facts(holder: object, names: tuple[str, ...]) -> dict[str, str]:
    found = {name: getattr(holder, name, "") for name in names}
    return {name.replace("_", " "): _said(name, value) for name, value in found.items()}


def _said(name: str, value: Any) -> str:
    if name.endswith("digest"):
        return str(value)[:DIGITS] if value else ""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value) if value is not None else ""


def _plan_facts(result: Results) -> dict[str, str]:
    compiler = result.flavour if isinstance(result, BuildResult) else getattr(result, "compiler", "")
    return {"compiler": compiler, **_facts(result, PLAN_FACTS)}


def _changed(base: Mapping[str, str], new: Mapping[str, str], *, of_times: bool) -> Iterator[Difference]:
    for what in dict.fromkeys((*base, *new)):
        before, after = base.get(what) or ABSENT, new.get(what) or ABSENT
        if before != after:
            yield Difference(what, before, after, of_times)
