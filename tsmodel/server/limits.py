"""Limits of a server: their defaults, and the memory that all connections share for incoming puts."""

from __future__ import annotations

import threading

__all__ = [
    "DEFAULT_MAX_CONNECTIONS",
    "DEFAULT_MAX_MEMORY",
    "DEFAULT_MAX_PUT",
    "DEFAULT_REQUEST_TIMEOUT",
    "DEFAULT_STALL_TIMEOUT",
    "Memory",
]

DEFAULT_MAX_CONNECTIONS = 1000
DEFAULT_MAX_PUT = 2**30
DEFAULT_MAX_MEMORY = 2**31
DEFAULT_STALL_TIMEOUT = 60.0
DEFAULT_REQUEST_TIMEOUT = 3600.0


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
