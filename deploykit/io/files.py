"""Files that a user asked for, written whole or not at all."""

import os
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from deploykit.errors import UsageError


def copy_artifact(source: Path, target: Path) -> Path:
    """Copy a stored file to where the user wants it, whole or not at all. Raises UsageError."""
    return _written(
        target / source.name if stat.S_ISDIR(_mode(target)) else target, lambda draft: shutil.copyfile(source, draft)
    )


def write_text(target: Path, text: str) -> Path:
    """A file of UTF-8 text, whole or not at all. Raises UsageError."""
    return _written(target, lambda draft: draft.write_text(text, encoding="utf-8"))


def write_new(folder: Path, stem: str, suffix: str, text: str) -> Path:
    """A file of UTF-8 text that was not there: whole or not at all, and never in place of another.

    It is called STEM-2, STEM-3, ... where the name is taken. The folder is made. Raises UsageError.
    """
    draft = folder / f".{stem}{suffix}.{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.touch(exist_ok=False)
        draft.write_text(text, encoding="utf-8")
        names = (folder / f"{stem}{f'-{number}' if number > 1 else ''}{suffix}" for number in count(1))
        return next(target for target in names if _took(draft, target))
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}", hint="give another folder") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def require_folder(folder: Path) -> None:
    """Raises UsageError where no file can be written into `folder`, which need not be there yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f"cannot write into {folder}: {there} is not a folder", hint="give another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write into {folder}: {there} is not writable", hint="give another folder")


def _took(draft: Path, target: Path) -> bool:
    """Whether `target` was free, and the draft is it now."""
    try:
        target.hardlink_to(draft)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: the name is taken first
        try:
            target.touch(exist_ok=False)
        except FileExistsError:
            return False
        draft.replace(target)
    return True


def require_writable(target: Path) -> Path:
    """The path, if a file could be written there now. Raises UsageError."""
    if not target.absolute().parent.is_dir():
        raise UsageError(
            f"cannot write {target}: {target.parent} is not a folder", hint="create it, or give another path"
        )
    draft = _draft(target)
    try:
        with suppress(FileNotFoundError):
            target.lstat()  # too long a name
        draft.touch(exist_ok=False)
        draft.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}", hint="give another path") from error
    return target


def _draft(target: Path) -> Path:
    """A file beside the target that takes its place when it is whole. A folder or a device is not replaced."""
    if (mode := _mode(target)) and not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageError(f"cannot write {target}: it is {what}", hint="give the path of a file")
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}")  # a name has 255 bytes at most


def _mode(path: Path) -> int:
    """What is at `path`; 0 where nothing is, or a name is too long, which whatever writes there will say."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _written(target: Path, write: Callable[[Path], object]) -> Path:
    draft = _draft(target)
    try:
        draft.touch(exist_ok=False)  # with the permissions of any new file, unlike tempfile's
        write(draft)
        draft.replace(target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}", hint="give another path") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return target
