"""Messages as plain bytes, and feeding them to readers in pieces."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import TypeVar

from tsmodel.wire.chunk import Chunk
from tsmodel.wire.events import PutRecords
from tsmodel.wire.reader import Reader

E = TypeVar("E")

OK = struct.pack("<iQ", 0, 0)


def get_record(payload: bytes, *key: int) -> bytes:
    """A record in GET form."""
    return struct.pack("<iiqiqq", 32 + len(payload), *key) + payload


def put_record(payload: bytes, *key: int) -> bytes:
    """A record in PUT form (mid, moid, cap) or PUTA form (with acq)."""
    packed = struct.pack("<qiq" if len(key) == 3 else "<qiqq", *key)
    return struct.pack("<i", len(packed) + len(payload)) + packed + payload


def put_of(*batches: tuple[int, list[bytes]], command: int = 5) -> bytes:
    """A complete put request."""
    pieces = [struct.pack("<iQ", command, 0)]
    for cid, records in batches:
        pieces += [struct.pack("<ii", cid, sum(map(len, records))), *records]
    return b"".join([*pieces, struct.pack("<i", -1)])


def get_answer(*records: bytes, acq: int = 99) -> bytes:
    """A complete answer to a GET."""
    return OK + b"".join(records) + struct.pack("<iiQq", 0, 0, 8, acq)


def cut(data: bytes, edges: Iterable[int]) -> list[bytes]:
    """The data in pieces."""
    places = [0, *sorted(edges), len(data)]
    return [data[start:end] for start, end in pairwise(places) if start < end]


def fed(reader: Reader[E], pieces: Iterable[bytes], events: list[object] | None = None) -> list[object]:
    """All events. Adjacent chunks of records are joined, because their boundaries depend on the pieces. Events are appended
    to `events`, so that those before an error are kept."""
    events = [] if events is None else events
    for piece in pieces:
        for event in reader.feed(piece):
            _add(events, event)
    return events


def _add(events: list[object], event: object) -> None:
    last = events[-1] if events else None
    if isinstance(event, Chunk):
        records = bytes(event.rows())
        if isinstance(last, bytes):
            events[-1] = last + records
        else:
            events.append(records)
    elif isinstance(event, PutRecords):
        records = bytes(event.records)
        if isinstance(last, tuple) and last[0] == event.cid:
            events[-1] = (event.cid, last[1] + records, last[2] + event.found.count)
        else:
            events.append((event.cid, records, event.found.count))
    else:
        events.append(event)
