"""Progress on stderr: one line that is rewritten on a terminal, one line per finished stage elsewhere."""

import sys
import time


class StageProgress:
    """Call it with (phase, done, total). A phase ends when done equals total, or when another one begins.

    `"stage: detail"` is a step of `stage`: on a terminal it is shown while it lasts, elsewhere not at all.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._phase = ""
        self._began = 0.0
        self._width = 0

    def __call__(self, phase: str, done: int, total: int) -> None:
        stage, _, detail = phase.partition(": ")
        if stage != self._phase:
            self.close()
            self._phase, self._began = stage, time.monotonic()
        if self._live:
            share = f" {done}/{total}" if total > 1 else ""
            self._rewrite(f"  {phase}{share} ...")
        if total and done >= total and not detail:
            self.close()

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
