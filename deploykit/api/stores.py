"""The artifact store: what it holds, whether that is sound, and what to remove."""

from __future__ import annotations

import re

from deploykit.api.checked import checked
from deploykit.api.workspace import StorePath, open_store
from deploykit.errors import UsageError
from deploykit.results.store import StoreCheck, StoreListing, StoreRemoval

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@checked
def store_entries(*, store: StorePath = None) -> StoreListing:
    """List what the artifact store holds; files are looked at and not read.

    Args:
        store: Folder of the artifact store; None is $DEPLOYKIT_STORE, else `engines`.

    Returns:
        The entries, the last used first, and what their files take; `to_json()` is what `deploykit store ls --json`
        prints.

    Raises:
        StoreFailed: The folder belongs to another user, or is none.
    """
    from deploykit.store.contents import list_entries, object_sizes

    opened = open_store(store)
    listed = list_entries(opened)
    sizes = object_sizes(opened, {path for each in listed for path in each.objects})
    return StoreListing(
        store=str(opened.root),
        entries=tuple(each.shown for each in listed),
        object_bytes=sizes.referenced,
        unreferenced_bytes=sizes.unreferenced,
        quarantine_bytes=sizes.quarantine,
    )


@checked
def verify_store(*, store: StorePath = None) -> StoreCheck:
    """Read every byte of the artifact store, and move what is corrupt to its quarantine.

    Args:
        store: As for `store_entries`.

    Returns:
        What is sound, what was quarantined, and what cannot be used here; `raise_if_failed` raises UntrustedArtifact.

    Raises:
        StoreFailed: As for `store_entries`.
    """
    from deploykit.store.contents import check_entries

    opened = open_store(store)
    whole, corrupt = check_entries(opened)
    sound = [each for each in whole if each.state == "ok"]
    return StoreCheck(
        store=str(opened.root),
        entries=len(sound),
        bytes=sum(each.bytes for each in sound),
        quarantined=tuple(corrupt),
        unused=tuple(each for each in whole if each.state != "ok"),
    )


@checked
def prune_store(
    *, older_than: str | None = None, max_size: str | None = None, dry_run: bool = False, store: StorePath = None
) -> StoreRemoval:
    """Remove from the artifact store what nothing refers to, what cannot be used here, and what was not used for long.

    Nothing goes that a process is building. A command that runs meanwhile may lose an entry that it has found.

    Args:
        older_than: Also remove entries that were not used for this long, and files that were in quarantine as long:
            `"30d"`, with s, m, h, d or w.
        max_size: Also remove the least recently used entries until the files of the others take no more: `"20GB"`.
        dry_run: Only tell what would go.
        store: As for `store_entries`.

    Returns:
        The entries that went, those that another process is building, and the bytes that were freed.

    Raises:
        UsageError: An age or a size is not written so.
        StoreFailed: As for `store_entries`, and where the store cannot be written.
    """
    from deploykit.store.removal import prune

    age = None if older_than is None else _amount(older_than, SECONDS, "older_than", "30d")
    most = None if max_size is None else _amount(re.sub(r"(?i)b$", "", max_size), BYTES, "max_size", "20GB")
    opened = open_store(store)
    found = prune(opened, older_than=age, max_bytes=None if most is None else int(most), dry_run=dry_run)
    return StoreRemoval(
        store=str(opened.root), removed=found.removed, kept=found.kept, bytes=found.bytes, dry_run=dry_run
    )


@checked
def clear_store(*, dry_run: bool = False, store: StorePath = None) -> StoreRemoval:
    """Remove every entry of the artifact store, and all that lies in its quarantine.

    Args:
        dry_run: As for `prune_store`.
        store: As for `store_entries`.

    Returns:
        As for `prune_store`.

    Raises:
        StoreFailed: As for `prune_store`.
    """
    from deploykit.store.removal import clear

    opened = open_store(store)
    found = clear(opened, dry_run=dry_run)
    return StoreRemoval(
        store=str(opened.root), removed=found.removed, kept=found.kept, bytes=found.bytes, dry_run=dry_run
    )


def _amount(text: str, units: dict[str, int], name: str, example: str) -> float:
    """A number with a unit. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s?([a-z]?)", text.strip().lower())
    if found is None or found[2] not in units:
        option = f"--{name.replace('_', '-')}"
        raise UsageError(f"{option} {text} is not a number with a unit", hint=f"write {example}")
    return float(found[1]) * units[found[2]]
