"""Reading ahead: while one chunk is sent, a thread fetches the next ones.

Only for scans whose chunks stay as they are when the next one is asked for, as those of the embedded store do.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tsmodel.backend import Scan

__all__ = ["ahead"]

_DEPTH: Final = 4
"""Chunks that wait at most: what a peer costs that reads slowly."""

_INLINE: Final = 4
"""Chunks fetched before a thread is worth its start."""


class _Fetcher:
    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._chunks: queue.Queue[memoryview | BaseException | None] = queue.Queue(_DEPTH)
        self._stopped = False
        self._thread = threading.Thread(target=self._fetch, name="reading ahead", daemon=True)

    def __iter__(self) -> Iterator[memoryview]:
        for _ in range(_INLINE):
            if (chunk := next(self._scan, None)) is None:
                return
            yield chunk
        self._thread.start()
        while (found := self._chunks.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def stop(self) -> None:
        """Ends the thread; the scan is nobody's then."""
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._chunks.get(timeout=0.05)
            except queue.Empty:
                continue

    def _fetch(self) -> None:
        try:
            for chunk in self._scan:
                self._chunks.put(chunk)
                if self._stopped:
                    return
        except BaseException as error:  # noqa: BLE001 - raised where the chunks are taken
            self._chunks.put(error)
        else:
            self._chunks.put(None)


@contextmanager
def ahead(scan: Scan) -> Iterator[Iterator[memoryview]]:
    """The chunks of a scan, fetched ahead. The scan is closed in the end."""
    with scan:
        fetcher = _Fetcher(scan)
        try:
            yield iter(fetcher)
        finally:
            fetcher.stop()
