"""Reading ahead: all chunks in their order, errors where they are taken, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from tsmodel.backend import Scan
from tsmodel.errors import StoreError
from tsmodel.server.ahead import ahead


class Source:
    """A scan of numbered chunks that notes what becomes of it."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.fetched = 0
        self.closed = False
        self.scan = Scan(self._chunks(count, error))

    def _chunks(self, count: int, error: Exception | None) -> Generator[memoryview, None, int]:
        try:
            for number in range(count):
                self.fetched += 1
                yield memoryview(b"%d" % number)
            if error is not None:
                raise error
            return 77
        finally:
            self.closed = True


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9, 100])
def test_all_chunks_in_their_order(count: int) -> None:
    source = Source(count)
    before = threading.active_count()
    with ahead(source.scan) as chunks:
        assert [int(bytes(chunk)) for chunk in chunks] == list(range(count))
        assert source.scan.acq == 77
    assert source.closed
    assert threading.active_count() == before


@pytest.mark.parametrize("count", [0, 4, 20])
def test_an_error_comes_where_the_chunks_are_taken(count: int) -> None:
    source = Source(count, StoreError("damaged"))
    taken = 0
    with pytest.raises(StoreError, match="damaged"), ahead(source.scan) as chunks:
        for _ in chunks:
            taken += 1
    assert taken == count
    assert source.closed


@pytest.mark.parametrize("take", [1, 4, 5, 20])
def test_leaving_early_ends_the_thread_and_the_scan(take: int) -> None:
    source = Source(1000)
    before = threading.active_count()
    with ahead(source.scan) as chunks:
        for _ in range(take):
            next(chunks)
    assert source.closed
    assert threading.active_count() == before
    assert source.fetched <= take + 12
