"""Opening files that somebody else named: regular ones alone, and never more of them than they are allowed to have.

A path may lead to a pipe that nobody writes into, to a device without an end, or to a file that grows while it is read.
So a file is opened without waiting, judged by its descriptor and not by its name, and read up to the size that it had
then. A path that cannot be opened, or leads to anything but a file, is a `UsageError` (exit 2); a file that has more
than its limit an `UntrustedArtifact` (exit 5).
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from deploykit import limits
from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.limits import Limit

FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
CHUNK = 1 << 20  # bytes that are hashed at a time


def open_file(path: Path, kind: str, *, limit: Limit = limits.FILE_BYTES) -> BinaryIO:
    """The regular file at `path`, links followed, open for reading; `kind` names it in an error.

    Raises UsageError where there is none that can be read, UntrustedArtifact where it has more bytes than `limit`.
    """
    try:
        descriptor = os.open(path, FLAGS)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a zero in the name
        raise UsageError(f"there is no {kind} {path}", hint="check the path") from error
    except OSError as error:
        require_file(path, kind, limit=limit)  # says what it is where it is no file: a socket, a device
        raise UsageError(f"cannot read {kind} {path}: {error.strerror}", hint="check the path") from error
    try:
        _judge(os.fstat(descriptor), path, kind, limit)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def require_file(path: Path, kind: str, *, limit: Limit = limits.FILE_BYTES) -> None:
    """Raises as `open_file`, which is the better one: for libraries that open files only by their names."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise UsageError(f"there is no {kind} {path}", hint="check the path") from error
    except OSError as error:
        raise UsageError(f"cannot read {kind} {path}: {error.strerror}", hint="check the path") from error
    _judge(found, path, kind, limit)


def read_file(path: Path, kind: str, *, limit: Limit = limits.FILE_BYTES) -> bytes:
    """All of the file. Raises as `open_file`, and UntrustedArtifact where it grows or shrinks while it is read."""
    with open_file(path, kind, limit=limit) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(size + 1)
        except OSError as error:
            raise UsageError(f"cannot read {kind} {path}: {error.strerror}", hint="check the disk") from error
    if len(content) != size:
        raise _changed(path, kind)
    return content


def digest_file(path: Path, kind: str, *, limit: Limit = limits.FILE_BYTES) -> str:
    """SHA-256 (hex) of the file's content. Raises as `read_file`."""
    digest = hashlib.sha256()
    with open_file(path, kind, limit=limit) as file:
        left = os.fstat(file.fileno()).st_size
        try:
            while part := file.read(min(CHUNK, left + 1)):
                digest.update(part)
                left -= len(part)
                if left < 0:
                    break
        except OSError as error:
            raise UsageError(f"cannot read {kind} {path}: {error.strerror}", hint="check the disk") from error
    if left:
        raise _changed(path, kind)
    return digest.hexdigest()


def _judge(found: os.stat_result, path: Path, kind: str, limit: Limit) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{kind} {path} is a folder", hint="give a file")
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{kind} {path} is not a file but {_kind(found.st_mode)}", hint="copy its content into a file")
    if found.st_size > limit.value:
        raise UntrustedArtifact(
            f"{kind} {path} has {found.st_size} bytes, more than the {limit.value} of {limit.variable}", hint=limit.hint
        )


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _changed(path: Path, kind: str) -> UntrustedArtifact:
    return UntrustedArtifact(
        f"{kind} {path} changed while it was read, or has no end", hint="copy it, and give the copy"
    )
