"""Results as files: read back, kept in a folder under a name of network, date and machine, and the newest of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploykit.bench.environment import Machine
from deploykit.errors import UsageError
from deploykit.io.files import write_new
from deploykit.io.loader import read_text
from deploykit.results.accuracy import AccuracyReport
from deploykit.results.comparison import Report
from deploykit.results.saved import Results, kind_of, read_results

NAME = re.compile(
    r"(?P<of>.+-(?:bench|verify|evaluate|forward|forward-backward))-(?P<date>\d{8}T\d{6}Z)-(?P<machine>[0-9a-f]{8})"
    r"(?:-(?P<number>\d+))?\.json"
)
DIGITS = 8


@dataclass(frozen=True, slots=True)
class Saved:
    """A file of `save`: what it is `of` (network and command), when and on which machine it was saved."""

    path: Path
    of: str
    date: str
    machine: str
    number: int

    @property
    def order(self) -> tuple[str, int]:
        """By which the files of a folder come one after the other."""
        return self.date, self.number


def load(path: Path) -> Results:
    """The results in a file. Raises UsageError where there is none, UntrustedArtifact as `read_results`."""
    return read_results(read_text(path), what=f"result {path}")


def save(report: Report | AccuracyReport, folder: Path) -> Path:
    """Write the report into `folder`, which is made, under a name that was free. Raises UsageError."""
    modes = [row.mode for row in report.rows if row.mode] if isinstance(report, Report) else []
    model = re.sub(r"[^A-Za-z0-9_.]+", "-", Path(report.conditions.model).name).strip("-.") or "network"
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{model}-{modes[0] if modes else kind_of(report)}-{stamp}-{machine_digest(report.environment)}"
    return write_new(folder, name, ".json", report.to_json() + "\n")


def machine_digest(machine: Machine) -> str:
    """The same for the same CPU, cores, instruction set and GPU."""
    gpu = [machine.gpu.name, str(machine.gpu.capability), machine.gpu.count] if machine.gpu else None
    facts = [machine.cpu.model, machine.cpu.cores, machine.cpu.flags, gpu]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:DIGITS]


def latest(folder: Path, back: int) -> tuple[Path, Path]:
    """The newest file of `save` in `folder`, behind the one `back` places before it of its kind.

    Of one kind are results of one network, one command and one machine. Raises UsageError where there are too few.
    """
    files = sorted(_saved(folder), key=lambda each: each.order)
    if not files:
        raise UsageError(f"{folder} has no saved result", hint="save some with bench --save")
    newest = files[-1]
    alike = [each.path for each in files if (each.of, each.machine) == (newest.of, newest.machine)]
    if len(alike) <= back:
        have = f"{len(alike)} of {newest.of} on machine {newest.machine}"
        raise UsageError(f"--last {back} requires {back + 1} results; {folder} has {have}", hint="save more")
    return alike[-1 - back], alike[-1]


def _saved(folder: Path) -> Iterator[Saved]:
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise UsageError(f"cannot read the folder {folder}: {error.strerror}", hint="name it with --results") from error
    for path in paths:
        if found := NAME.fullmatch(path.name):
            yield Saved(path, found["of"], found["date"], found["machine"], int(found["number"] or 1))
