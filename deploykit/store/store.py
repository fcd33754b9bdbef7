"""The artifact store: what was built once, under a key of everything that could have made it come out differently.

    engines/
      entries/<kind>/<key>.json       the manifest: what was asked, by which versions, which files, measured facts
      entries/<kind>/<key>.verified   the file stamps of the last full checksum
      objects/<2 hex>/<sha256><suffix> the files, named by their content
      locks/  work/  quarantine/      one lock per key; unfinished work; what failed its checksum

A build runs under its key's lock in a work folder of its own. Its files are flushed and renamed into place, and the
manifest comes last, so an entry either is whole or is not there. A lock dies with its process; work left by a process
that was killed is swept by the next build. The key and a hit need no framework, so a hit is quick.
"""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from deploykit.codec import decode, encode
from deploykit.errors import StoreFailed
from deploykit.store.key import file_digest, plain
from deploykit.store.ownership import (
    CHOOSE_ANOTHER,
    STORE_VARIABLE,
    make_folder,
    make_folders,
    owner_fault,
    require_ours,
)

SCHEMA_VERSION = 1
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_WRITING = {errno.EROFS, errno.EACCES, errno.EPERM}

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an entry: where it lies, its SHA-256 (hex) and its size in bytes."""

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished build. `request` is what was asked, `facts` what its maker returned; both are JSON values."""

    kind: str
    key: str
    request: Mapping[str, Any]
    versions: Mapping[str, str]
    created: str
    files: Mapping[str, StoredFile]
    facts: Mapping[str, Any]

    def facts_as(self, wanted: type[T]) -> T:
        """The facts as the value that its maker returned. Raises UntrustedArtifact where they are not one."""
        what = f"manifest of {self.kind} {self.key[:12]} in the store"
        return decode(wanted, self.facts, what=what, hint="delete it, and it is made again")

    def path(self, name: str) -> Path:
        """The path of the file that its maker called `name`; its suffix is that of `name`."""
        if name not in self.files:
            raise StoreFailed(
                f"{self.kind} {self.key[:12]} has no file {name!r}", hint=f"it has {', '.join(self.files)}"
            )
        return self.files[name].path


class Writer:
    """What a maker writes its files with; they become an entry when it returns, and vanish when it raises."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: list[str] = []

    def path(self, name: str) -> Path:
        """A path to write `name` at; the maker must have written it by the time it returns."""
        if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
            raise ValueError(f"{name!r} is not a plain file name")
        if name not in self.names:
            self.names.append(name)
        return self._folder / name

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.path(name)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


class Store:
    """Made by `Store.open`; the folders come into being with the first build."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, path: Path | None = None) -> "Store":
        """The store at `path`, else at $DEPLOYKIT_STORE, else at `engines` in the current folder.

        Raises StoreFailed when that is no folder, another user's, or root's and open to others for writing.
        """
        store = cls((path or Path(os.environ.get(STORE_VARIABLE) or "engines")).absolute())
        require_ours(store.root)
        return store

    def find(self, kind: str, key: str) -> Entry | None:
        """The entry, its files checked against their checksums; None where there is none or it is corrupt.

        A full checksum is skipped while size, times and inode are those of the last one. A corrupt entry goes to
        quarantine/, with a warning in the log.
        """
        entry, fault = self._read(kind, key)
        if fault:
            self._quarantine(kind, key, fault)
        return entry

    def entries(self, kind: str) -> Iterator[Entry]:
        """Every sound entry of `kind`, the latest first."""
        found = [self.find(kind, path.stem) for path in (self.root / "entries" / kind).glob("*.json")]
        yield from sorted(filter(None, found), key=lambda entry: entry.created, reverse=True)

    def holds(self, path: Path) -> bool:
        """Whether `path` lies among this store's objects, or among those that it moved to quarantine."""
        places = (self.root / "objects", self.root / "quarantine")
        return any(path.absolute().is_relative_to(place) for place in places)

    def get_or_make(
        self,
        kind: str,
        key: str,
        make: Callable[[Writer], object],
        *,
        request: Mapping[str, Any],
        versions: Mapping[str, str],
    ) -> tuple[Entry, bool]:
        """The entry, and whether it was there already; otherwise `make` writes its files and returns its facts.

        Of several processes that want the same key one makes it and the others wait for that. Raises StoreFailed
        where the store cannot be written, and whatever `make` raises; nothing is left behind then.
        """
        entry = self.find(kind, key)
        if entry is not None:
            return entry, True
        with self._explained():
            make_folders(self.root)
            self._sweep()
            with self._locked(kind, key), self._work_folder(kind, key) as folder:
                entry, fault = self._read(kind, key)
                if fault:
                    self._move_away(kind, key, fault)
                if entry is not None:
                    return entry, True
                writer = Writer(folder)
                manifest = {
                    "schema_version": SCHEMA_VERSION,
                    "kind": kind,
                    "key": key,
                    "request": plain(request),
                    "versions": dict(versions),
                    "facts": encode(make(writer)),
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "files": {},
                }
                return self._commit(writer, manifest), False

    # Writing

    def _commit(self, writer: Writer, manifest: dict[str, Any]) -> Entry:
        """Move the writer's files, then the manifest, into place; take the files back if that is cut short."""
        target = self._manifest(manifest["kind"], manifest["key"])
        created: list[Path] = []
        try:
            for name in writer.names:
                source = writer.path(name)
                digest, size = file_digest(source), source.stat().st_size
                place = self._object(name, digest)
                make_folder(place.parent)
                if not place.exists():
                    created.append(place)
                _move_durably(source, place)
                manifest["files"][name] = {"sha256": digest, "bytes": size}
            draft = writer.write("manifest.draft", json.dumps(manifest, indent=1))
            make_folder(target.parent)
            _move_durably(draft, target)
        except BaseException:
            for place in created:
                place.unlink(missing_ok=True)
            raise
        entry = self._entry(manifest)  # what has just been hashed need not be hashed by its first reader
        self._write_stamps(entry, {name: _stamp(file.path.stat()) for name, file in entry.files.items()})
        return entry

    @contextlib.contextmanager
    def _work_folder(self, kind: str, key: str) -> Iterator[Path]:
        """The key's own folder; whoever holds its lock owns it, so what lies there already is a dead process's."""
        folder = self.root / "work" / f"{kind}-{key}"
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove the work of builds that nobody is running any more: their lock is free."""
        for folder in (self.root / "work").iterdir():
            with contextlib.suppress(Timeout), self._lock_file(folder.name).acquire(blocking=False):
                shutil.rmtree(folder, ignore_errors=True)

    def _lock_file(self, name: str) -> FileLock:
        """The system drops the lock with the process that holds it; the file itself stays."""
        return FileLock(self.root / "locks" / name, mode=0o600)

    @contextlib.contextmanager
    def _locked(self, kind: str, key: str) -> Iterator[None]:
        lock = self._lock_file(f"{kind}-{key}")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.info("waiting for another process that builds %s %s", kind, key[:12])
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    # Reading

    def _read(self, kind: str, key: str) -> tuple[Entry | None, str]:
        """The entry, or None and what is wrong with it ("" when there simply is none)."""
        path = self._manifest(kind, key)
        try:
            manifest = json.loads(path.read_bytes())
            if fault := owner_fault(path.stat()):
                return None, f"its manifest {fault}"
            if (manifest["schema_version"], manifest["kind"], manifest["key"]) != (SCHEMA_VERSION, kind, key):
                return None, "its manifest is another entry's"
            entry = self._entry(manifest)
        except FileNotFoundError:
            return None, ""
        except PermissionError as error:
            raise StoreFailed(f"cannot read {path}", hint=CHOOSE_ANOTHER) from error
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            return None, f"its manifest cannot be read ({type(error).__name__})"
        fault = self._verify(entry)
        return (None, fault) if fault else (entry, "")

    def _entry(self, manifest: Mapping[str, Any]) -> Entry:
        files = {
            name: StoredFile(self._object(name, file["sha256"]), file["sha256"], file["bytes"])
            for name, file in manifest["files"].items()
        }
        return Entry(
            manifest["kind"],
            manifest["key"],
            manifest["request"],
            manifest["versions"],
            manifest["created"],
            files,
            manifest["facts"],
        )

    def _verify(self, entry: Entry) -> str:
        """The first thing wrong with the entry's files, "" when all are what they were."""
        known, stamps = self._read_stamps(entry), {}
        for name, file in entry.files.items():
            try:
                found = file.path.stat()
                stamps[name] = _stamp(found)
                if fault := owner_fault(found):
                    return f"{name} {fault}"
                if found.st_size != file.bytes:
                    return f"{name} has another size"
                if stamps[name] != known.get(name) and file_digest(file.path) != file.sha256:
                    return f"{name} fails its checksum"
            except FileNotFoundError:
                return f"{name} is missing"
            except OSError as error:
                return f"{name} cannot be read ({error.strerror})"
        if stamps != known:
            self._write_stamps(entry, stamps)
        return ""

    def _write_stamps(self, entry: Entry, stamps: Mapping[str, list[int]]) -> None:
        """Remember what the files looked like when their checksums held; not in a store that is read-only."""
        with contextlib.suppress(OSError):
            draft = self._stamps(entry).with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(stamps))
            draft.replace(self._stamps(entry))

    def _read_stamps(self, entry: Entry) -> dict[str, list[int]]:
        try:
            found = json.loads(self._stamps(entry).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _quarantine(self, kind: str, key: str, fault: str) -> None:
        try:
            with self._lock_file(f"{kind}-{key}").acquire(blocking=False):
                if self._read(kind, key)[1]:
                    self._move_away(kind, key, fault)
        except Timeout:
            return  # whoever builds this entry checks it as well
        except OSError as error:
            log.warning("%s %s is corrupt (%s) and cannot be moved away: %s", kind, key[:12], fault, error.strerror)

    def _move_away(self, kind: str, key: str, fault: str) -> None:
        """Move the manifest and every object that is not what its name says to quarantine/."""
        manifest = self._manifest(kind, key)
        suspects = [manifest]
        quarantine = self.root / "quarantine"
        make_folder(quarantine)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            files = self._entry(json.loads(manifest.read_bytes())).files.values()
            suspects += [file.path for file in files if file.path.exists() and file_digest(file.path) != file.sha256]
        manifest.with_suffix(".verified").unlink(missing_ok=True)
        when = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        for path in suspects:
            with contextlib.suppress(FileNotFoundError):
                path.replace(quarantine / f"{when}-{path.name}")
        log.warning("%s %s is corrupt (%s); moved to %s", kind, key[:12], fault, quarantine)

    # Places

    def _manifest(self, kind: str, key: str) -> Path:
        if not (re.fullmatch(r"[a-z][a-z0-9-]*", kind) and re.fullmatch(r"[0-9a-f]{16,64}", key)):
            raise ValueError(f"{kind!r} {key!r} are not a kind and a hexadecimal key")
        return self.root / "entries" / kind / f"{key}.json"

    def _stamps(self, entry: Entry) -> Path:
        return self._manifest(entry.kind, entry.key).with_suffix(".verified")

    def _object(self, name: str, digest: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"{digest!r} is not a SHA-256")
        return self.root / "objects" / digest[:2] / f"{digest}{Path(name).suffix}"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say of a store that cannot be written what is wrong with it, and leave every other error alone."""
        try:
            yield
        except OSError as error:
            where = Path(error.filename) if isinstance(error.filename, str) else self.root
            if error.errno in NO_ROOM:
                raise StoreFailed(
                    f"no room to write in {where} ({error.strerror})", hint=f"free space, or {CHOOSE_ANOTHER}"
                ) from error
            if error.errno in NO_WRITING and where.is_relative_to(self.root):
                raise StoreFailed(f"cannot write to {where} ({error.strerror})", hint=CHOOSE_ANOTHER) from error
            raise


def _move_durably(source: Path, target: Path) -> None:
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


def _stamp(found: os.stat_result) -> list[int]:
    """What changes when a file is written to; the change time cannot be set back by its writer."""
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
