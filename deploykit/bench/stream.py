"""Outputs of a session for any number of feeds: one worker, one batch at a time, nothing kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from deploykit.backends.protocol import Engine
from deploykit.bench.process import WorkerProcess
from deploykit.bench.settings import BenchSettings
from deploykit.bench.worker import Compute, Open
from deploykit.spec import Feed


def stream_outputs(engine: Engine, feeds: Iterable[Feed], settings: BenchSettings) -> Iterator[Feed]:
    """The outputs of each feed, in their order. Raises what the worker raised, ExecutionFailed when it died."""
    threads = settings.worker_threads
    with WorkerProcess(threads=threads, answer_seconds=settings.answer_seconds) as worker:
        worker.ask(Open(engine, threads, ()))
        for feed in feeds:
            yield worker.ask(Compute(feed))
