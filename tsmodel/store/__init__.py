"""The embedded engine: stores records in a file or in memory, behind the same interface as a TStorage server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.store.maintenance import info, recover, verify
    from tsmodel.store.sqlite import DEFAULT_CACHE
    from tsmodel.store.store import EmbeddedStore, open_store
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "maintenance": "info recover verify",
            "sqlite": "DEFAULT_CACHE",
            "store": "EmbeddedStore open_store",
        },
    )

__all__ = ["DEFAULT_CACHE", "EmbeddedStore", "info", "open_store", "recover", "verify"]
