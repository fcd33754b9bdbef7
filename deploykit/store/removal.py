"""Removing what a store holds: by age, by size, or because nothing refers to it.

Nothing that a lock holds is removed: neither an entry that another process builds nor, while it puts its files in
place, any object. A command that has found its entries already may lose one: those just used go last.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploykit.store.contents import (
    Listed,
    StoredEntry,
    is_named_by_content,
    is_store,
    list_entries,
    object_paths,
    size_of,
)
from deploykit.store.files import remove
from deploykit.store.manifest import KEY
from deploykit.store.ownership import make_folders
from deploykit.store.store import Store


@dataclass(frozen=True, slots=True)
class Removal:
    """The entries that went, those that a lock kept, and the bytes of all files that went."""

    removed: tuple[StoredEntry, ...] = ()
    kept: tuple[StoredEntry, ...] = ()
    bytes: int = 0


def prune(store: Store, *, older_than: float | None, max_bytes: int | None, dry_run: bool) -> Removal:
    """Remove what cannot be used here, what nothing refers to, and what was not used for long.

    Entries that are corrupt, untrusted or outdated go, those not used for `older_than` seconds, with files that have
    been in quarantine that long, and then the least recently used until the objects take at most `max_bytes`; so do
    objects of no entry and the work of builds that no process runs. With `dry_run` nothing is touched. Raises
    StoreFailed where the store cannot be written.
    """

    def old(each: StoredEntry) -> bool:
        return each.state != "ok" or (older_than is not None and each.age_seconds > older_than)

    def choose(listed: Sequence[Listed]) -> list[Listed]:
        chosen = [each for each in listed if old(each.shown)]
        rest = [each for each in listed if not old(each.shown)]
        return chosen if max_bytes is None else chosen + _until(rest, max_bytes)

    return _remove(store, choose, quarantined_for=older_than, dry_run=dry_run)


def clear(store: Store, *, dry_run: bool) -> Removal:
    """As `prune`, of every entry and all that lies in quarantine."""
    return _remove(store, list, quarantined_for=-1.0, dry_run=dry_run)


def _until(listed: Sequence[Listed], most: int) -> list[Listed]:
    """The least recently used, without which the objects of the others take at most `most` bytes."""
    sizes = {path: size for each in listed for path, size in each.objects.items()}
    readers = Counter(path for each in listed for path in each.objects)
    taken, chosen = sum(sizes.values()), []
    for each in reversed(listed):
        if taken <= most:
            break
        chosen.append(each)
        readers.subtract(each.objects.keys())
        taken -= sum(size for path, size in each.objects.items() if not readers[path])
    return chosen


def _remove(
    store: Store, choose: Callable[[Sequence[Listed]], list[Listed]], *, quarantined_for: float | None, dry_run: bool
) -> Removal:
    if not is_store(store):
        return Removal()
    with store.explained():
        if not dry_run:
            make_folders(store.root)
            store.sweep()
        with contextlib.nullcontext() if dry_run else store.locks.objects():
            listed = list_entries(store)
            chosen = choose(listed)
            removed = [each.shown for each in chosen if dry_run or _remove_entry(store, each.shown)]
            gone = {(each.kind, each.key) for each in removed}
            left = [each for each in listed if (each.shown.kind, each.shown.key) not in gone]
            needed = {path for each in left for path in each.objects}
            files = [
                *(path for path in object_paths(store) if path not in needed and is_named_by_content(path)),
                *_leftovers(store, {store.stamps_path(each.shown.kind, each.shown.key) for each in left}),
                *_quarantined(store, quarantined_for),
            ]
            freed = sum(map(size_of, files))
            for path in () if dry_run else files:
                remove(path)
    kept = [each.shown for each in chosen if (each.shown.kind, each.shown.key) not in gone]
    return Removal(tuple(removed), tuple(kept), freed)


def _remove_entry(store: Store, entry: StoredEntry) -> bool:
    """Whether it went: not while another process builds it."""
    with store.locks.if_free(f"{entry.kind}-{entry.key}") as free:
        if free:
            remove(store.manifest_path(entry.kind, entry.key))
        return free


def _leftovers(store: Store, stamps: set[Path]) -> Iterable[Path]:
    """Stamps without an entry, and drafts of processes that were killed."""
    found = (path for path in (store.root / "entries").glob("*/*") if KEY.fullmatch(path.stem))
    return [path for path in found if path.suffix[1:].isdigit() or (path.suffix == ".verified" and path not in stamps)]


def _quarantined(store: Store, seconds: float | None) -> Iterable[Path]:
    """What has been in quarantine for longer than `seconds`: a rename leaves the time of change of a file's record."""
    folder = store.root / "quarantine"
    if seconds is None or not folder.is_dir():
        return ()
    now = time.time()
    return [path for path in folder.iterdir() if now - path.lstat().st_ctime > seconds]
