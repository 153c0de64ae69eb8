"""The embedded engine: records kept in a file or in memory, behind the same interface as a TStorage server."""

from tsmodel.store.care import info, recover, verify
from tsmodel.store.sqlite import DEFAULT_CACHE
from tsmodel.store.store import EmbeddedStore, open_store

__all__ = ["DEFAULT_CACHE", "EmbeddedStore", "info", "open_store", "recover", "verify"]
