"""Whom a store may belong to: it holds native code that will run, so nobody but this user, or root, may write to it."""

import os
import stat
from pathlib import Path

from deploykit.errors import StoreFailed

STORE_VARIABLE = "DEPLOYKIT_STORE"
CHOOSE_ANOTHER = f"choose another store with --store DIR or {STORE_VARIABLE}"
FOLDERS = ("entries", "objects", "locks", "work", "quarantine")
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_folders(root: Path) -> None:
    """Make a store's folders. New ones are this user's alone; from those that lay there others lose write permission.

    Raises StoreFailed as `require_ours`, OSError where a folder cannot be made.
    """
    for folder in _folders(root):
        try:
            make_folder(folder)
        except FileNotFoundError as error:  # a file system in which no folder can be made, such as /proc
            raise StoreFailed(f"cannot make the store {folder}: {error.strerror}", hint=CHOOSE_ANOTHER) from error
    require_ours(root)
    for folder in _folders(root):
        found = folder.stat()
        if _others_may_write(root, folder, found):
            folder.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS_WRITE)


def require_ours(root: Path) -> None:
    """Raises StoreFailed for a store that belongs to another user, or to root and others may write to it.

    This user's own folder passes, so that it can be read: others' files in it are not entries, and a build takes
    write permission from others.
    """
    for folder in _folders(root):
        try:
            found = folder.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreFailed(f"cannot use the store {folder}: {error.strerror}", hint=CHOOSE_ANOTHER) from error
        if not stat.S_ISDIR(found.st_mode):
            raise StoreFailed(f"the store {folder} is not a folder", hint=CHOOSE_ANOTHER)
        if fault := owner_fault(found):
            raise StoreFailed(f"the store {folder} {fault}", hint=CHOOSE_ANOTHER)
        if _others_may_write(root, folder, found) and found.st_uid != os.geteuid():
            raise StoreFailed(f"the store {folder} is owned by root and writable by other users", hint=CHOOSE_ANOTHER)


def owner_fault(found: os.stat_result) -> str:
    """What is wrong with the owner of a file or folder, "" where it is this user or root, whom alone one can trust."""
    if os.name == "posix" and found.st_uid not in (os.geteuid(), 0):
        return f"belongs to another user (uid {found.st_uid})"
    return ""


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, for this user alone."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _folders(root: Path) -> tuple[Path, ...]:
    return (root, *(root / name for name in FOLDERS))


def _others_may_write(root: Path, folder: Path, found: os.stat_result) -> bool:
    """Whether users besides the owner may replace what lies in `folder`; the root may be sticky, as /tmp is."""
    shared = folder == root and found.st_mode & stat.S_ISVTX
    return os.name == "posix" and bool(found.st_mode & OTHERS_WRITE) and not shared
