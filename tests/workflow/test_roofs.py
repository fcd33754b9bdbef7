"""Rows against their roofs: the CPU's, measured once and kept, and a GPU's by its data sheet."""

from dataclasses import replace

import pytest
from answering import write_network

from deploykit.backends import get_backend
from deploykit.backends.device import LocalGpu
from deploykit.bench import BenchSettings, Interval, Latency, fingerprint
from deploykit.bench.peaks import CpuPeaks
from deploykit.errors import ExecutionFailed
from deploykit.plan.gpus import find_gpu_spec, gpu_by_device, gpu_names
from deploykit.results.row import Row
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision, Target
from deploykit.spec.reports import PassLedger, PassRecord
from deploykit.store import Store
from deploykit.workflow import roofs as roofs_module
from deploykit.workflow.compare import Request, bench
from deploykit.workflow.engine import build
from deploykit.workflow.roofs import Roofs, graph_work
from deploykit.workflow.workspace import Workspace

H100 = LocalGpu("NVIDIA H100 80GB HBM3", Target(9, 0), 80 << 30, "13.0", 1, cache=50 << 20)
SLOW = CpuPeaks(threads=1, fp32_gflops=1.0, fp16_gflops=None, int8_gops=None, bandwidth_gbs=10.0)


@pytest.fixture
def peaks(monkeypatch):
    """The peaks that are measured in turn; what was asked is counted."""
    given, asked = [SLOW], []

    def measure(*, threads, cache_bytes):
        asked.append(threads)
        found = given[min(len(asked), len(given)) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(roofs_module, "measure_cpu_peaks", measure)
    return given, asked


@pytest.fixture
def built(workspace):
    """ONNX Runtime on the miniature: 60,000 MACs an image or so."""
    return build(workspace, BuildSpec(ModelSpec("test_convnet"), batch=BatchRange(1, 2, 2)), get_backend("ort"))


@pytest.fixture
def machine(request):
    """One of this test's own: what was measured of it is in no store."""
    found = fingerprint(threads=1, seed=0, tf32=False)
    return replace(found, cpu=replace(found.cpu, model=request.node.name, cache_bytes=0), gpu=None)


@pytest.fixture
def own_workspace(tmp_path):
    return Workspace(Store.open(tmp_path / "store"))


def timed(milliseconds):
    return Latency(milliseconds, Interval(milliseconds, milliseconds), None, None, None, 60, 12, 0)


def row(milliseconds, *, device=None, precision="fp32", flavour="onnxruntime 1.27 CPUExecutionProvider"):
    return Row(model="m", backend="ort", precision=precision, batch=2, state="measured", flavour=flavour,
               latency_ms=timed(milliseconds), device_ms=device and timed(device))  # fmt: skip


def marked(roofs, built, *rows, tf32=False):
    return [found.roofline for found in roofs.marked([(each, built) for each in rows], tf32=tf32)]


def test_the_bound_is_that_of_the_macs_and_of_the_bytes(workspace, built, machine, peaks):
    work = graph_work(workspace, built.exported, 2)
    assert work.macs == 2 * graph_work(workspace, built.exported, 1).macs > 0
    (found,) = marked(Roofs(workspace, machine, None), built, row(100.0))
    assert found.compute_ms == pytest.approx(2 * work.macs / 1e9 * 1e3)
    moved = 4 * (work.params + 2 * 3 * 32 * 32 + 2 * 10)
    assert found.memory_ms == pytest.approx(moved / 10e9 * 1e3)
    assert found.share == pytest.approx(found.bound_ms / 100)
    assert found.roof == "this CPU on 1 threads, measured"


def test_what_the_cache_may_keep_needs_no_bandwidth(workspace, built, machine, peaks):
    cached = replace(machine, cpu=replace(machine.cpu, cache_bytes=2**30))
    (found,) = marked(Roofs(workspace, cached, None), built, row(100.0))
    assert (found.memory_ms, found.binds) == (0, "compute")


def test_the_cpu_is_measured_once_for_all_commands(workspace, built, machine, peaks):
    for _ in range(2):
        assert all(marked(Roofs(workspace, machine, None), built, row(1e3), row(2e3)))
    assert len(peaks[1]) == 1
    marked(Roofs(workspace, replace(machine, threads=2), None), built, row(1e3))
    assert peaks[1] == [1, 2]


def test_above_the_roof_the_peaks_are_taken_again_and_the_better_count(workspace, built, machine, peaks):
    peaks[0][:] = [SLOW, replace(SLOW, fp32_gflops=1e6)]
    half = graph_work(workspace, built.exported, 2).macs / 1e6  # of what 1 GFLOP/s takes, milliseconds
    fast = marked(Roofs(workspace, machine, None), built, row(half), row(100.0))
    assert len(peaks[1]) == 2
    assert not any(found.wrong for found in fast)
    again = Roofs(workspace, machine, None)
    assert marked(again, built, row(half), row(100.0)) == fast
    assert (len(peaks[1]), again.cpu.fp32_gflops) == (2, 1e6)


def test_what_is_above_even_then_is_a_wrong_measurement(workspace, built, machine, peaks):
    (found,) = marked(Roofs(workspace, machine, None), built, row(1e-6))
    assert found.wrong
    assert "measurement wrong" in found.fault
    assert len(peaks[1]) == 2


def test_a_type_without_a_rate_has_no_roofline(workspace, built, machine, peaks):
    assert marked(Roofs(workspace, machine, None), built, row(1.0, precision="int8")) == [None]


def test_peaks_that_cannot_be_measured_cost_the_roofline_and_nothing_else(workspace, built, machine, peaks):
    peaks[0][:] = [ExecutionFailed("no worker")]
    said = []
    quiet = replace(workspace, warn=said.append)
    assert marked(Roofs(quiet, machine, None), built, row(1.0)) == [None]
    assert "no roofline: the peak rates of this CPU could not be measured: no worker" in said[0]


@pytest.mark.parametrize(("precision", "peak"), [("fp32", 66.9), ("fp16", 989.4), ("int8", 1978.9)])
def test_a_gpu_row_has_the_figures_of_its_data_sheet_and_its_own_clock(
    workspace, built, machine, peaks, precision, peak
):
    here = replace(machine, gpu=H100)
    roofs = Roofs(workspace, here, None)
    (found,) = marked(roofs, built, row(1.0, device=0.5, precision=precision, flavour="tensorrt 10.0"))
    work = graph_work(workspace, built.exported, 2)
    assert found.roof == "h100-sxm by its data sheet"
    assert found.compute_ms == pytest.approx(2 * work.macs / (peak * 1e9))
    assert (found.memory_ms, found.measured_ms) == (0, 0.5)  # all of it fits into 50 MB
    assert peaks[1] == []


def test_the_gpu_that_was_named_stands_for_the_one_that_is_here(workspace, built, machine, peaks):
    own = replace(find_gpu_spec("h100-sxm"), name="clocked-down", fp32_tflops=10.0)
    on_gpu = row(1.0, flavour="torch 2.14 (cuda)")
    here = replace(machine, gpu=H100)
    assert marked(Roofs(workspace, here, own), built, on_gpu)[0].roof == "clocked-down by its data sheet"
    assert marked(Roofs(workspace, here, find_gpu_spec("rtx4090")), built, on_gpu)[0].roof.startswith("h100-sxm")
    unknown = replace(here, gpu=replace(H100, name="A GPU of next year"))
    assert marked(Roofs(workspace, unknown, None), built, on_gpu) == [None]


def test_gpus_are_known_by_what_the_driver_calls_them():
    named = [find_gpu_spec(name) for name in gpu_names()]
    assert all(gpu_by_device(gpu.device_name) == gpu for gpu in named if gpu.device_name)
    assert sum(bool(gpu.device_name) for gpu in named) >= len(named) - 1
    assert gpu_by_device("A GPU of next year") is None


def test_a_module_is_not_judged_by_a_graph_that_was_rewritten_for_its_cost(workspace, built, machine, peaks):
    roofs = Roofs(workspace, machine, None)
    for name, known in (("fold_batchnorm", True), ("compose_convolutions", False)):
        ledger = PassLedger((PassRecord(name, ("conv1",), (), 9, 8, 0.1),))
        facts = replace(built.exported.facts, ledger=ledger)
        rewritten = replace(built, exported=replace(built.exported, facts=facts))
        (eager,) = marked(roofs, replace(rewritten, typed=None), row(1e3))
        assert (eager is not None) is known
        assert marked(roofs, rewritten, row(1e3)) != [None]


def test_a_table_has_the_share_of_every_row_that_was_timed(own_workspace, answering, tmp_path, peaks):
    network = write_network(tmp_path / "network.onnx")
    settings = BenchSettings(threads=1, max_seconds=0.5, gap_ms=0.0)
    request = Request(spec=BuildSpec(ModelSpec(str(network))), backends=("exact", "torch"),
                      precisions=(Precision.FP32,), settings=settings, roofline=True)  # fmt: skip
    report = bench(own_workspace, request)
    exact, torch = report.rows
    assert 0 < exact.roofline.share < 1
    assert torch.roofline is None
    assert report.conditions.cpu_peaks == SLOW
