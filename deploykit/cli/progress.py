"""Progress on stderr: one line that is rewritten on a terminal, elsewhere one per minute and per finished stage."""

import sys
import time

from deploykit.quote import quoted

REPORTED = 60.0  # seconds between lines off a terminal
SURE = 2.0  # seconds after which what is left can be told


class StageProgress:
    """Call it with (phase, done, total). A phase ends when done equals total, or when another one begins.

    `"stage: detail"` is a step of `stage`: on a terminal it is shown while it lasts, elsewhere not at all. What a stage
    has done when it begins is taken to have been done before, and what is left to take as long as what follows did.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._phase = ""
        self._began = 0.0
        self._told = 0.0
        self._first = 0
        self._width = 0

    def __call__(self, phase: str, done: int, total: int) -> None:
        phase = quoted(phase)  # it may have the name of a file or a network in it
        stage, _, detail = phase.partition(": ")
        if stage != self._phase:
            self.close()
            self._phase, self._began, self._first = stage, time.monotonic(), done
            self._told = self._began
        share = f" {done}/{total}{self._left(done, total)}" if total > 1 else ""
        if self._live:
            self._rewrite(f"  {phase}{share} ...")
        elif share and not detail and done < total and time.monotonic() - self._told >= REPORTED:
            self._told = time.monotonic()
            sys.stderr.write(f"  {phase}{share}\n")
            sys.stderr.flush()
        if total and done >= total and not detail:
            self.close()

    def _left(self, done: int, total: int) -> str:
        """How long the rest of the stage takes, at the pace of what was done of it."""
        spent, steps = time.monotonic() - self._began, done - self._first
        if steps <= 0 or spent < SURE:
            return ""
        return f", {_duration(spent / steps * (total - done))} left"

    def close(self) -> None:
        """End the current phase with its time."""
        if not self._phase:
            return
        line = f"  {self._phase}  {time.monotonic() - self._began:.1f} s"
        if self._live:
            self._rewrite(line)
        else:
            sys.stderr.write(line)
        sys.stderr.write("\n")
        self._phase, self._width = "", 0

    def _rewrite(self, line: str) -> None:
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)


def _duration(seconds: float) -> str:
    """`42 s`, `7 min`, `3 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
