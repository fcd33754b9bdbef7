"""The rows of a table under MLPerf's load generator."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from deploykit.bench import BenchSettings
from deploykit.bench.loadgen import Load, LoadTest, ScenarioResult, load_tests
from deploykit.bench.process import WorkerProcess
from deploykit.bench.worker import Do, Open
from deploykit.data.feeds import joined_feeds, runs
from deploykit.data.inputs import inputs_for
from deploykit.errors import BackendMissing, DeploykitError
from deploykit.host import installed_version
from deploykit.results.scenarios import ScenarioRow, Scenarios
from deploykit.spec import BuildSpec, Precision
from deploykit.workflow.batch import with_batch
from deploykit.workflow.export import export
from deploykit.workflow.rows import BuiltRow, RefusedRow, asked_rows, build_rows, head_of
from deploykit.workflow.workspace import Workspace

SAMPLES = 32  # different ones
SHORTEST = 1.0  # seconds of a scenario


def require_loadgen() -> None:
    """Raises BackendMissing where LoadGen is not installed."""
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise BackendMissing("MLPerf's LoadGen is not installed", hint="pip install 'deploykit[loadgen]'")


def scenarios(
    workspace: Workspace,
    spec: BuildSpec,
    backends: Sequence[str],
    precisions: Sequence[Precision],
    load: Load,
    settings: BenchSettings,
    *,
    strict: bool = False,
) -> Scenarios:
    """Every row in every scenario, each row in a process of its own, one after the other."""
    spec = with_batch(workspace, spec)
    exported = export(workspace, spec.model, spec.fusions)
    batch = spec.batch.optimum
    size = exported.run_length(batch, 1)
    inputs = inputs_for(exported, "test", count=SAMPLES * size, batch=batch, data=spec.data)
    joined = joined_feeds(list(inputs.feeds()))
    lines = build_rows(workspace, asked_rows(spec, backends, precisions, strict=strict))
    running = sum(line.runs for line in lines)
    seconds = max(SHORTEST, settings.max_seconds / max(1, running * len(load.scenarios)))
    rows = []
    for number, line in enumerate(lines):
        workspace.progress("answer the queries of LoadGen", number, len(lines))
        tests = []
        if isinstance(line, BuiltRow) and line.runs:
            samples = tuple(runs(joined, line.built.engine.inputs, size))
            tests = load_tests(load, samples, batch // size, seconds=seconds, seed=spec.model.seed)
        rows.append(_row(line, tests, settings))
    workspace.progress("answer the queries of LoadGen", len(lines), len(lines))
    return Scenarios(
        loadgen=f"MLPerf LoadGen {installed_version('mlcommons-loadgen')}",
        seconds=seconds,
        samples=len(inputs) // size,
        sample_images=size,
        inputs=inputs.source,
        rows=tuple(rows),
    )


def _row(line: BuiltRow | RefusedRow, tests: Sequence[LoadTest], settings: BenchSettings) -> ScenarioRow:
    results: list[ScenarioResult] = []
    failure: DeploykitError | None = None
    if tests and isinstance(line, BuiltRow):
        threads = settings.worker_threads
        patience = settings.answer_seconds + 10 * tests[0].seconds
        try:
            with WorkerProcess(threads=threads, answer_seconds=patience) as worker:
                worker.ask(Open(line.built.engine, threads, ()))
                results += [worker.ask(Do(test)) for test in tests]
        except DeploykitError as error:
            failure = error
    return ScenarioRow(**head_of(line, failure=failure), results=() if failure else tuple(results))
