"""A cache of decoded blocks, so that they need not be fetched and checked again.

Rules kept here:

* The blocks never exceed the size of the cache. The least recently used block is evicted first.
* A scan never evicts blocks that it used itself. A scan larger than the cache keeps its first blocks there and evicts
  nothing else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from itertools import count

from tsmodel.store.blocks import Block

__all__ = ["BlockCache"]


class BlockCache:
    """An LRU cache of blocks. Thread-safe.

    Args:
        most: size limit in bytes; 0 disables the cache.
        beside: overhead per block in bytes. Without it, small blocks would take several times `most`.
    """

    def __init__(self, most: int, beside: int = 3000) -> None:
        self.most = most
        self.beside = beside
        self._entries: OrderedDict[Hashable, tuple[Block, int, int]] = OrderedDict()
        """Block, size and last scan by name, least recently used first."""
        self._size = 0
        self._lock = threading.Lock()
        self._scans = count()

    @property
    def size(self) -> int:
        """Total size of its blocks, in bytes."""
        return self._size

    def scan(self) -> int:
        """The number of a new scan, for `get` and `keep`."""
        return next(self._scans)

    def clear(self) -> None:
        """Removes all blocks."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def get(self, name: Hashable, scan: int) -> Block | None:
        """The block with this name, or None; marks it as used by a scan."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return None
            block, size, _ = entry
            self._entries[name] = block, size, scan
            self._entries.move_to_end(name)
            return block

    def keep(self, name: Hashable, block: Block, scan: int) -> bool:
        """Adds a block, if there is space or blocks used by other scans can be evicted. Returns whether it did."""
        # Not the stored size: decoded rows and columns stay with the block.
        size = block.size + self.beside
        with self._lock:
            if size > self.most or name in self._entries:
                return False
            while self._size + size > self.most:
                oldest, (_, held, user) = next(iter(self._entries.items()))
                if user == scan:
                    return False
                del self._entries[oldest]
                self._size -= held
            self._entries[name] = block, size, scan
            self._size += size
            return True
