"""What a store holds: listed, and checked byte by byte."""

import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from deploykit.errors import StoreFailed
from deploykit.store.entry import Entry, Fault, manifest_fault
from deploykit.store.files import Unfit, digest_of, forget_digests, irregular, is_folder
from deploykit.store.manifest import DIGEST, KEY, KIND
from deploykit.store.store import Store

LONGEST_LABEL = 80  # characters of what an entry was made from
DIGEST_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An entry of the store.

    `made_from` names what it was made from, such as a network, a precision and a backend. `created` is an ISO time,
    "" where the manifest cannot be read; `age_seconds` is the time since it was last used, `bytes` the size of its
    files, which other entries may share. `state` is `ok`, `corrupt`, `untrusted` (not sealed with DEPLOYKIT_STORE_KEY)
    or `outdated` (written by an older deploykit), `fault` says why.
    """

    kind: str
    key: str
    made_from: str
    created: str
    age_seconds: float
    bytes: int
    state: Literal["ok", "corrupt", "untrusted", "outdated"]
    fault: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What was corrupt, why, and where its parts are now: none where they could not be moved."""

    what: str
    fault: str
    moved_to: tuple[str, ...]


class Listed(NamedTuple):
    """An entry as it is shown, and as its manifest has it: None where that does not hold."""

    shown: StoredEntry
    entry: Entry | None

    @property
    def objects(self) -> Mapping[Path, int]:
        """Its files: their paths and sizes in bytes."""
        return {file.path: file.bytes for file in self.entry.files.values()} if self.entry else {}


def list_entries(store: Store) -> list[Listed]:
    """Every entry, the last used first. Files are looked at, not read: what is in them shows in `check_entries`."""
    if not is_store(store):
        return []
    now, objects = time.time(), scan_objects(store)
    found = [_listed(store, kind, key, now, objects) for kind, key in _names(store)]
    return sorted(found, key=lambda each: (each.shown.age_seconds, each.shown.kind, each.shown.key))


def check_entries(store: Store) -> tuple[list[StoredEntry], list[Quarantined]]:
    """Read every byte: the entries that are whole, and what was corrupt, which is moved to quarantine.

    An object that no entry refers to has to be what its name says, too.
    """
    forget_digests()
    whole: list[StoredEntry] = []
    corrupt: list[Quarantined] = []
    if not is_store(store):
        return whole, corrupt
    now, objects = time.time(), scan_objects(store)
    for kind, key in _names(store):
        found = store.read(kind, key, stamped=False)
        if isinstance(found, Fault) and found.state == "corrupt":
            moved = store.quarantine(kind, key, found)
            corrupt.append(Quarantined(f"{kind} {key}", found.text, tuple(map(str, moved))))
        elif found is not None:
            whole.append(_listed(store, kind, key, now, objects).shown)
    for path in (*_strangers(store.root / "entries"), *object_paths(store)):
        if fault := _object_fault(store, path):
            place = _set_aside(store, path)
            where = (str(place),) if place else ()
            corrupt.append(Quarantined(str(path.relative_to(store.root)), fault, where))
    return whole, corrupt


class Sizes(NamedTuple):
    """Bytes of the objects that entries refer to, of the others, and of what lies in quarantine."""

    referenced: int
    unreferenced: int
    quarantine: int


def object_sizes(store: Store, referenced: Collection[Path]) -> Sizes:
    """What the store's files take, each counted once."""
    names, counts = set(map(str, referenced)), {True: 0, False: 0}
    for path, found in scan_objects(store).items():
        counts[path in names] += found.st_size
    return Sizes(counts[True], counts[False], size_of(store.root / "quarantine"))


def scan_objects(store: Store) -> dict[str, os.stat_result]:
    """What lies in the folders of objects/: path -> its `lstat`, in one walk, since a store has thousands."""
    found: dict[str, os.stat_result] = {}
    for folder in _children(store.root / "objects"):
        if is_folder(folder):
            with os.scandir(folder) as inside:
                found |= {each.path: each.stat(follow_symlinks=False) for each in inside}
    return found


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; a link is not followed, and 0 where there is nothing."""
    if is_folder(path):
        return sum(map(size_of, path.iterdir()))
    return path.lstat().st_size if os.path.lexists(path) else 0


def is_store(store: Store) -> bool:
    """Whether there is a store, and not another folder of that name, such as one of git with its own `objects`."""
    return all((store.root / name).is_dir() for name in ("entries", "objects"))


def object_paths(store: Store) -> Iterator[Path]:
    """Everything in objects/: files, and what is no folder in a folder's place."""
    for folder in _children(store.root / "objects"):
        yield from _children(folder) if is_folder(folder) else (folder,)


def is_named_by_content(path: Path) -> bool:
    """Whether a path in objects/ is that of an object, by its name."""
    name = path.name[:DIGEST_LENGTH]
    return DIGEST.fullmatch(name) is not None and name[:2] == path.parent.name


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _names(store: Store) -> Iterator[tuple[str, str]]:
    """Kind and key of every manifest, by their names."""
    for folder in _children(store.root / "entries"):
        if is_folder(folder) and KIND.fullmatch(folder.name):
            names = sorted(os.listdir(folder))  # noqa: PTH208 - a thousand paths take longer
            keys = (name.removesuffix(".json") for name in names if name.endswith(".json"))
            yield from ((folder.name, key) for key in keys if KEY.fullmatch(key))


def _strangers(entries: Path) -> Iterator[Path]:
    """What lies among the manifests and is none of them: no folder in a folder's place, or a name that is no key."""
    for folder in _children(entries):
        if not is_folder(folder):
            yield folder
            continue
        named = KIND.fullmatch(folder.name)
        manifests = (path for path in _children(folder) if path.suffix == ".json")
        yield from (path for path in manifests if not (named and KEY.fullmatch(path.stem)))


def _listed(store: Store, kind: str, key: str, now: float, objects: Mapping[str, os.stat_result]) -> Listed:
    entry, created, fault = None, "", None
    try:
        used = store.manifest_path(kind, key).lstat().st_mtime
        entry = store.entry_at(kind, key)
        created, fault = entry.created, _quick_fault(entry, objects)
    except Unfit as error:
        fault = manifest_fault(error)
    except OSError as error:
        used, fault = now, Fault(f"its manifest cannot be read ({error.strerror})")
    shown = StoredEntry(
        kind=kind,
        key=key,
        made_from=_made_from(entry.request) if entry else "",
        created=created,
        age_seconds=round(max(now - used, 0.0), 3),  # a clock that was set back makes nothing old
        bytes=sum(file.bytes for file in entry.files.values()) if entry else 0,
        state=fault.state if fault else "ok",
        fault=fault.text if fault else "",
    )
    return Listed(shown, entry)


def _quick_fault(entry: Entry, objects: Mapping[str, os.stat_result]) -> Fault | None:
    """What is wrong with the entry's files that shows without reading them."""
    for name, file in entry.files.items():
        found = objects.get(str(file.path))
        if found is None:
            return Fault(f"{name} is missing")
        if fault := irregular(found):
            return Fault(f"{name} {fault}")
        if found.st_size != file.bytes:
            return Fault(f"{name} has another size")
    return None


def _made_from(request: Mapping[str, Any]) -> str:
    """The network, precision and backend of a request, or the file; what is not text in it is passed over."""
    goal = _mapping(request.get("goal"))
    spec = _mapping(request.get("spec")) or _mapping(goal.get("spec"))
    scopes = (request, spec, goal)
    models = [_mapping(scope.get("model")).get("name") for scope in scopes]
    others = [scope.get(name) for name in ("precision", "backend", "file", "cpu") for scope in scopes]
    words = dict.fromkeys(each for each in (*models, *others) if isinstance(each, str) and each)
    return " ".join(words)[:LONGEST_LABEL]


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _object_fault(store: Store, path: Path) -> str:
    """What is wrong with a file that is to be named by its content, "" where it is or has just gone."""
    if not path.is_relative_to(store.root / "objects") or not is_named_by_content(path):
        return "does not belong there"
    try:
        return "" if digest_of(path) == path.name[:DIGEST_LENGTH] else "is not what its name says"
    except FileNotFoundError:
        return ""
    except Unfit as error:
        return str(error)
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _set_aside(store: Store, path: Path) -> Path | None:
    """Move an object that is still corrupt to quarantine; None where it cannot be moved."""
    try:
        with store.locks.objects():
            return store.set_aside(path) if _object_fault(store, path) else None
    except (OSError, StoreFailed):
        return None
