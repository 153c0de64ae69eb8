"""Puts and scans as tuples (cid, mid, moid, cap, payload); for PUTA and scans, acq precedes the payload."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from tsmodel.backend import Backend, Batch
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk

Row = tuple[Any, ...]


def batch(cid: int, rows: Sequence[Row], *, with_acq: bool = False) -> Batch:
    """Rows without their cid as one batch."""
    key = struct.Struct("<qiqq" if with_acq else "<qiq")
    pieces = [struct.pack("<i", key.size + len(row[-1])) + key.pack(*row[:-1]) + row[-1] for row in rows]
    sizes = set(map(len, pieces))
    return Batch(cid, memoryview(b"".join(pieces)), len(pieces), sizes.pop() if len(sizes) == 1 else 0)


def batches(rows: Iterable[Row], *, with_acq: bool = False) -> list[Batch]:
    """Rows as batches: adjacent rows of one cid share a batch."""
    return [batch(cid, [row[1:] for row in group], with_acq=with_acq) for cid, group in groupby(rows, key=itemgetter(0))]


def rows_in(chunk: bytes | memoryview | Chunk) -> Iterator[Row]:
    """The rows of a chunk or of its bytes: (cid, mid, moid, cap, acq, payload)."""
    data, at = chunk.rows() if isinstance(chunk, Chunk) else chunk, 0
    while at < len(data):
        (n,) = struct.unpack_from("<i", data, at)
        yield (*struct.unpack_from("<iqiqq", data, at + 4), bytes(data[at + 36 : at + 4 + n]))
        at += 4 + n
    assert at == len(data)


def scanned(backend: Backend, box: KeyRange | None = None) -> list[Row]:
    """The rows of a range, sorted."""
    with backend.scan(box or KeyRange()) as scan:
        return sorted(row for chunk in scan for row in rows_in(chunk))
