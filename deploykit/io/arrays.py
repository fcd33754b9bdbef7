"""Arrays of numbers in files: NumPy's archives (.npz) and MNIST's format (idx).

A few kilobytes can be packed so that they unfold into gigabytes, so what a file claims is known, and judged, before
anything of it is unpacked: `npz_headers` gives shapes and types, and a caller reads only arrays that it can use.
"""

import gzip
import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from deploykit import limits
from deploykit.errors import UntrustedArtifact, one_line
from deploykit.io.door import open_file

if TYPE_CHECKING:
    import numpy as np

IDX_BYTES = 0x08  # idx's code for unsigned bytes
SMALL = 64_000_000  # bytes that anything may unpack to
LONGEST_HEADER = 10_000  # bytes of an array's header, NumPy's own limit
ENTRY_BYTES = 128  # of an archive's directory, for each member: its name and 46 more
END, END_BYTES = b"PK\x05\x06", 22
LOCATOR, LOCATOR_BYTES = b"PK\x06\x07", 20
LARGE_END, LARGE_END_BYTES = b"PK\x06\x06", 56
LONGEST_COMMENT = 65_535


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What an array will be."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)


def npz_headers(path: Path) -> dict[str, ArrayHeader]:
    """Types and shapes of the arrays of a NumPy archive by name: plain numbers, never a pickle.

    Raises UsageError where there is no such file, and UntrustedArtifact where it is no such archive, holds objects, is
    damaged, or claims more than `limits.ARRAY_BYTES`, other sizes than it has, or far more than could be packed in it.
    """
    with open_file(path, "archive") as stream:
        return _headers(path, stream)


def read_npz(path: Path, names: Collection[str] | None = None) -> "dict[str, np.ndarray[Any, Any]]":
    """The arrays of a NumPy archive by name, those of `names` that it has. Raises as `npz_headers`."""
    import numpy as np

    with open_file(path, "archive") as stream:
        _headers(path, stream)
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as found:
                return {name: found[name] for name in found.files if names is None or name in names}
        except Exception as error:  # hostile bytes make the reader raise anything
            raise UntrustedArtifact(f"cannot read {path}: {one_line(error)}") from error


def require_directory(path: Path, stream: BinaryIO) -> None:
    """Raises UntrustedArtifact for a zip archive with more members than `limits.MEMBERS` could be listed in.

    Python reads the whole directory into memory before it tells how long it is.
    """
    size = os.fstat(stream.fileno()).st_size
    most = limits.MEMBERS.value
    if (found := _directory_bytes(stream, size)) > most * ENTRY_BYTES:
        raise UntrustedArtifact(
            f"{path} lists its members in {found} bytes, too much for {most} of them", hint=limits.MEMBERS.hint
        )


def require_packed(path: Path, unpacked: int, packed: int) -> None:
    """Raises UntrustedArtifact where `packed` bytes claim to unfold into more than any real data is packed to."""
    if unpacked > limits.ARRAY_BYTES.value:
        raise UntrustedArtifact(
            f"{path} unpacks to {unpacked} bytes, more than {limits.ARRAY_BYTES.value}", hint=limits.ARRAY_BYTES.hint
        )
    if unpacked > max(SMALL, packed * limits.UNPACKING.value):
        raise UntrustedArtifact(
            f"{path} unpacks to {unpacked} bytes from {packed}, which no real data does", hint=limits.UNPACKING.hint
        )


def read_idx(path: Path, axes: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """An array of bytes with `axes` axes in the MNIST format (idx), plain or gzipped (`.gz`).

    Raises UsageError where there is no such file, and UntrustedArtifact where it is none, has another size than its
    header says, or more rows than `limits.ROWS`.
    """
    import numpy as np

    with open_file(path, "idx file") as file:
        packed = os.fstat(file.fileno()).st_size
        try:
            with gzip.open(file) if path.suffix == ".gz" else file as stream:
                header = stream.read(4 + 4 * axes)
                if header[:4] != bytes((0, 0, IDX_BYTES, axes)) or len(header) != 4 + 4 * axes:
                    raise UntrustedArtifact(f"{path} is not an idx file of bytes with {axes} axes")
                shape = struct.unpack(f">{axes}I", header[4:])
                size = math.prod(shape)
                require_rows(path, shape[0])
                require_packed(path, size, packed)
                content = stream.read(size + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UntrustedArtifact(f"cannot read {path}: {one_line(error)}") from error
    if len(content) != size:
        raise UntrustedArtifact(f"{path} claims {'x'.join(map(str, shape))} bytes and has another size")
    return np.frombuffer(content, np.uint8).reshape(shape)


def require_rows(path: Path, rows: int) -> None:
    """Raises UntrustedArtifact for more images than `limits.ROWS`."""
    if rows > limits.ROWS.value:
        raise UntrustedArtifact(f"{path} has {rows} images, more than {limits.ROWS.value}", hint=limits.ROWS.hint)


def _headers(path: Path, stream: BinaryIO) -> dict[str, ArrayHeader]:
    require_directory(path, stream)
    if not zipfile.is_zipfile(stream):
        raise UntrustedArtifact(f"{path} is not an .npz archive", hint="write it with numpy.savez")
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            require_packed(path, sum(each.file_size for each in members), os.fstat(stream.fileno()).st_size)
            return {each.filename.removesuffix(".npy"): _header(path, archive, each) for each in members}
    except UntrustedArtifact:
        raise
    except Exception as error:  # hostile bytes make the reader raise anything
        raise UntrustedArtifact(f"cannot read {path}: {one_line(error)}") from error


def _header(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> ArrayHeader:
    """Of an array whose header claims the size that it has, and that holds no Python objects."""
    import numpy as np
    from numpy.lib import format as npy

    if not member.filename.endswith(".npy"):
        raise UntrustedArtifact(f"{path} holds {member.filename!r}, which is not an array")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        read, wide = {(1, 0): (npy.read_array_header_1_0, 2), (2, 0): (npy.read_array_header_2_0, 4)}.get(
            version, (None, 0)
        )
        if read is None:
            raise UntrustedArtifact(f"{path}: {member.filename} is of an unknown version of NumPy's format")
        length = stream.read(wide)
        if int.from_bytes(length, "little") > LONGEST_HEADER:  # which NumPy would read before it refuses it
            raise UntrustedArtifact(f"{path}: {member.filename} has a header longer than {LONGEST_HEADER} bytes")
        shape, _, dtype = read(io.BytesIO(length + stream.read(int.from_bytes(length, "little"))))
        if dtype.hasobject:
            raise UntrustedArtifact(f"{path}: {member.filename} holds Python objects, so it is refused")
        if math.prod(shape) * np.dtype(dtype).itemsize != member.file_size - stream.tell():
            raise UntrustedArtifact(f"{path}: {member.filename} claims {dtype}{list(shape)} and has another size")
    return ArrayHeader(np.dtype(dtype), tuple(shape))


def _directory_bytes(stream: BinaryIO, size: int) -> int:
    """The length of an archive's directory, as `zipfile` finds it; 0 where there is none."""
    begin = max(0, size - END_BYTES - LONGEST_COMMENT - LOCATOR_BYTES - LARGE_END_BYTES)
    stream.seek(begin)
    tail = stream.read()
    stream.seek(0)
    place = len(tail) - END_BYTES
    if place < 0 or tail[place : place + 4] != END or tail[-2:] != b"\0\0":
        place = tail.rfind(END)
    if place < 0:
        return 0
    large, locator = place - LOCATOR_BYTES - LARGE_END_BYTES, place - LOCATOR_BYTES
    if large >= 0 and tail[locator : locator + 4] == LOCATOR and tail[large : large + 4] == LARGE_END:
        return int.from_bytes(tail[large + 40 : large + 48], "little")
    return int.from_bytes(tail[place + 12 : place + 16], "little")
