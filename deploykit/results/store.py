"""What the commands on the store answer: what it holds, what was corrupt, what was removed."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.errors import UntrustedArtifact
from deploykit.results.document import Document
from deploykit.store.contents import Quarantined, StoredEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreListing(Document):
    """What `store ls` answers: every entry, the last used first.

    `object_bytes` is what all files of all entries take, each counted once, `unreferenced_bytes` what files take to
    which no entry refers, and `quarantine_bytes` what was moved away because it was corrupt.
    """

    store: str
    entries: tuple[StoredEntry, ...]
    object_bytes: int
    unreferenced_bytes: int
    quarantine_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCheck(Document):
    """What `store verify` answers, which reads every byte.

    `entries` and `bytes` count what is sound, `quarantined` is what was corrupt, and `unused` has the entries that
    are whole and cannot be used here: not sealed with DEPLOYKIT_STORE_KEY, or written by an older deploykit.
    """

    store: str
    entries: int
    bytes: int
    quarantined: tuple[Quarantined, ...]
    unused: tuple[StoredEntry, ...]

    @property
    def failure(self) -> UntrustedArtifact | None:
        """What the exit code stands for: something was corrupt, or not sealed with the key. None where all holds."""
        untrusted = [each for each in self.unused if each.state == "untrusted"]
        if not (self.quarantined or untrusted):
            return None
        counts = (len(self.quarantined), "corrupt"), (len(untrusted), "not sealed with DEPLOYKIT_STORE_KEY")
        said = " and ".join(f"{count} {what}" for count, what in counts if count)
        return UntrustedArtifact(f"in the store {self.store}: {said}", hint="what is missing is built again when asked")

    def raise_if_failed(self) -> None:
        """Raises UntrustedArtifact where something was corrupt, or is not sealed with DEPLOYKIT_STORE_KEY."""
        if self.failure:
            raise self.failure


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRemoval(Document):
    """What `store prune` and `store clear` answer.

    `removed` are the entries that went, `kept` those that should have gone and that another process is building,
    `bytes` the size of all files that went. With `dry_run` nothing was touched.
    """

    store: str
    removed: tuple[StoredEntry, ...]
    kept: tuple[StoredEntry, ...]
    bytes: int
    dry_run: bool
