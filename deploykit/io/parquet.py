"""Parquet through pyarrow, which is optional: images that come in such a file, and rows that go into one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from deploykit.errors import BackendMissing, UntrustedArtifact, UsageError, one_line

FIX = 'pip install "deploykit[parquet]"'
CONTENT_COLUMNS, PATH_COLUMNS = ("image", "bytes", "content"), ("path", "image", "file")
READ_AT_ONCE = 32  # image files in memory
GROUP_ROWS = 65_536  # of a file that is written: the same whatever the number of runs behind it
Row = tuple[str | int | float | None, ...]


def require_pyarrow(path: Path) -> None:
    """Raises BackendMissing where the library for a Parquet file is not installed. Imports nothing."""
    if find_spec("pyarrow") is None:
        raise BackendMissing(f"pyarrow, which {path} requires, is not installed", hint=FIX)


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """The column of a Parquet file that has its images: their `content` as bytes, or their paths."""

    path: Path
    name: str
    content: bool
    rows: int

    def paths(self) -> list[str | None]:
        """All of a column of paths."""
        table = _opened(self.path).read(columns=[self.name])
        return [None if value is None else str(value) for value in table.column(0).to_pylist()]

    def contents(self, start: int, stop: int) -> Iterator[bytes | None]:
        """Rows `start` to `stop`, streamed; row groups before and behind them are not read."""
        file = _opened(self.path)
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if first < stop and first + rows > start:
                for index, value in enumerate(self._of_group(file, group), first):
                    if start <= index < stop:
                        yield value
            first += rows

    def _of_group(self, file: Any, group: int) -> Iterator[bytes | None]:
        try:
            for batch in file.iter_batches(batch_size=READ_AT_ONCE, row_groups=[group], columns=[self.name]):
                for value in batch.column(0).to_pylist():
                    yield value.get("bytes") if isinstance(value, dict) else value
        except Exception as error:  # pyarrow's classes for damaged files are many
            raise UntrustedArtifact(f"cannot read {self.path}: {one_line(error)}") from error


def image_column(path: Path) -> ImageColumn:
    """The images of a Parquet file: bytes in `image`, `bytes` or `content`, or paths in `path`, `image` or `file`.

    Bytes may lie in a struct with a field `bytes`, as Hugging Face's data sets have them. Raises BackendMissing without
    pyarrow, UsageError where there is no such file or column, UntrustedArtifact for what is no Parquet file.
    """
    file = _opened(path)
    import pyarrow.types as kinds

    schema, rows = file.schema_arrow, file.metadata.num_rows
    for name in CONTENT_COLUMNS:
        if name in schema.names:
            kind = schema.field(name).type
            fields = {kind.field(index).name for index in range(kind.num_fields)} if kinds.is_struct(kind) else set()
            if kinds.is_binary(kind) or kinds.is_large_binary(kind) or "bytes" in fields:
                return ImageColumn(path, name, True, rows)
    for name in PATH_COLUMNS:
        if name in schema.names and (
            kinds.is_string(schema.field(name).type) or kinds.is_large_string(schema.field(name).type)
        ):
            return ImageColumn(path, name, False, rows)
    raise UsageError(
        f"{path} has no column of images; it has {', '.join(schema.names) or 'none'}",
        hint="name one `image` (the files' bytes) or `path`",
    )


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a file with these columns and no others. Raises UsageError for other ones, and as `image_column`."""
    file = _opened(path)
    if list(file.schema_arrow.names) != list(columns):
        raise UsageError(
            f"{path} has other columns: {', '.join(file.schema_arrow.names) or 'none'}", hint="give another path"
        )
    for batch in file.iter_batches(batch_size=GROUP_ROWS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def write_rows(path: Path, columns: Mapping[str, type], rows: Iterable[Row]) -> None:
    """A file of these columns, of text, whole numbers (32 bits) and numbers (64 bits). Raises OSError."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    types = {str: arrow.string(), int: arrow.int32(), float: arrow.float64()}
    schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
    left = iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(left, GROUP_ROWS)):
            cells = [
                arrow.array(column, kind) for column, kind in zip(zip(*group, strict=True), schema.types, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(cells, schema=schema), row_group_size=GROUP_ROWS)


def _opened(path: Path) -> Any:
    require_pyarrow(path)
    import pyarrow.parquet as parquet

    if not path.is_file():
        raise UsageError(f"there is no Parquet file {path}", hint="check the path")
    try:
        return parquet.ParquetFile(path)
    except Exception as error:  # pyarrow's classes for damaged files are many
        raise UntrustedArtifact(f"cannot read {path}: {one_line(error)}") from error
