"""The artifact store: what was built once, under a key of everything that could have made it come out differently.

    engines/
      entries/<kind>/<key>.json       the manifest: what was asked, by which versions, which files, measured facts
      entries/<kind>/<key>.verified   stamps of the files at their last checksum, in a store with a key (`stamps`)
      objects/<2 hex>/<sha256><suffix> the files, named by their content
      locks/  work/  quarantine/      one lock per key; unfinished work; what failed its checksum

A build runs under its key's lock in a work folder of its own. Its files are flushed and renamed into place, and the
manifest comes last, so an entry either is whole or is not there. A lock dies with its process; work left by a process
that was killed is swept by the next build. The key and a hit need no framework, so a hit is quick.

A manifest is sealed (`seal`), which is checked before it is parsed and before any file that it names is opened. What
does not hold is moved to quarantine/ and made again.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploykit.codec import encode
from deploykit.errors import StoreFailed
from deploykit.store.entry import Entry, Fault, StoredFile, manifest_fault
from deploykit.store.files import (
    Identity,
    Unfit,
    identity,
    is_folder,
    is_settled,
    move_aside,
    move_durably,
    remove,
    require_regular,
)
from deploykit.store.key import file_digest, plain
from deploykit.store.locks import Locks
from deploykit.store.manifest import FILE_NAME, KEY, KIND, FileRecord, Manifest, read_manifest, write_manifest
from deploykit.store.ownership import CHOOSE_ANOTHER, STORE_VARIABLE, make_folder, make_folders, require_ours
from deploykit.store.seal import store_key
from deploykit.store.stamps import read_stamps, write_stamps

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_WRITING = {errno.EROFS, errno.EACCES, errno.EPERM}

log = logging.getLogger(__name__)


class Writer:
    """What a maker writes its files with; they become an entry when it returns, and vanish when it raises."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: list[str] = []

    def path(self, name: str) -> Path:
        """A path to write `name` at; the maker must have written it by the time it returns."""
        if not FILE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a plain file name")
        if name not in self.names:
            self.names.append(name)
        return self._folder / name

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.path(name)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


class Store:
    """Made by `Store.open`; the folders come into being with the first build. `secret` is the key that seals it."""

    def __init__(self, root: Path, secret: bytes | None = None) -> None:
        self.root = root
        self.secret = secret
        self.locks = Locks(root / "locks")
        self._said: set[str] = set()

    @classmethod
    def open(cls, path: Path | None = None) -> "Store":
        """The store at `path`, else at $DEPLOYKIT_STORE, else at `engines` in the current folder.

        Raises StoreFailed when that is no folder, another user's, or root's and open to others for writing, and for a
        DEPLOYKIT_STORE_KEY that is too short.
        """
        store = cls((path or Path(os.environ.get(STORE_VARIABLE) or "engines")).absolute(), store_key())
        require_ours(store.root)
        return store

    def find(self, kind: str, key: str, *, facts: type | None = None, files: Sequence[str] = ()) -> Entry | None:
        """The entry, its files checked against their checksums; None where there is none or it cannot be used.

        It has `files`, and its facts are a value of the type `facts`. A file is hashed once a process while its inode,
        size and times stay. A corrupt entry goes to quarantine/, with a warning in the log.
        """
        found = self.read(kind, key, facts=facts, files=files)
        if isinstance(found, Entry):
            with contextlib.suppress(OSError):  # the time of a manifest is when its entry was last used
                os.utime(self.manifest_path(kind, key))
            return found
        if found is not None:
            self._refuse(kind, key, found, facts=facts, files=files)
        return None

    def manifests(self, kind: str) -> Iterator[Entry]:
        """Every entry of `kind` whose manifest holds, the latest first; its files are not looked at before `find`."""
        found = []
        for path in (self.root / "entries" / kind).glob("*.json"):
            with contextlib.suppress(OSError, Unfit, ValueError):
                found.append(self.entry_at(kind, path.stem))
        yield from sorted(found, key=lambda entry: entry.created, reverse=True)

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
        facts: type | None = None,
        files: Sequence[str] = (),
    ) -> tuple[Entry, bool]:
        """The entry, and whether it was there already; otherwise `make` writes its files and returns its facts.

        An entry without `files`, or whose facts are no value of the type `facts`, is made anew as a corrupt one is. Of
        several processes that want the same key one makes it and the others wait for that. Raises StoreFailed where the
        store cannot be written, and whatever `make` raises; nothing is left behind then.
        """
        entry = self.find(kind, key, facts=facts, files=files)
        if entry is not None:
            return entry, True
        with self.explained():
            make_folders(self.root)
            self.sweep()
            with self.locks.held(kind, key), self._work_folder(kind, key) as folder:
                found = self.read(kind, key, facts=facts, files=files)
                if isinstance(found, Entry):
                    return found, True
                if found is not None and found.state == "corrupt":
                    self._move_away(kind, key, found)
                writer = Writer(folder)
                made = encode(make(writer))
                return self._commit(writer, kind, key, plain(request), dict(versions), made), False

    # Writing

    def _commit(
        self, writer: Writer, kind: str, key: str, request: Any, versions: Mapping[str, str], facts: Any
    ) -> Entry:
        """Move the writer's files, then the manifest, into place; take the files back if that is cut short."""
        created: list[Path] = []
        files: dict[str, FileRecord] = {}
        with self.locks.objects():
            try:
                for name in writer.names:
                    source = writer.path(name)
                    files[name] = FileRecord(file_digest(source), source.stat().st_size)
                    place = self.object_path(name, files[name].sha256)
                    self._make_way(place)
                    if not place.exists():
                        created.append(place)
                    move_durably(source, place)
                manifest = Manifest(
                    kind=kind,
                    key=key,
                    request=request,
                    versions=versions,
                    facts=facts,
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                    files=files,
                )
                draft = writer.write("manifest.draft", write_manifest(manifest, self.secret))
                self._make_way(self.manifest_path(kind, key))
                move_durably(draft, self.manifest_path(kind, key))
            except BaseException:
                for place in created:
                    place.unlink(missing_ok=True)
                raise
        return self._entry(manifest)

    def _make_way(self, place: Path) -> None:
        """Make the folder of a file that is about to be moved to `place`; move aside what is no folder, or no file."""
        if os.path.lexists(place.parent) and not is_folder(place.parent):
            self.set_aside(place.parent)
        make_folder(place.parent)
        if is_folder(place):
            self.set_aside(place)

    @contextlib.contextmanager
    def _work_folder(self, kind: str, key: str) -> Iterator[Path]:
        """The key's own folder; whoever holds its lock owns it, so what lies there already is a dead process's."""
        folder = self.root / "work" / f"{kind}-{key}"
        remove(folder)
        make_folder(folder)
        try:
            yield folder
        finally:
            remove(folder)

    def sweep(self) -> None:
        """Remove the work of builds that nobody is running any more: their lock is free."""
        for folder in (self.root / "work").iterdir():
            with self.locks.if_free(folder.name) as free:
                if free:
                    remove(folder)

    # Reading

    def read(
        self, kind: str, key: str, *, facts: type | None = None, files: Sequence[str] = (), stamped: bool = True
    ) -> Entry | Fault | None:
        """As `find`, or what is wrong with the entry; nothing is moved. Stamps are believed only where `stamped`.

        Raises StoreFailed where it cannot be read.
        """
        try:
            entry = self.entry_at(kind, key)
            entry.require(facts, files)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise StoreFailed(f"cannot read {self.manifest_path(kind, key)}", hint=CHOOSE_ANOTHER) from error
        except Unfit as error:
            return manifest_fault(error)
        except OSError as error:
            return Fault(f"its manifest cannot be read ({error.strerror})")
        return self._verify(entry, stamped=stamped) or entry

    def entry_at(self, kind: str, key: str) -> Entry:
        """What the manifest says; the files are not looked at. Raises Unfit, OSError."""
        manifest = read_manifest(self.manifest_path(kind, key), self.secret)
        if (manifest.kind, manifest.key) != (kind, key):
            raise Unfit("is another entry's")
        return self._entry(manifest)

    def _entry(self, manifest: Manifest) -> Entry:
        files = {
            name: StoredFile(self.object_path(name, file.sha256), file.sha256, file.bytes)
            for name, file in manifest.files.items()
        }
        return Entry(
            manifest.kind,
            manifest.key,
            manifest.request,
            manifest.versions,
            manifest.created,
            files,
            manifest.facts,
        )

    def _verify(self, entry: Entry, *, stamped: bool) -> Fault | None:
        """The first thing wrong with the entry's files, None when all are what they were."""
        stamps_path = self.stamps_path(entry.kind, entry.key)
        stamps = read_stamps(stamps_path, self.secret) if stamped else {}
        found: dict[str, Identity] = {}
        hashed = False
        for name, file in entry.files.items():
            try:
                found[name] = identity(require_regular(file.path))
                stamp = stamps.get(name)
                if stamp is None or (stamp.sha256, stamp.identity) != (file.sha256, found[name]):
                    file.require_content()
                    hashed = True
            except (FileNotFoundError, NotADirectoryError):
                return Fault(f"{name} is missing")
            except Unfit as error:
                return Fault(f"{name} {error}")
            except OSError as error:
                return Fault(f"{name} cannot be read ({error.strerror})")
        if hashed and all(map(is_settled, found.values())):
            write_stamps(stamps_path, entry, found, self.secret)
        return None

    # What cannot be used

    def _refuse(self, kind: str, key: str, fault: Fault, *, facts: type | None, files: Sequence[str]) -> None:
        """Move a corrupt entry away; leave one that another key or an older deploykit can use, and say so once."""
        if fault.state == "corrupt":
            self.quarantine(kind, key, fault, facts=facts, files=files)
        elif fault.text not in self._said:
            self._said.add(fault.text)
            log.warning("%s %s in %s is not used: %s", kind, key[:12], self.root, fault.text)

    def quarantine(
        self, kind: str, key: str, fault: Fault, *, facts: type | None = None, files: Sequence[str] = ()
    ) -> tuple[Path, ...]:
        """Move the parts of an entry that is still corrupt away: where they are now.

        None of them is moved while another process builds the entry, which checks it as well, or where nothing can be
        moved; the log says so then.
        """
        try:
            with self.locks.if_free(f"{kind}-{key}") as free:
                found = self.read(kind, key, facts=facts, files=files, stamped=False) if free else None
                if isinstance(found, Fault) and found.state == "corrupt":
                    return self._move_away(kind, key, found)
        except OSError as error:
            said = f"{kind} {key[:12]} is corrupt ({fault.text})"
            log.warning("%s and cannot be moved away: %s", said, error.strerror)
        return ()

    def _move_away(self, kind: str, key: str, fault: Fault) -> tuple[Path, ...]:
        """Move the manifest and every object that is not what its name says to quarantine/; the caller has the lock."""
        manifest = self.manifest_path(kind, key)
        suspects = [manifest.parent if manifest.parent.is_symlink() else manifest]
        with self.locks.objects():
            with contextlib.suppress(OSError, Unfit):
                suspects += [file.path for file in self.entry_at(kind, key).files.values() if file.is_spoiled()]
            self.stamps_path(kind, key).unlink(missing_ok=True)
            moved = [place for path in suspects if (place := self.set_aside(path))]
        log.warning("%s %s is corrupt (%s); moved to %s", kind, key[:12], fault.text, self.root / "quarantine")
        return tuple(moved)

    def set_aside(self, path: Path) -> Path | None:
        """Move what lies at `path` to quarantine/: where it is now, None where nothing lies there."""
        return move_aside(path, self.root / "quarantine", datetime.now(UTC).strftime("%Y%m%dT%H%M%S"))

    # Places

    def manifest_path(self, kind: str, key: str) -> Path:
        if not (KIND.fullmatch(kind) and KEY.fullmatch(key)):
            raise ValueError(f"{kind!r} {key!r} are not a kind and a hexadecimal key")
        return Path(f"{self.root}/entries/{kind}/{key}.json")

    def stamps_path(self, kind: str, key: str) -> Path:
        return self.manifest_path(kind, key).with_suffix(".verified")

    def object_path(self, name: str, digest: str) -> Path:
        return Path(f"{self.root}/objects/{digest[:2]}/{digest}{os.path.splitext(name)[1]}")  # noqa: PTH122

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
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
