"""A row that is slower on purpose: a session whose every run is followed by a busy wait, a share of the run long."""

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from deploykit.backends import get_backend
from deploykit.backends.protocol import Bound, Engine
from deploykit.spec import Feed


@dataclass(frozen=True)
class Slowed:
    """A workload in place of `engine`: what the engine does, and `share` of the time that it took."""

    engine: Engine
    feeds: tuple[Feed, ...]
    share: float

    def prepare(self, *, threads: int) -> Bound:
        session = ExitStack().enter_context(get_backend(self.engine.backend).open(self.engine, threads=threads))
        return SlowedBound(itertools.cycle([session.bind(feed) for feed in self.feeds]), self.share)


class SlowedBound:
    """Inputs that take turns; a run ends when its wait does."""

    def __init__(self, bounds: Iterator[Bound], share: float) -> None:
        self._bounds, self._share = bounds, share

    def launch(self) -> None:
        began = time.perf_counter_ns()
        bound = next(self._bounds)
        bound.launch()
        bound.synchronize()
        now = time.perf_counter_ns()
        until = now + self._share * (now - began)
        while time.perf_counter_ns() < until:
            pass

    def synchronize(self) -> None:
        """The run has ended when `launch` returns."""

    def device_ms(self) -> float | None:
        return None

    def fetch(self) -> Feed:
        return {}
