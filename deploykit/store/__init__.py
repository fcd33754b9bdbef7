"""The content-addressed store of artifacts, and the keys that they are found by."""

from deploykit.store.entry import Entry
from deploykit.store.store import Store, Writer

__all__ = ["Entry", "Store", "Writer"]
