"""What `make test-full` adds to pytest: it goes on where it stopped, and ends in a table of what each test took.

A test marked `full` that passed is written down with the digest of the sources, the tests and the library versions that
it passed with, and is left out of the next run with the same digest; `--again` runs it nevertheless. The record is
`.full-run.jsonl` beside the tests: one JSON object a line, so an interrupted run loses the test that it was in.
"""

from __future__ import annotations

import hashlib
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploykit.host import library_versions
from deploykit.store.key import cache_key, source_digest

ROOT = Path(__file__).parents[1]
RECORD = ROOT / ".full-run.jsonl"
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime",
             "tensorrt", "tensorrt-rtx")  # fmt: skip
BEGAN = pytest.StashKey[tuple[float, float]]()
TOOK = "full_run"  # the key under which a test's figures travel from a worker to the process that writes them down


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--again", action="store_true", help="run `full` tests that passed with these sources, too")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FullRun(config), "full-run")


class FullRun:
    """One pytest session's view of the record. With xdist, workers measure and the controller writes."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.digest = _digest()
        self.before: dict[str, dict[str, Any]] = {} if config.getoption("again") else _passed(self.digest)
        self.now: dict[str, dict[str, Any]] = {}
        self.is_worker = hasattr(config, "workerinput")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        passed = [item for item in items if item.get_closest_marker("full") and item.nodeid in self.before]
        if passed:
            self.config.hook.pytest_deselected(items=passed)
            items[:] = [item for item in items if item not in set(passed)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        item.stash[BEGAN] = (time.perf_counter(), _processor_seconds())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Fixtures that this test is the first to use are part of what it took."""
        try:
            return (yield)
        finally:
            if item.get_closest_marker("full"):
                began, processor = item.stash[BEGAN]
                took = {"seconds": time.perf_counter() - began, "processor": _processor_seconds() - processor}
                item.user_properties.append((TOOK, {**took, "peak_mb": _peak_mb()}))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        took = dict(report.user_properties).get(TOOK)
        if self.is_worker or report.when != "call" or took is None:
            return
        line = {"test": report.nodeid, "digest": self.digest, "outcome": report.outcome, **took}
        self.now[report.nodeid] = line
        with RECORD.open("a") as record:
            record.write(json.dumps(line) + "\n")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.before:
            session.exitstatus = pytest.ExitCode.OK  # there was nothing left to run

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = {**(self.before if "not full" not in self.config.option.markexpr else {}), **self.now}
        if self.is_worker or not lines or self.config.option.collectonly:
            return
        terminalreporter.section("what each full test took (seconds, processor seconds, peak MB of its process)")
        for name, line in sorted(lines.items(), key=lambda pair: -pair[1]["seconds"]):
            remark = line["outcome"] if name in self.now else "passed earlier with these sources"
            terminalreporter.write_line(
                f"{line['seconds']:8.1f} {line['processor']:8.1f} {line['peak_mb']:8.0f}  {name}  {remark}"
            )
        total = sum(line["seconds"] for line in lines.values())
        terminalreporter.write_line(f"{total:8.1f} s for {len(lines)} tests, {len(self.now)} of them in this run")


def _digest() -> str:
    """Of all that decides whether a test passes: both source trees and the libraries."""
    sources = [source_digest(ROOT / folder) for folder in ("deploykit", "tests", "benchmarks")]
    return hashlib.sha256(cache_key({"sources": sources, "versions": library_versions(LIBRARIES)}).encode()).hexdigest()


def _passed(digest: str) -> dict[str, dict[str, Any]]:
    """The last line of each test that was written with `digest`, where that line says that it passed."""
    last: dict[str, dict[str, Any]] = {}
    for text in RECORD.read_text().splitlines() if RECORD.exists() else ():
        line = json.loads(text) if text.endswith("}") else {"digest": None}  # the machine may stop in mid-line
        if line["digest"] == digest:
            last[line["test"]] = line
    return {name: line for name, line in last.items() if line["outcome"] == "passed"}


def _processor_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _peak_mb() -> float:
    """The highest so far of this process and of any child that has ended; Linux counts in KiB."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
