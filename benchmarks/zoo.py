"""What the whole zoo costs: every network exported, optimized, typed as FP16 and compiled, in one process.

    python benchmarks/zoo.py [--networks 'resnet*']

Seconds and peak memory (the process's maximum resident set) belong to this machine. Making the seeded weights, which
stand in for a checkpoint, is listed apart. Artifacts of a network are deleted before the next.
"""

import argparse
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path

from deploykit.backends import get_backend
from deploykit.host import peak_memory_bytes
from deploykit.spec import BuildSpec, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.engine import build
from deploykit.workflow.workspace import Workspace
from deploykit.zoo.registry import cards

SEEDING = "seed weights and estimate BatchNorm statistics"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="*", help="names, with wildcards")
    wanted = parser.parse_args().networks
    names = [card.name for card in cards().values() if not card.is_miniature and fnmatch(card.name, wanted)]
    began, seeding, working = time.perf_counter(), 0.0, 0.0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace(Store.open(Path(folder)))
            built = build(workspace, BuildSpec(ModelSpec(name), Precision.FP16), get_backend("trt-rtx"))
        seeding += workspace.seconds.pop(SEEDING)
        working += sum(workspace.seconds.values())
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in workspace.seconds.items())
        print(f"{name}: {built.engine.plan.kernels} kernels; {stages} s; peak so far {peak_gb():.2f} GB", flush=True)
    print(f"{len(names)} networks: export, optimize, type, compile {working:.0f} s; seeded weights {seeding:.0f} s")
    print(f"with reading and writing artifacts {time.perf_counter() - began:.0f} s; peak memory {peak_gb():.2f} GB")


def peak_gb() -> float:
    return (peak_memory_bytes() or 0) / 1e9


if __name__ == "__main__":
    main()
