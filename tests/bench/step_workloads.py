"""Workloads that the worker can unpickle: they count their steps, take their time, or break."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Counted:
    """Each step writes one byte to `path`. The first `slow_steps` take 50 ms, the others `seconds`."""

    path: Path
    slow_steps: int = 0
    seconds: float = 0.0

    def prepare(self, *, threads):
        self.path.write_bytes(b"")
        return CountedBound(self)


class CountedBound:
    def __init__(self, workload):
        self.workload, self.steps = workload, 0

    def launch(self):
        time.sleep(0.05 if self.steps < self.workload.slow_steps else self.workload.seconds)
        self.steps += 1
        with self.workload.path.open("ab") as file:
            file.write(b".")

    def synchronize(self):
        pass

    def device_ms(self):
        return None


@dataclass(frozen=True)
class Breaking:
    """The step with this number does what `fault` names."""

    number: int
    fault: str

    def prepare(self, *, threads):
        if self.number == 0:
            raise ValueError("cannot be prepared\nat all")
        return BreakingBound(self)


class BreakingBound:
    def __init__(self, workload):
        self.workload, self.steps = workload, 0

    def launch(self):
        self.steps += 1
        if self.steps == self.workload.number:
            getattr(self, self.workload.fault)()

    def synchronize(self):
        pass

    def device_ms(self):
        return None

    def fail(self):
        raise RuntimeError("step says no\nand more")

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(self):
        time.sleep(3600)


class Unreadable:
    """A request that the worker cannot unpickle."""

    def __reduce__(self):
        return _raise, ()

    def prepare(self, *, threads):
        raise AssertionError


def _raise():
    raise ModuleNotFoundError("No module named 'elsewhere'")
