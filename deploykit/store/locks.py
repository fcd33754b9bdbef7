"""The locks of a store: one for each key, and one for whoever adds objects or takes some away.

The system drops a lock with the process that holds it; the file itself stays. A key's lock is taken before that of
the objects, or not waited for, so that no two processes wait for each other.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from deploykit.errors import StoreFailed
from deploykit.store.files import Unfit, require_regular

OBJECTS = "objects"

log = logging.getLogger(__name__)


class Locks:
    """Those in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def held(self, kind: str, key: str) -> Iterator[None]:
        """Wait for the lock of a key, and hold it."""
        lock = self._file(f"{kind}-{key}")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.info("waiting for another process that builds %s %s", kind, key[:12])
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def if_free(self, name: str) -> Iterator[bool]:
        """Hold the lock of a key, named `kind-key`, unless another process does: whether it is held."""
        lock = self._file(name)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @contextmanager
    def objects(self) -> Iterator[None]:
        """Nobody else adds an object to the store, or takes one away, meanwhile."""
        with self._file(OBJECTS).acquire():
            yield

    def _file(self, name: str) -> FileLock:
        path = self._folder / name
        with suppress(FileNotFoundError):
            try:
                require_regular(path)
            except Unfit as error:
                raise StoreFailed(f"the lock {path} {error}", hint="delete it") from error
        return FileLock(path, mode=0o600)
