"""The memory that all connections of a server share for what arrives of puts."""

from __future__ import annotations

import threading

__all__ = ["Memory"]


class Memory:
    """Counts bytes.

    Args:
        most: how many there may be.

    Attributes:
        used: how many there are.
        peak: how many there were at most.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = self.peak = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Takes bytes, or gives them back when `count` is negative; False when there are not so many."""
        with self._lock:
            if count > 0 and self.used + count > self.most:
                return False
            self.used += count
            self.peak = max(self.peak, self.used)
            return True
