"""Files of a store as they lie on the disk: only regular ones of ours are opened, and each is hashed once a process.

A link is not followed, and what would block or act when it is opened (a FIFO, a device) is told by its `lstat` and
never opened.
"""

import hashlib
import os
import shutil
import stat
import time
from io import BufferedReader
from pathlib import Path

from deploykit.store.ownership import make_folder, owner_fault

# An open that neither follows a link nor waits for the other end of a FIFO, should one take the file's place meanwhile.
SAFELY = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

CLOCK_STEP = 100_000_000  # ns; ten times the longest of Linux
Identity = tuple[int, int, int, int, int]

_digests: dict[Path, tuple[Identity, str]] = {}  # of this process, which has read every byte of them


class Unfit(Exception):
    """What is wrong with a file of the store, to be read behind its name."""


def require_regular(path: Path) -> os.stat_result:
    """The file's `lstat`. Raises Unfit for what is no regular file of this user or root, FileNotFoundError."""
    found = os.lstat(path)
    if os.path.islink(os.path.dirname(path)):  # noqa: PTH114, PTH120 - a listing asks it of a thousand files
        raise Unfit("lies behind a link")
    if fault := irregular(found):
        raise Unfit(fault)
    return found


def irregular(found: os.stat_result) -> str:
    """Why what was found is no regular file of this user or root, "" where it is one."""
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    return owner_fault(found) if stat.S_ISREG(found.st_mode) else "is not a regular file"


def open_regular(path: Path) -> BufferedReader:
    """The file, open for reading. Raises as `require_regular`, and OSError."""
    require_regular(path)
    file = os.fdopen(os.open(path, SAFELY), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Unfit("is not a regular file")
    return file


def read_regular(path: Path, *, most: int) -> bytes:
    """The content of a file of at most `most` bytes. Raises as `open_regular`, and Unfit for a larger one."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Unfit(f"has more than {most} bytes")
    return content


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file, computed once a process while its `identity` stays. Raises as `open_regular`."""
    known = _digests.get(path)
    if known is not None and known[0] == identity(require_regular(path)):
        return known[1]
    with open_regular(path) as file:
        seen = identity(os.fstat(file.fileno()))
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if is_settled(seen):
        _digests[path] = seen, digest
    return digest


def forget_digests() -> None:
    """Let every file be hashed anew."""
    _digests.clear()


def identity(found: os.stat_result) -> Identity:
    """What changes when a file is written to or replaced: a writer cannot set the change time back."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_settled(seen: Identity) -> bool:
    """Whether a later change is sure to show in the file's times: file systems count them in steps."""
    return time.time_ns() - seen[-1] > CLOCK_STEP


def move_durably(source: Path, target: Path) -> None:
    """Rename within the store so that after a power cut the target is whole or absent."""
    with source.open("rb+") as file:
        os.fsync(file.fileno())
    source.replace(target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def move_aside(path: Path, folder: Path, when: str) -> Path | None:
    """Move whatever lies at `path`, a link itself and not what it names, into `folder`; None where nothing does.

    What lies there already stays: a clock may tell the same time twice.
    """
    make_folder(folder)
    number = 0
    while os.path.lexists(target := folder / (f"{when}-{number}-{path.name}" if number else f"{when}-{path.name}")):
        number += 1
    try:
        path.rename(target)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return target


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder, and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, or anything else; a link itself, not what it names."""
    if is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
