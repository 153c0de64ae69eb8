"""The data of the benchmarks: a model with a payload of 9 bytes (45 on the wire), objects and chunks."""

from __future__ import annotations

from collections.abc import Iterable

from tsmodel import Bool, Float32, Int32, KeyRange, TSModel
from tsmodel.model.model import codec_of
from tsmodel.store import EmbeddedStore, open_store
from tsmodel.wire.chunk import Chunk


class Reading(TSModel):
    counter: Int32
    volts: Float32
    valid: Bool


def readings(count: int, first: int = 0, meters: int = 1000) -> list[Reading]:
    """Readings sorted by time, with the meters in turn, as a collector receives them."""
    return [
        Reading(cid=1, mid=n % meters, moid=7, cap=n // meters * 10**9, counter=n, volts=n / 2, valid=n % 3 == 0)
        for n in range(first, first + count)
    ]


def put(store: EmbeddedStore, rows: list[Reading]) -> None:
    """Stores rows in one put."""
    store.append(codec_of(Reading).encode(rows))


def chunks_of(rows: list[Reading]) -> list[Chunk]:
    """Returns the chunks of a store in memory with these rows."""
    store = open_store(None)
    put(store, rows)
    return copied(store.scan(KeyRange()))


def copied(chunks: Iterable[Chunk]) -> list[Chunk]:
    """Copies chunks whose bytes may be reused."""
    return [chunk.kept() for chunk in chunks]
