"""Backends and precisions side by side: numerical parity, speed, accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.api.checked import checked
from deploykit.api.choices import (
    Batch,
    Data,
    Targets,
    batch_range,
    batches_of,
    build_spec,
    data_source,
    targets_of,
)
from deploykit.api.graphs import ExportedGraph, network_of
from deploykit.api.models import Network
from deploykit.api.modules import Example
from deploykit.api.rows import ROWS, Names, Precisions, require_alone, rows_request
from deploykit.api.saved import evaluation_of
from deploykit.api.workspace import StorePath, open_workspace
from deploykit.errors import UsageError
from deploykit.results.comparison import Report
from deploykit.spec import (
    BuilderOptions,
    Calibration,
    Fusions,
    Precision,
    Progress,
    QuantizationPolicy,
    Repair,
)

if TYPE_CHECKING:
    from deploykit.results.accuracy import AccuracyReport


@checked
def verify(
    network: Network | ExportedGraph,
    *,
    example: Example | None = None,
    backends: Names = ROWS,
    precisions: Precisions = ("fp32",),
    batch: Batch = None,
    batches: Sequence[int] = (),
    typed: str | PathLike[str] | None = None,
    against: str | PathLike[str] | None = None,
    explain: bool = False,
    target: Targets = None,
    data: Data = None,
    calibration: Calibration | str | PathLike[str] | None = None,
    policy: str | QuantizationPolicy = "all",
    repair: str | Repair = "none",
    fusions: str | Fusions | None = None,
    fusion_seconds: float = 120.0,
    keep_io: bool = True,
    keep_fp32: str | Sequence[str] = (),
    options: BuilderOptions | None = None,
    gpu_table: str | PathLike[str] | None = None,
    strict: bool = False,
    threads: int = 0,
    store: StorePath = None,
    progress: Progress | None = None,
) -> Report:
    """Compare every backend and precision of a network with the network in float64.

    The loss of precision (the typed graph against float64) and the loss of the backend (the engine against its typed
    graph) are judged apart.

    Args:
        network: A network as `export` takes it, or an exported graph.
        example: Inputs of an `nn.Module`, as for `from_module`.
        backends: Rows, in this order: `["torch", "ort", "trt"]`.
        precisions: Of each backend: `["fp32", "fp16", "int8"]`.
        batch: Images a run; None is 1, or the batch that the network fixes.
        batches: Several batches in place of `batch`; each has rows and engines of its own.
        typed: An ONNX file to judge in place of the typed graph that deploykit makes, at one precision. Layers that
            `keep_fp32` and the policy's exclusions name are then those of the network, in float32.
        against: Another ONNX file to judge, in place of all rows: a graph that should compute the same, as a slimmer,
            a converter or a quantizer left it. It runs as it is, and its types decide the limits.
        explain: Also find the layer where each row's loss begins, why, and the options that cure it.
        target: As for `build`.
        data: Test images, and those that INT8 is calibrated on, which are others; None takes demo images.
        calibration: As for `build`.
        policy: As for `build`, without `"plan"`.
        repair: As for `build`.
        fusions: As for `export`; None is `"safe"`, or those of the exported graph.
        fusion_seconds: As for `build`.
        keep_io: As for `build`.
        keep_fp32: As for `build`.
        options: As for `build`.
        gpu_table: As for `build`.
        strict: As for `build`.
        threads: CPU threads of each row; 0 is one per core.
        store: As for `build`.
        progress: As for `build`.

    Returns:
        The report: one row per backend and precision, each with its state. `raise_if_failed` raises a verdict.

    Raises:
        UsageError: An option is wrong or no row would read it.
        UnsupportedGraph: There are no inputs that the network can run on, and no row can be compiled.
    """
    from deploykit.tuning.fusions import decided_for_rows
    from deploykit.workflow.compare import verify as verified

    model, named, place = network_of(network, example, fusions, store)
    targets, gpu = targets_of(target, gpu_table)
    several = batches_of(batch, batches)
    spec = build_spec(
        model.spec,
        precision=Precision.FP32,
        batch=several[0],
        targets=targets,
        data=data,
        calibration=calibration,
        policy=policy,
        repair=repair,
        fusions=named,
        keep_io=keep_io,
        keep_fp32=keep_fp32,
        options=options,
    )
    if against is not None:
        require_alone(backends, precisions, typed)
    request = rows_request(
        spec,
        backends,
        precisions,
        batches=several,
        threads=threads,
        strict=strict,
        typed=typed,
        against=against,
        explain=explain,
    )
    workspace = open_workspace(place, progress)
    return verified(workspace, decided_for_rows(workspace, request, gpu=gpu, budget_seconds=fusion_seconds))


@checked
def bench(
    network: Network | ExportedGraph,
    *,
    example: Example | None = None,
    backends: Names = ROWS,
    precisions: Precisions = ("fp32",),
    batch: Batch = None,
    batches: Sequence[int] = (),
    max_seconds: float = 45.0,
    processes: int = 3,
    quick: bool = False,
    throughput: bool = False,
    accuracy: str | PathLike[str] | AccuracyReport | None = None,
    end_to_end: bool = False,
    scenarios: str | Sequence[str] = (),
    server_qps: float | None = None,
    server_bound_ms: float | None = None,
    target: Targets = None,
    data: Data = None,
    calibration: Calibration | str | PathLike[str] | None = None,
    policy: str | QuantizationPolicy = "all",
    repair: str | Repair = "none",
    fusions: str | Fusions | None = None,
    fusion_seconds: float = 120.0,
    keep_io: bool = True,
    keep_fp32: str | Sequence[str] = (),
    options: BuilderOptions | None = None,
    gpu_table: str | PathLike[str] | None = None,
    strict: bool = False,
    threads: int = 0,
    store: StorePath = None,
    progress: Progress | None = None,
) -> Report:
    """Time every backend and precision side by side, each in a process of its own, in interleaved rounds.

    Every row also has the verdict of `verify` and, where TensorRT-RTX compiled it, what was compiled.

    Args:
        network: A network as `export` takes it, or an exported graph.
        example: Inputs of an `nn.Module`, as for `from_module`.
        backends: As for `verify`.
        precisions: As for `verify`.
        batch: As for `verify`.
        batches: As for `verify`; images per second are measured, and where they saturate.
        max_seconds: Time limit of the timed rounds and of the restarts between them; the first opening and warm-up
            come on top.
        processes: Worker processes for each row, one after the other: the interval holds what differs between them.
            That of one process says nothing of another.
        quick: One process and 5 seconds of rounds, in place of `processes` and `max_seconds`, and no parity.
        throughput: Also measure images per second: many launches, one synchronization.
        accuracy: What `evaluate` returned or printed with --json: rows of the same artifacts get its top-1.
        end_to_end: Also time the way from an image file to class numbers, stage by stage, on the images of `data`.
        scenarios: Also answer the queries of MLPerf's load generator: `"single-stream"`, `"multi-stream"`, `"server"`,
            `"offline"`. `max_seconds` are divided among them, each has one second at least.
        server_qps: Queries a second that a server is sent; None is 70 % of the rate that whole batches reach.
        server_bound_ms: The latency bound of a server, milliseconds; None is five times the time of a batch.
        target: As for `build`.
        data: As for `verify`.
        calibration: As for `build`.
        policy: As for `build`, without `"plan"`.
        repair: As for `build`.
        fusions: As for `verify`.
        fusion_seconds: As for `build`.
        keep_io: As for `build`.
        keep_fp32: As for `build`.
        options: As for `build`.
        gpu_table: As for `build`.
        strict: As for `build`.
        threads: As for `verify`.
        store: As for `build`.
        progress: As for `build`.

    Returns:
        The report: latencies are host milliseconds of a synchronized run, `device_ms` the device's own clock.

    Raises:
        UsageError: An option is wrong or no row would read it, or `accuracy` is of another network.
        UntrustedArtifact: The file `accuracy` is not what `evaluate` printed.
        UnsupportedGraph: There are no inputs that the network can run on, and no row can be compiled.
        UnknownName: There is no such scenario.
        BackendMissing: `scenarios` are asked for, and LoadGen is not installed.
    """
    from deploykit.bench.loadgen import Load
    from deploykit.tuning.fusions import decided_for_rows
    from deploykit.workflow.compare import bench as timed
    from deploykit.workflow.end_to_end import end_to_end as from_image_files
    from deploykit.workflow.end_to_end import image_files
    from deploykit.workflow.scenarios import require_loadgen
    from deploykit.workflow.scenarios import scenarios as under_load

    model, named, place = network_of(network, example, fusions, store)
    targets, gpu = targets_of(target, gpu_table)
    several = batches_of(batch, batches)
    spec = build_spec(
        model.spec,
        precision=Precision.FP32,
        batch=several[0],
        targets=targets,
        data=data,
        calibration=calibration,
        policy=policy,
        repair=repair,
        fusions=named,
        keep_io=keep_io,
        keep_fp32=keep_fp32,
        options=options,
    )
    request = rows_request(spec, backends, precisions, batches=several, threads=threads, strict=strict)
    throughput = throughput or len(several) > 1
    settings = replace(request.settings, max_seconds=max_seconds, processes=processes, throughput=throughput)
    request = replace(
        request,
        settings=settings.quick() if quick else settings,
        parity=not quick,
        accuracy=evaluation_of(accuracy),
        gpu=gpu,
        roofline=True,
    )
    load = Load.of(scenarios, qps=server_qps, bound_ms=server_bound_ms)
    if end_to_end:
        image_files(spec.data)
    if load.scenarios:
        require_loadgen()
    workspace = open_workspace(place, progress)
    request = decided_for_rows(workspace, request, gpu=gpu, budget_seconds=fusion_seconds)
    report = timed(workspace, request)
    same = (workspace, request.spec, request.backends, request.precisions)
    if end_to_end:
        report = replace(report, end_to_end=from_image_files(*same, request.settings, strict=strict))
    if load.scenarios:
        report = replace(report, scenarios=under_load(*same, load, request.settings, strict=strict))
    return report


@checked
def evaluate(
    network: Network | ExportedGraph,
    *,
    example: Example | None = None,
    data: str | PathLike[str],
    calibration_data: Data = None,
    limit: int | None = None,
    max_drop: float | None = None,
    backends: Names = ROWS,
    precisions: Precisions = ("fp32",),
    batch: Batch = None,
    target: Targets = None,
    calibration: Calibration | str | PathLike[str] | None = None,
    policy: str | QuantizationPolicy = "all",
    repair: str | Repair = "none",
    fusions: str | Fusions | None = None,
    keep_io: bool = True,
    keep_fp32: str | Sequence[str] = (),
    options: BuilderOptions | None = None,
    gpu_table: str | PathLike[str] | None = None,
    strict: bool = False,
    threads: int = 0,
    store: StorePath = None,
    progress: Progress | None = None,
) -> AccuracyReport:
    """Top-1 and top-5 on labeled images for every backend and precision, and which predictions change.

    Args:
        network: A network as `export` takes it, or an exported graph.
        example: Inputs of an `nn.Module`, as for `from_module`.
        data: Labeled images: a folder with one subfolder per class, MNIST's idx files, or an `.npz` with `images`
            and `labels`.
        calibration_data: What INT8 is calibrated on; None leaves a part of `data` out for it.
        limit: Evaluate on at most this many images, drawn by the network's seed.
        max_drop: Percentage points of top-1 that a row may lose against the first.
        backends: As for `verify`.
        precisions: As for `verify`.
        batch: Images per run; None is the batch that the network fixes, else 64.
        target: As for `build`.
        calibration: As for `build`.
        policy: As for `build`, without `"plan"`.
        repair: As for `build`.
        fusions: As for `export`, without `"auto"`; None is `"safe"`, or those of the exported graph.
        keep_io: As for `build`.
        keep_fp32: As for `build`.
        options: As for `build`.
        gpu_table: As for `build`.
        strict: As for `build`.
        threads: As for `verify`.
        store: As for `build`.
        progress: As for `build`.

    Returns:
        The report: accuracies with 95 % intervals, and the changes against the first row.

    Raises:
        UsageError: An option is wrong, or the images have no labels.
    """
    from deploykit.workflow.evaluate import EvaluationRequest
    from deploykit.workflow.evaluate import evaluate as evaluated

    labeled = data_source(data)
    if not isinstance(labeled, Path):
        raise UsageError("evaluate requires labeled images", hint="give a folder or an .npz file as data")
    model, named, place = network_of(network, example, fusions, store)
    targets, _ = targets_of(target, gpu_table)
    spec = build_spec(
        model.spec,
        precision=Precision.FP32,
        batch=batch_range(batch, 64),
        targets=targets,
        data=labeled if calibration_data is None else calibration_data,
        calibration=calibration,
        policy=policy,
        repair=repair,
        fusions=named,
        keep_io=keep_io,
        keep_fp32=keep_fp32,
        options=options,
    )
    request = rows_request(spec, backends, precisions, threads=threads, strict=strict)
    return evaluated(
        open_workspace(place, progress),
        EvaluationRequest(
            spec=request.spec,
            labeled=labeled,
            backends=request.backends,
            precisions=request.precisions,
            settings=request.settings,
            strict=request.strict,
            limit=limit,
            max_drop=max_drop,
        ),
    )
