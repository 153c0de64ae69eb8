"""The memory limit that all connections of a server share for incoming puts."""

from __future__ import annotations

import threading

__all__ = ["Memory"]


class Memory:
    """A budget of bytes. Thread-safe.

    Args:
        most: the limit.

    Attributes:
        used: bytes in use.
        peak: most bytes in use so far.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = self.peak = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Reserves bytes, or releases them if `count` is negative; False if that would exceed the limit."""
        with self._lock:
            if count > 0 and self.used + count > self.most:
                return False
            self.used += count
            self.peak = max(self.peak, self.used)
            return True
