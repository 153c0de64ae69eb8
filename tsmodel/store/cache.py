"""Blocks that were read lately, kept in memory: what is read again need not be fetched and checked again.

Rules kept here:

* What blocks take never exceeds the size of the cache. The one that was used longest ago goes first.
* A scan never drives out what it used itself: one that is larger than the cache leaves the beginning of itself there, and
  costs the cache nothing from then on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from itertools import count

import msgspec

from tsmodel.store.blocks import Block

__all__ = ["BlockCache", "CachedScan"]


class _Entry(msgspec.Struct):
    block: Block
    size: int
    used_by: int


class BlockCache:
    """May be used from several threads.

    Args:
        most: bytes that its blocks may take together; 0 for none.
        beside: bytes that each takes beside its records. Small blocks would take several times `most` without it.
    """

    def __init__(self, most: int, beside: int = 3000) -> None:
        self.most = most
        self.beside = beside
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._scans = count()

    @property
    def size(self) -> int:
        """Bytes that its blocks take together."""
        return self._size

    def scan(self) -> CachedScan:
        """What a scan uses it by."""
        return CachedScan(self, next(self._scans))

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def get(self, name: Hashable, scan: int) -> Block | None:
        """The block of this name, if it is there, for a scan of this number."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return None
            entry.used_by = scan
            self._entries.move_to_end(name)
            return entry.block

    def keep(self, name: Hashable, block: Block, scan: int) -> None:
        """Keeps a block, if there is room or what other scans used can be driven out."""
        # What is stored is smaller, and columns or rows that were decoded stay with the block.
        size = block.size + self.beside
        with self._lock:
            if size > self.most or name in self._entries:
                return
            while self._size + size > self.most:
                oldest, entry = next(iter(self._entries.items()))
                if entry.used_by == scan:
                    return
                del self._entries[oldest]
                self._size -= entry.size
            self._entries[name] = _Entry(block, size, scan)
            self._size += size


class CachedScan(msgspec.Struct, frozen=True):
    """One scan's use of a cache.

    Attributes:
        cache: what it uses.
        number: tells it from other scans.
    """

    cache: BlockCache
    number: int

    def get(self, name: Hashable) -> Block | None:
        """The block of this name, if it is there."""
        return self.cache.get(name, self.number)

    def keep(self, name: Hashable, block: Block) -> None:
        """Keeps a block, if there is room or what others used can be driven out."""
        self.cache.keep(name, block, self.number)
