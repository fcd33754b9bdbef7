"""Columns of `bench` beside time and parity: batches, percentiles, roofline, accuracy, and what a row costs once."""

import io
from dataclasses import replace

import pytest
from test_table import CONDITIONS, MACHINE, parity, plan, row, timed

from deploykit.bench import Interval, Latency
from deploykit.bench.peaks import CpuPeaks
from deploykit.parity.accuracy import Share
from deploykit.report.table import render_report
from deploykit.results.comparison import ComparisonEnvironment, Report
from deploykit.results.roofline import RooflineShare
from deploykit.results.row import Row, RowAccuracy

PEAKS = CpuPeaks(threads=2, fp32_gflops=140.2, fp16_gflops=None, int8_gops=None, bandwidth_gbs=21.66)


def shown(*rows, conditions=CONDITIONS, **options):
    out = io.StringIO()
    environment = ComparisonEnvironment(**MACHINE.facts(), conditions=conditions)
    render_report(Report(environment=environment, rows=tuple(rows)), file=out, **options)
    return out.getvalue()


def swept(batch, speed, ratio=1.0, backend="ort", **options):
    figures = timed(2.0 * batch, 0.1, ratio, 0.001 * (ratio != 1))
    return Row(model="lenet5", batch=batch, backend=backend, precision="fp32", state="measured", of_sweep=True,
               images_per_second=speed, **figures, **options)  # fmt: skip


SWEEP = """\
                                                         time / first row    images
backend  precision  batch  state     median ms [95 % CI]   of its batch            /s
-------------------------------------------------------------------------------------
ort      fp32           1  measured  2.000 [1.900, 2.100]  1                    500.0
ort      fp32           8  measured  16.00 [15.90, 16.10]  1                    980.0
ort      fp32          32  measured  64.00 [63.90, 64.10]  1                   1000.0
null     fp32           8  measured  16.00 [15.90, 16.10]  0.500 [0.499, 0.501]  990.0
"""


def test_a_batch_sweep_in_one_table():
    rows = (swept(1, 500.0), swept(8, 980.0), swept(32, 1000.0), swept(8, 990.0, 0.5, "null"))
    found = shown(*rows, conditions=replace(CONDITIONS, batches=(1, 8, 32)))
    assert "run         batch 1, 8, 32, threads 2, TF32 off" in found
    table = found.split("\n\n")[1].splitlines()
    assert [line.split() for line in table[3:]] == [line.split() for line in SWEEP.splitlines()[3:]]
    assert "time / first row" in table[0]
    assert "Saturation, the smallest batch with 95 % of the best images/s: ort fp32 at 8.\n" in found


def test_a_largest_batch_that_is_best_may_not_be_enough():
    assert "ort fp32 at 8 (the largest measured, perhaps not yet)." in shown(swept(1, 500.0), swept(8, 800.0))


def test_what_is_said_of_a_row_at_several_batches_is_said_once():
    found = shown(swept(1, 5.0, note="computed in float32"), swept(8, 5.0, note="computed in float32"))
    assert "[1] ort fp32 batch 1/8: computed in float32\n" in found


def latency(n, p90=None, p95=None, p99=None):
    return {"latency_ms": Latency(2.0, Interval(1.9, 2.1), p90, p95, p99, n, 12, 0)}


def test_percentiles_are_shown_on_request():
    rows = row("torch", **latency(700, 2.5, 2.75, 3.5)), row(**latency(200, 2.25, 2.5))
    assert "p90" not in shown(*rows)
    found = shown(*rows, percentiles=True)
    assert "p90 ms  p95 ms  p99 ms" in found
    assert "2.500   2.750   3.500" in found
    assert "2.250   2.500       -" in found


def test_a_percentile_that_is_withheld_says_why():
    found = shown(row(**latency(63)), row("torch", **latency(200, 2.25, 2.5)), percentiles=True)
    assert (
        "Percentiles are withheld below 64 samples (p90), 150 samples (p95), 662 samples (p99); rows have 63 to 200. "
        "A larger --max-seconds takes more.\n"
    ) in found
    assert "withheld" not in shown(row(**latency(662, 2.1, 2.2, 2.3)), percentiles=True)


def roofline(compute, measured):
    return {"roofline": RooflineShare(roof="this CPU", compute_ms=compute, memory_ms=1.0, measured_ms=measured)}


def test_the_share_of_the_roofline_stands_in_the_row():
    found = shown(row(**timed(2.0, 0.1, 1, 0), **roofline(1.224, 2.0)), conditions=replace(CONDITIONS, cpu_peaks=PEAKS))
    assert "    61\n" in found
    assert (
        "roof        fp32 140 GFLOP/s, no INT8 peak (no VNNI), memory 21.7 GB/s: the CPU by micro-benchmark\n"
    ) in found
    assert "Roof: the least time that a run can take here" in found
    rich = replace(PEAKS, fp16_gflops=280.0, int8_gops=560.0)
    found = shown(row(), conditions=replace(CONDITIONS, cpu_peaks=rich))
    assert "roof        fp32 140 GFLOP/s, fp16 280 GFLOP/s, int8 560 GOP/s, memory" in found


def test_above_the_roof_the_measurement_is_called_wrong():
    found = shown(row(**timed(2.0, 0.1, 1, 0), **roofline(2.4, 2.0)))
    assert "measured [1]" in found
    assert "[1] ort fp32: measurement wrong: 120 % of the roofline, 2 ms where compute takes 2.4 ms at least" in found


def test_accuracy_names_its_images():
    accuracy = RowAccuracy(Share(7123, 10_000), "folder test")
    found = shown(row(**timed(2.0, 0.1, 1, 0), accuracy=accuracy), row("torch"))
    assert "top-1\n" in found
    assert "  71.23\n" in found
    assert "Top-1: as evaluate measured it, on 10,000 images: folder test.\n" in found


def test_what_a_row_costs_once_is_a_table_of_its_own():
    found = shown(
        row(export_seconds=3.14159, cold_ms=123.4, memory_bytes=1_234_567_890, **timed(2.0, 0.1, 1, 0)),
        row("trt", state="built", reason="no GPU", export_seconds=123.4, build_seconds=12.34, from_store=True),
        row("torch:compile", cold_ms=25_000.0, device_memory_bytes=512_000_000),
        row("trt-rtx", state="unavailable", reason="not installed"),
    )
    lines = found.split("Once, before the first timed run, and memory:\n\n")[1].split("\n\n")[0].splitlines()
    assert [line.split() for line in lines[:1]] == [
        ["backend", "precision", "export", "s", "build", "s", "cold", "start", "s", "memory", "MB", "GPU", "memory",
         "MB"]
    ]  # fmt: skip
    assert [line.split() for line in lines[2:]] == [
        ["ort", "fp32", "3.14", "0.12", "1,235"],
        ["trt", "fp32", "123", "12.3", "(cached)"],
        ["torch:compile", "fp32", "25.0", "512"],
    ]
    assert "Once" not in shown(row(**timed(2.0, 0.1, 1, 0)))


@pytest.mark.parametrize("backend", ["ort", "torch:channels_last"])
def test_the_costs_fit_into_80_columns(backend):
    once = {"export_seconds": 123.4, "build_seconds": 99.9, "from_store": True, "cold_ms": 99_999.0}
    found = shown(row(backend, **once, memory_bytes=12_345_678_901, plan=plan(58, 518.4, 51.2),
                      parity=parity("pass", 96.3)))  # fmt: skip
    lines = found.split("Once, before")[1].splitlines()[2:5]
    assert max(map(len, lines)) <= 80
