"""Rows in a file that grows and can be gone on with: JSON lines, CSV or Parquet.

A row is one line, written whole and in order, so whatever ends a run leaves whole rows and perhaps a part of one, which
the next run cuts off. Parquet has no append: its rows are collected as JSON lines in a hidden file beside it
(`.NAME.rows`) and written at the end, under a temporary name that then replaces the file. A file is locked while it is
written.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from deploykit.errors import UsageError
from deploykit.io.files import require_writable
from deploykit.io.parquet import GROUP_ROWS, Row, read_rows, require_pyarrow, write_rows

Columns = Mapping[str, type]  # name -> str, int or float
ANOTHER = "give another path, or remove the file"
GO_ON = "free some room and run it again: it goes on behind the last whole row"


class RowFile(Protocol):
    """An open file of rows."""

    def held(self) -> Iterator[Row]:
        """The whole rows that are there, from the first. Raises UsageError for what holds anything else."""
        ...

    def keep(self, count: int) -> None:
        """Cut off what follows the first `count` rows of those that `held` gave; `append` goes on behind them."""
        ...

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows; they stay, whatever ends the process. Raises UsageError where there is no room."""
        ...

    def finish(self) -> None:
        """All rows are there. Raises UsageError."""
        ...

    def close(self) -> None:
        """Let go of the file; what is unfinished can be gone on with."""
        ...


def require_row_file(path: Path) -> Path:
    """The path, if rows can be written there. Raises UsageError; BackendMissing for Parquet without pyarrow."""
    suffix = path.suffix.lower()
    if suffix not in (".parquet", *FORMS):
        raise UsageError(f"{path} is of no known kind", hint=f"end the name in .parquet, {', '.join(FORMS)}")
    if suffix == ".parquet":
        require_pyarrow(path)
    require_writable(path)
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"cannot write {path}: it is read-only", hint=ANOTHER)
    return path


@contextmanager
def open_rows(path: Path, columns: Columns) -> Iterator[RowFile]:
    """The file of rows at `path`, which is made or gone on with.

    Raises as `require_row_file`, and UsageError while another process has it.
    """
    require_row_file(path)
    with ExitStack() as stack:
        stack.enter_context(_locked(path))
        parquet = path.suffix.lower() == ".parquet"
        file: RowFile = ParquetRows(path, columns) if parquet else TextRows(path, columns, FORMS[path.suffix.lower()]())
        stack.callback(file.close)
        yield file


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Raises UsageError where another process has it. The lock dies with its process."""
    from filelock import FileLock, Timeout

    place = path.with_name(f".{path.name}.lock")
    lock = FileLock(place, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"another process is writing {path}", hint="wait for it, or give another path") from None
    try:
        yield
    finally:
        with suppress(OSError):
            place.unlink()
        lock.release()


class JsonLines:
    """An object a line, its keys the columns."""

    def start(self, columns: Columns) -> bytes:  # noqa: ARG002 - there is no line of names
        """What a file begins with before its first row."""
        return b""

    def opening(self, columns: Columns) -> bytes:
        """What the first line of a file begins with."""
        return f'{{"{next(iter(columns))}": '.encode()

    def line(self, columns: Columns, row: Row) -> bytes:
        """One row."""
        return json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False).encode() + b"\n"

    def row(self, columns: Columns, line: bytes) -> Row:
        """The row in a line. Raises ValueError."""
        found = json.loads(line)
        if not isinstance(found, dict) or list(found) != list(columns):
            has = ", ".join(found) if isinstance(found, dict) else type(found).__name__
            raise ValueError(f"its columns are {has}, not {', '.join(columns)}")
        return tuple(found.values())


class Csv:
    """A line of names, then a line for each row; an empty cell is none."""

    def start(self, columns: Columns) -> bytes:
        return self.line(columns, tuple(columns))

    def opening(self, columns: Columns) -> bytes:
        return self.start(columns)

    def line(self, columns: Columns, row: Row) -> bytes:  # noqa: ARG002 - it is as long as every row
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(["" if cell is None else cell for cell in row])
        return text.getvalue().encode()

    def row(self, columns: Columns, line: bytes) -> Row:
        (found,) = csv.reader([line.decode()], strict=True)
        if len(found) != len(columns):
            raise ValueError(f"it has {len(found)} cells, not {len(columns)}")
        return tuple(cell or None for cell in found)


FORMS: Mapping[str, type[JsonLines] | type[Csv]] = {".jsonl": JsonLines, ".csv": Csv}


class TextRows:
    """Rows as lines of text."""

    def __init__(self, path: Path, columns: Columns, form: JsonLines | Csv) -> None:
        self._path, self._columns, self._form = path, columns, form
        self._file: Any = None
        self._ends = array("Q")  # where each row ends, bytes

    def held(self) -> Iterator[Row]:
        self._ends = array("Q")
        start = self._form.start(self._columns)
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            first = file.readline() if start else b""
            if first != start:
                self._require_part(first)
                return
            end = len(start)
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    if number == 1:
                        self._require_part(line)
                    return
                end += len(line)
                row = self._row(line, number)
                self._ends.append(end)
                yield row

    def _row(self, line: bytes, number: int) -> Row:
        try:
            return self._form.row(self._columns, line)
        except (ValueError, csv.Error) as error:
            raise UsageError(
                f"row {number} of {self._path} is not one of these predictions: {error}", hint=ANOTHER
            ) from None

    def _require_part(self, line: bytes) -> None:
        """A first line that was cut off while it was written may be lost. Raises UsageError for any other one."""
        opening = self._form.opening(self._columns)
        cut = not line.endswith(b"\n") and not _is_json(line)
        if not (cut and (opening.startswith(line) or line.startswith(opening))) and line != b"":
            names = line.decode(errors="replace").strip()[:200]
            raise UsageError(f"{self._path} has other columns: it begins with {names!r}", hint=ANOTHER)

    def keep(self, count: int) -> None:
        start = self._form.start(self._columns)
        end = self._ends[count - 1] if count else len(start)
        with self._writing():
            if self._file is None:
                self._path.touch()
                self._file = self._path.open("r+b", buffering=0)
            if not count:
                self._file.write(start)
            self._file.truncate(end)
            self._file.seek(end)

    def append(self, rows: Iterable[Row]) -> None:
        content = b"".join(self._form.line(self._columns, row) for row in rows)
        with self._writing():
            while content:
                content = content[self._file.write(content) :]

    def finish(self) -> None:
        if self._file is None and not self._path.exists():
            self.keep(0)
        if self._file is not None:
            with self._writing():
                os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"cannot write {self._path}: {error.strerror}", hint=GO_ON) from error


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


class ParquetRows:
    """Rows that become Parquet at the end, and are JSON lines in a file beside it until then."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._path, self._columns = path, columns
        self._lines = path.with_name(f".{path.name}.rows")
        self._rows = TextRows(self._lines, columns, JsonLines())

    def held(self) -> Iterator[Row]:
        if self._lines.exists():
            yield from self._rows.held()
        elif self._path.exists():
            yield from read_rows(self._path, tuple(self._columns))

    def keep(self, count: int) -> None:
        if not self._lines.exists() and self._path.exists():
            self._unpack()
            for _ in self._rows.held():  # where each row ends
                pass
        self._rows.keep(count)

    def _unpack(self) -> None:
        """The rows of the finished file as lines again; whole, or not there."""
        draft = self._lines.with_name(f"{self._lines.name}.{secrets.token_hex(8)}")
        copy = TextRows(draft, self._columns, JsonLines())
        try:
            copy.keep(0)
            rows = read_rows(self._path, tuple(self._columns))
            while group := list(islice(rows, GROUP_ROWS)):
                copy.append(group)
            copy.finish()
            draft.replace(self._lines)
        finally:
            copy.close()
            draft.unlink(missing_ok=True)

    def append(self, rows: Iterable[Row]) -> None:
        self._rows.append(rows)

    def finish(self) -> None:
        if self._path.exists() and not self._lines.exists():
            return
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            write_rows(draft, self._columns, self._rows.held())
            draft.replace(self._path)
        except OSError as error:
            raise UsageError(f"cannot write {self._path}: {error.strerror or error}", hint=GO_ON) from error
        finally:
            draft.unlink(missing_ok=True)
        self._rows.close()
        self._lines.unlink(missing_ok=True)

    def close(self) -> None:
        self._rows.close()
