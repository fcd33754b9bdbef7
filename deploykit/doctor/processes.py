"""Questions that may crash or hang, each put to a process of its own (`probe.py`), all at the same time.

What such a process meets is an answer, too: a signal, silence, or what a library raised becomes the fault of the step
that it happened in.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from deploykit.errors import one_line
from deploykit.host import search_path

PROBE = Path(__file__).with_name("probe.py")
SECONDS = 60.0  # an import of PyTorch takes two on an idle machine, half a minute from a slow disk
SEPARATE = ("providers", "libraries", "plugins")  # questions whose steps do not build on each other

Question: TypeAlias = tuple[str, ...]  # its name in `probe.py`, and arguments
Steps: TypeAlias = dict[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What each step found, or its `fault`; `fault` of the whole where no step was reached, "" where one was."""

    steps: Steps
    fault: str = ""

    def first_fault(self) -> str:
        """What went wrong first; "" where all went well."""
        faults = (str(found["fault"]) for found in self.steps.values() if "fault" in found)
        return self.fault or next(faults, "")


def ask(questions: Mapping[str, Question], *, seconds: float = SECONDS) -> dict[str, Answer]:
    """The answers, by the names that the questions have here; each process has `seconds`."""
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(_Process(question, seconds=seconds)) for name, question in questions.items()
        }
        return {name: _answer(questions[name], process, seconds) for name, process in running.items()}


def shortened(text: str) -> str:
    """What a library printed, as short as what an error quotes."""
    return one_line(ValueError(text)) if text.strip() else ""


def _answer(question: Question, process: _Process, seconds: float) -> Answer:
    begun, steps, fault = process.result()
    lost = [name for name in begun if name not in steps]
    if not (fault and lost):
        return Answer(steps, "" if steps else fault)
    steps[lost[-1]] = {"fault": fault}
    if question[0] in SEPARATE:
        with _Process(question, skipped=[*process.skipped, *begun], seconds=seconds) as again:
            steps |= _answer(question, again, seconds).steps
    return Answer(steps)


class _Process:
    """One process, its streams in files; leaving it ends the process and whatever that has started."""

    def __init__(self, question: Question, *, skipped: Sequence[str] = (), seconds: float) -> None:
        self.skipped = skipped
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._said, self._log = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own file
            [sys.executable, "-P", str(PROBE), *question, "--", *skipped],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C goes to the command alone
            env=os.environ | {"PYTHONPATH": search_path()},
        )

    def result(self) -> tuple[list[str], Steps, str]:
        """The steps that were begun, those that were answered, and how the process ended, "" for well."""
        fault = self._wait()
        self._said.seek(0)
        lines = [json.loads(line) for line in self._said.read().splitlines(keepends=True) if line.endswith(b"\n")]
        steps = {line.pop("step"): line for line in lines if "step" in line}
        for found in steps.values():
            found.update({key: shortened(found[key]) for key in ("fault", "why") if key in found})
        return [line["begin"] for line in lines if "begin" in line], steps, fault

    def _wait(self) -> str:
        try:
            code = self._process.wait(max(0.0, self._ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._kill()
            return f"no answer within {self._seconds:g} s"
        if code == 0:
            return ""
        said = self._last_line()
        if code > 0:
            return said or f"its process exited with code {code}"
        return f"its process was killed by {signal.Signals(-code).name}" + (f" ({said})" if said else "")

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return shortened(next((line for line in reversed(lines) if line.strip()), ""))

    def _kill(self) -> None:
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):  # nothing of the group is left
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._kill()
        self._said.close()
        self._log.close()
