"""Files that a user asked for, written whole or not at all."""

import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deploykit.errors import UsageError


def copy_artifact(source: Path, target: Path) -> Path:
    """Copy a stored file to where the user wants it, whole or not at all. Raises UsageError."""
    return _written(target / source.name if target.is_dir() else target, lambda draft: shutil.copyfile(source, draft))


def write_text(target: Path, text: str) -> Path:
    """A file of UTF-8 text, whole or not at all. Raises UsageError."""
    return _written(target, lambda draft: draft.write_text(text, encoding="utf-8"))


def require_writable(target: Path) -> Path:
    """The path, if a file could be written there now. Raises UsageError."""
    if not target.absolute().parent.is_dir():
        raise UsageError(
            f"cannot write {target}: {target.parent} is not a folder", hint="create it, or give another path"
        )
    draft = _draft(target)
    try:
        draft.touch(exist_ok=False)
        draft.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}", hint="give another path") from error
    return target


def _draft(target: Path) -> Path:
    """A file beside the target that takes its place when it is whole. A folder or a device is not replaced."""
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "not a regular file"
        raise UsageError(f"cannot write {target}: it is {what}", hint="give the path of a file")
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}")


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
