"""deploykit's INT8 rows on this CPU beside raw OpenVINO with NNCF's INT8, in the same rounds.

    pip install -e examples/plugins/deploykit-openvino nncf
    python benchmarks/openvino_nncf.py [--networks resnet50,inception_v3,mobilenet] [--seconds 30]

Both quantize the same float graph on the same images, and run one image on as many threads. Each row is a process of
its own. The speed ratio is time of raw OpenVINO over time of the row, paired by rounds: above 1 is faster. SQNR is
against the network in float64 on test images; where a CPU lacks VNNI it includes what integer kernels saturate.
Weights are seeded.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from raw_openvino import RawOpenVino, compiled, quantized_by_nncf

from deploykit.bench import BenchSettings, RowJob, RowSamples, fingerprint, latency, ratios_to_first, run_rows
from deploykit.data.inputs import calibration_inputs, inputs_for
from deploykit.host import installed_version, saturates_u8s8
from deploykit.parity import distance
from deploykit.spec import BatchRange, BuildSpec, Calibration, Feed, ModelSpec, Precision, Repair
from deploykit.store import Store
from deploykit.workflow.export import Exported, export
from deploykit.workflow.judge import reference_outputs
from deploykit.workflow.rows import BuiltRow, asked_rows, build_rows
from deploykit.workflow.workspace import Workspace

NETWORKS = "resnet50,inception_v3,mobilenet"
RAW = "openvino + nncf"
IMAGES, ROTATED = 8, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--seconds", type=float, default=30.0, help="time limit of the timed rounds of a network")
    parser.add_argument("--calibration-method", default=Calibration().method)
    parser.add_argument("--int8-repair", default="bias", help="nncf.quantize corrects biases by default, too")
    parser.add_argument("--store", type=Path, help="default: one that is removed afterwards")
    options = parser.parse_args()
    settings = BenchSettings(max_seconds=options.seconds)
    machine = fingerprint(threads=settings.worker_threads, seed=0, tf32=False)
    dots = "no VNNI: integer kernels saturate, INT8 speed says little" if saturates_u8s8() else "VNNI"
    print(f"{machine.cpu.model}, {machine.cpu.cores} cores ({', '.join(machine.cpu.flags)}; {dots})")
    versions = ", ".join(f"{name} {installed_version(name)}" for name in ("openvino", "nncf", "onnxruntime-gpu"))
    print(f"{versions}; load {machine.load_average} at the start")
    print(f"deploykit: --calibration-method {options.calibration_method} --int8-repair {options.int8_repair}; batch 1")
    print()
    print("| network | row | ms | speed / raw [95 % CI] | SQNR dB |")
    print("|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Store.open(options.store or Path(folder, "store")))
        for name in options.networks.split(","):
            spec = BuildSpec(
                ModelSpec(name),
                precision=Precision.INT8,
                batch=BatchRange(1, 1, 1),
                calibration=Calibration(method=options.calibration_method),
                repair=Repair.parse(options.int8_repair),
            )
            for line in compare(workspace, spec, settings, Path(folder)):
                print(line, flush=True)


def compare(workspace: Workspace, spec: BuildSpec, settings: BenchSettings, folder: Path) -> list[str]:
    exported = export(workspace, spec.model)
    shown = list(inputs_for(exported, "test", count=IMAGES, batch=1, data=None).feeds())
    feeds = tuple(shown[:ROTATED])
    quantized = quantized_by_nncf(
        exported.path, list(calibration_inputs(exported, spec).feeds()), folder / f"{spec.model.label}.xml"
    )
    rows = build_rows(workspace, asked_rows(spec, ("ort", "openvino"), (Precision.INT8,), strict=False))
    jobs = [RowJob(RAW, RawOpenVino(quantized, feeds))]
    for row in rows:
        if not isinstance(row, BuiltRow):
            raise SystemExit(f"{row.asked.label}: {row.reason}")
        jobs.append(RowJob(f"deploykit {row.asked.name}", row.built.engine, feeds, tuple(shown)))
    found = run_rows(jobs, settings).rows
    (output,) = (each.name for each in exported.outputs)
    exact = reference_outputs(exported, shown).exact[output]
    raw = answers_of(quantized, shown, settings.worker_threads)
    outputs = [raw, *(np.concatenate([feed[output] for feed in row.outputs]) for row in found[1:])]
    return lines(exported, found, [distance(each, exact).sqnr_db for each in outputs])


def answers_of(path: Path, feeds: Sequence[Feed], threads: int) -> np.ndarray:
    (name,) = feeds[0]
    request = compiled(path, feeds[0][name].shape, threads).create_infer_request()
    answers = []
    for feed in feeds:
        request.infer({name: feed[name]})
        answers.append(request.get_output_tensor(0).data.copy())
    return np.concatenate(answers)


def lines(exported: Exported, rows: Sequence[RowSamples], sqnr: Sequence[float]) -> list[str]:
    found = []
    for row, ratio, decibels in zip(rows, ratios_to_first([row.blocks for row in rows], seed=0), sqnr, strict=True):
        timed = latency(row.blocks, seed=0)
        if row.failure is not None or timed is None or ratio is None:
            found.append(f"| {exported.model.label} | {row.label} | failed: {row.failure} | | |")
            continue
        interval = ratio.ci95
        said = f" [{1 / interval.high:.3f}, {1 / interval.low:.3f}]" if interval else ""
        speed = f"{1 / ratio.value:.3f}{said}"
        found.append(f"| {exported.model.label} | {row.label} | {timed.median:.2f} | {speed} | {decibels:.1f} |")
    return found


if __name__ == "__main__":
    main()
