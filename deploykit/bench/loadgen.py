"""MLPerf's load generator, LoadGen, on the session of a row: how it answers a stream of queries.

| scenario | queries | what is found |
|---|---|---|
| single-stream | one sample, the next when it is answered | the latency of 90 % |
| multi-stream | eight samples, the next when they are answered | the latency of 99 % |
| server | one sample, at the moments of a Poisson process | the latency of 99 %, against a bound |
| offline | one, of all samples | samples per second |

LoadGen runs in a thread of the worker and puts its queries into a queue; the worker's main thread, in which the session
was opened, takes what waits there, up to a batch, runs it and reports each sample. It never waits for a batch to fill
up. So a latency holds the queue, putting the images of a batch together, and both copies, which a row's median does
not.

Queries are as many as fill the time that is given to a scenario, and LoadGen says itself whether its rules for a valid
run were kept; MLPerf's own minimum is ten minutes. No figure is a verified MLPerf result.

Source of the scenarios and percentiles: Reddi et al., MLPerf Inference Benchmark, ISCA 2020.
"""

from __future__ import annotations

import json
import queue
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from deploykit.backends.protocol import Session
from deploykit.data.feeds import joined_feeds
from deploykit.errors import ExecutionFailed, UsageError
from deploykit.spec import Feed, Scenario, parse_scenarios

if TYPE_CHECKING:
    import mlperf_loadgen

PERCENTILE: dict[Scenario, int] = {"single-stream": 90, "multi-stream": 99, "server": 99}
SAMPLES_PER_QUERY = 8  # of multi-stream
LOAD = 0.7  # of the rate of whole batches: what a server is asked for where no rate was given
BOUND = 5.0  # times the time of a batch: the latency bound of a server where none was given
MARGIN = 1.3  # LoadGen makes its queries beforehand: more than the time is expected to hold
SETTLING_RUNS, TIMED_RUNS = 3, 5
HIGHEST = 1e9  # queries a second, and milliseconds
LOG = "mlperf_log_detail.txt"

Samples = list[tuple[int, int]]  # LoadGen's number of a sample in flight, and which sample it is


@dataclass(frozen=True, slots=True)
class Load:
    """The scenarios in the order in which they were asked for, each once, and what a server is sent.

    That is `qps` queries a second, 99 % of which are to be answered in `bound_ms` milliseconds. None: 70 % of the rate
    that whole batches reach, and five times the time of a batch.
    """

    scenarios: tuple[Scenario, ...] = ()
    qps: float | None = None
    bound_ms: float | None = None

    def __post_init__(self) -> None:
        for name, value in {"rate": self.qps, "bound": self.bound_ms}.items():
            if value is None:
                continue
            if "server" not in self.scenarios:
                raise UsageError(f"the {name} of a server requires the scenario server", hint="add it to the scenarios")
            if not 0 < value < HIGHEST:
                raise UsageError(f"the {name} of a server is {value:g}", hint="give a finite number above 0")

    @classmethod
    def of(cls, names: str | Iterable[str], *, qps: float | None = None, bound_ms: float | None = None) -> Load:
        """Raises UnknownName, and UsageError for a rate or a bound that nothing reads or that is none."""
        return cls(parse_scenarios(names), qps, bound_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioResult:
    """What LoadGen found. Times are milliseconds.

    `percentile_ms` is the latency of a query that `percentile` percent of them keep; None offline. `target_qps` and
    `bound_ms` are what a server was asked for. `valid` is LoadGen's own verdict, for the reason in `invalid` where it
    is not.
    """

    scenario: Scenario
    queries: int
    samples: int
    seconds: float
    samples_per_second: float
    percentile: int | None = None
    percentile_ms: float | None = None
    median_ms: float | None = None
    target_qps: float | None = None
    bound_ms: float | None = None
    valid: bool = False
    invalid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTest:
    """A task for a worker: one scenario for about `seconds`.

    Each of `samples` can be run by itself, and up to `batch` of them together. A server is sent `qps` queries a second,
    bound to `bound_ms` milliseconds; None takes LOAD and BOUND.
    """

    scenario: Scenario
    samples: tuple[Feed, ...]
    batch: int
    seconds: float
    qps: float | None = None
    bound_ms: float | None = None
    seed: int = 0

    def run(self, session: Session) -> ScenarioResult:
        """Raises ExecutionFailed where LoadGen ends without a result, and what the session raises."""
        batch_seconds = self._batch_seconds(session)
        decided = self._decided(batch_seconds)
        serving = _Serving(session, decided)
        log = _run_loadgen(decided, serving, batch_seconds)
        if serving.failure is not None:
            raise serving.failure
        return _result(decided, log, serving)

    def _decided(self, batch_seconds: float) -> LoadTest:
        """The same with the rate and the bound of a server; another scenario has neither."""
        if self.scenario != "server":
            return replace(self, qps=None, bound_ms=None)
        qps, bound_ms = self.qps or LOAD * self.batch / batch_seconds, self.bound_ms or BOUND * batch_seconds * 1e3
        return replace(self, qps=qps, bound_ms=bound_ms)

    def _batch_seconds(self, session: Session) -> float:
        feed = self.feed(range(self.batch))
        seconds = []
        for _ in range(SETTLING_RUNS + TIMED_RUNS):
            began = time.perf_counter()
            session.run(feed)
            seconds.append(time.perf_counter() - began)
        return median(seconds[SETTLING_RUNS:])

    def feed(self, numbers: Sequence[int]) -> Feed:
        """The samples of these numbers, put together."""
        return joined_feeds([self.samples[number % len(self.samples)] for number in numbers])


def load_tests(load: Load, samples: tuple[Feed, ...], batch: int, *, seconds: float, seed: int) -> list[LoadTest]:
    """The tasks of a row, one for each scenario."""
    return [
        LoadTest(
            scenario=scenario,
            samples=samples,
            batch=batch,
            seconds=seconds,
            qps=load.qps,
            bound_ms=load.bound_ms,
            seed=seed,
        )
        for scenario in load.scenarios
    ]


class _Serving:
    """The queue between LoadGen and the session, and what came of it."""

    def __init__(self, session: Session, test: LoadTest) -> None:
        self.waiting: queue.SimpleQueue[Samples | None] = queue.SimpleQueue()
        self.failure: Exception | None = None
        self.answered = 0
        self.seconds = 0.0  # from the first query to the last answer
        self._session = session
        self._test = test

    def serve(self, lg: Any) -> None:
        """Answer what comes until None comes. After an error all the rest is reported at once, to end LoadGen."""
        began, ended = 0.0, False
        while not ended:
            arrived, ended = self._arrived()
            began = began or time.perf_counter()
            for at in range(0, len(arrived), self._test.batch):
                chunk = arrived[at : at + self._test.batch]
                if self.failure is None:
                    self._answer([number for _, number in chunk])
                lg.QuerySamplesComplete([lg.QuerySampleResponse(flight, 0, 0) for flight, _ in chunk])
                self.seconds = time.perf_counter() - began

    def _arrived(self) -> tuple[Samples, bool]:
        """The next query, with those that wait behind it up to a batch; whether it was the last."""
        first = self.waiting.get()
        arrived, ended = list(first or ()), first is None
        while not ended and len(arrived) < self._test.batch and not self.waiting.empty():
            following = self.waiting.get()
            arrived += following or ()
            ended = following is None
        return arrived, ended

    def _answer(self, numbers: list[int]) -> None:
        try:
            self._session.run(self._test.feed(numbers))
        except Exception as error:  # noqa: BLE001 - raised again when LoadGen has ended
            self.failure = error
        self.answered += len(numbers)


def _run_loadgen(test: LoadTest, serving: _Serving, batch_seconds: float) -> dict[str, Any]:
    """LoadGen's log of the run: the last value under each key."""
    import mlperf_loadgen as lg

    count = len(test.samples)
    under_test = lg.ConstructSUT(
        lambda samples: serving.waiting.put([(sample.id, sample.index) for sample in samples]), lambda: None
    )
    library = lg.ConstructQSL(count, count, lambda _: None, lambda _: None)
    with tempfile.TemporaryDirectory(prefix="deploykit-loadgen-") as folder:
        settings, log = _settings(lg, test, batch_seconds), _log_settings(lg, folder)

        def generate() -> None:
            try:
                lg.StartTestWithLogSettings(under_test, library, settings, log, "")
            finally:
                serving.waiting.put(None)

        thread = threading.Thread(target=generate)
        thread.start()
        serving.serve(lg)
        thread.join()
        lg.DestroyQSL(library)
        lg.DestroySUT(under_test)
        return _read(Path(folder) / LOG)


def _settings(lg: Any, test: LoadTest, batch_seconds: float) -> mlperf_loadgen.TestSettings:
    """For a run of `test.seconds` that one query is enough for; seeds are ours, not those of an MLPerf round."""
    found = lg.TestSettings()
    found.mode = lg.TestMode.PerformanceOnly
    found.min_duration_ms = round(test.seconds * 1e3)
    found.min_query_count = 1
    found.qsl_rng_seed = found.sample_index_rng_seed = found.schedule_rng_seed = test.seed + 1
    expected_ns = round(batch_seconds / MARGIN * 1e9)
    match test.scenario:
        case "single-stream":
            found.scenario = lg.TestScenario.SingleStream
            found.single_stream_expected_latency_ns = max(1, round(expected_ns / test.batch))
        case "multi-stream":
            found.scenario = lg.TestScenario.MultiStream
            found.multi_stream_samples_per_query = SAMPLES_PER_QUERY
            found.multi_stream_expected_latency_ns = max(1, expected_ns * SAMPLES_PER_QUERY // test.batch)
        case "server":
            found.scenario = lg.TestScenario.Server
            found.server_target_qps = test.qps
            found.server_target_latency_ns = round((test.bound_ms or 0) * 1e6)
        case "offline":
            found.scenario = lg.TestScenario.Offline
            found.offline_expected_qps = MARGIN * test.batch / batch_seconds
    return found


def _log_settings(lg: Any, folder: str) -> mlperf_loadgen.LogSettings:
    found, output = lg.LogSettings(), lg.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    found.log_output = output
    found.enable_trace = False
    return found


def _read(log: Path) -> dict[str, Any]:
    """Each line is a word, a blank and an object with `key` and `value`."""
    found: dict[str, Any] = {}
    for line in log.read_text(errors="replace").splitlines():
        entry = json.loads(line.partition(" ")[2])
        found[entry["key"]] = entry["value"]
    return found


def _result(test: LoadTest, log: dict[str, Any], serving: _Serving) -> ScenarioResult:
    if "result_query_count" not in log:
        said = log.get("error_invalid_test_settings", log.get("error_runtime", "its log has no result"))
        raise ExecutionFailed(f"LoadGen ended without a result: {said}")
    percentile = PERCENTILE.get(test.scenario)
    rate = log["result_samples_per_second"] if test.scenario == "offline" else serving.answered / serving.seconds
    query = "per_query_latency_ns" if test.scenario == "multi-stream" else "latency_ns"
    return ScenarioResult(
        scenario=test.scenario,
        queries=log["result_query_count"],
        samples=serving.answered,
        seconds=serving.seconds,
        samples_per_second=rate,
        percentile=percentile,
        percentile_ms=log[f"result_{percentile}.00_percentile_{query}"] / 1e6 if percentile else None,
        median_ms=log[f"result_50.00_percentile_{query}"] / 1e6 if percentile else None,
        target_qps=test.qps,
        bound_ms=test.bound_ms,
        valid=log["result_validity"] == "VALID",
        invalid="" if log["result_validity"] == "VALID" else _why_invalid(log),
    )


def _why_invalid(log: dict[str, Any]) -> str:
    """LoadGen's advice, else what its rule of early stopping misses, in one line."""
    said = log.get("result_invalid_reason") or log.get("early_stopping_result") or "it gave no reason"
    return " ".join(str(said).replace("* ", "").split())
