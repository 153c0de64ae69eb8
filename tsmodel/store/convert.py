"""Converts a store of format 1 to the current format, and rescues a store that was copied without its journal.

    python -m tsmodel.store.convert OLD NEW

Rules kept here:

* The old file is only read. The new one must not exist.
* Records keep their acquisition times, and the new file keeps the promise of `last_acq`.
* Every checksum of the old format is verified. Damage ends the copy, and no new file is left.
"""

from __future__ import annotations

import argparse
import sqlite3
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from tsmodel.errors import StoreCorruptError, StoreError, StoreFormatError
from tsmodel.keys import KeyRange
from tsmodel.store.sqlite import APPLICATION_ID, FORMAT_VERSION, SQLiteEngine, connected, read_header
from tsmodel.store.store import EmbeddedStore, open_store
from tsmodel.wire.chunk import Batch
from tsmodel.wire.records import GET_FORM, PUTA_FORM

__all__ = ["convert", "main"]

_AT_ONCE: Final = 32 * 2**20
"""Bytes of records stored in one transaction."""


def convert(old: Path | str, new: Path | str) -> int:
    """Copies the records of one file to another.

    Args:
        old: a store of format 1, or a store that was copied while it was open.
        new: the file to create.

    Returns:
        The number of records copied.

    Raises:
        StoreFormatError: when the old file is not a store.
        StoreCorruptError: when it is damaged.
        StoreError: when the new file exists, or one of them cannot be used.
    """
    old, new = Path(old), Path(new)
    if new.exists():
        raise StoreError(f"{new} exists; give the path of a new file", path=str(new))
    header = read_header(old)
    if header.application != APPLICATION_ID:
        raise StoreFormatError(f"{old} is not a tsmodel store", path=str(old))
    if header.version not in (1, FORMAT_VERSION):
        raise StoreFormatError(
            f"{old} has format {header.version}, which this version of tsmodel cannot read", path=str(old)
        )
    chunks, last = _first_format(old) if header.version == 1 else _current_format(old)
    try:
        with closing(open_store(new)) as store:
            count = _copied(chunks, store)
            store.advance(last + 1)
    except BaseException:
        for end in ("", "-wal", "-shm"):
            Path(f"{new}{end}").unlink(missing_ok=True)
        raise
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tsmodel.store.convert", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", type=Path, help="the store to copy; it is only read")
    parser.add_argument("new", type=Path, help="the file to create")
    options = parser.parse_args(arguments)
    try:
        count = convert(options.old, options.new)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{count} records copied to {options.new}")
    return 0


def _copied(chunks: Iterator[tuple[int, memoryview, int, int]], store: EmbeddedStore) -> int:
    batches: list[Batch] = []
    count = size = 0
    for cid, data, records, record_size in chunks:
        batches.append(_batch(cid, data, records, record_size))
        count += records
        size += len(data)
        if size >= _AT_ONCE:
            store.append(batches, with_acq=True)
            batches, size = [], 0
    store.append(batches, with_acq=True)
    return count


def _batch(cid: int, data: memoryview, count: int, record_size: int) -> Batch:
    """Records in GET form as a batch in PUTA form."""
    header = GET_FORM.header.itemsize
    if not record_size:
        pieces: list[bytes | memoryview] = []
        for start in GET_FORM.offsets(data).tolist():
            (n,) = struct.unpack_from("<i", data, start)
            pieces += (struct.pack("<i", n - 4), data[start + 8 : start + 4 + n])
        return Batch(cid, memoryview(b"".join(pieces)), count)
    records = np.frombuffer(data, GET_FORM.dtype(record_size - header))
    puta = np.empty(count, PUTA_FORM.dtype(record_size - header))
    puta["n"] = puta.dtype.itemsize - 4
    for name in (puta.dtype.names or ())[1:]:
        puta[name] = records[name]
    raw: Any = puta.view(np.uint8)
    return Batch(cid, memoryview(raw), count, puta.dtype.itemsize)


def _first_format(path: Path) -> tuple[Iterator[tuple[int, memoryview, int, int]], int]:
    """The records of a file of format 1, and its last assigned or promised acq."""
    journal = Path(f"{path}-wal")
    connection = connected(str(path), "mode=ro" if journal.exists() else "mode=ro&immutable=1")
    try:
        connection.execute("BEGIN")
        (last,) = connection.execute("SELECT last_acq FROM state").fetchone()
    except (sqlite3.Error, TypeError) as error:
        connection.close()
        raise StoreCorruptError(f"{path} is damaged: {error}", path=str(path)) from error

    def chunks() -> Iterator[tuple[int, memoryview, int, int]]:
        wanted = "id, cid, count, record_size, checksum, offsets, data"
        with closing(connection):
            try:
                for name, cid, count, record_size, checksum, offsets, data in connection.execute(
                    f"SELECT {wanted} FROM blocks ORDER BY cid, id"  # noqa: S608 - built from constants
                ):
                    if _first_checksum(data, offsets) != checksum:
                        raise StoreCorruptError(f"{path} is damaged: block {name} has a wrong checksum", path=str(path))
                    yield cid, memoryview(data), count, record_size
            except sqlite3.Error as error:
                raise StoreCorruptError(f"{path} is damaged: {error}", path=str(path)) from error

    return chunks(), int(last)


def _first_checksum(data: bytes, offsets: bytes) -> int:
    """The checksum of format 1: the sum of the words of a block."""
    total = len(data)
    for part in (data, offsets):
        words = len(part) // 8
        total += int.from_bytes(part[words * 8 :], "little")
        total += int(np.add.reduce(np.frombuffer(part, "<u8", words))) if words else 0
    return (total & (2**64 - 1)) - 2**63


def _current_format(path: Path) -> tuple[Iterator[tuple[int, memoryview, int, int]], int]:
    """The records of a file of the current format, with or without its journal."""
    engine = SQLiteEngine(str(path), read_only=True, as_copy=True)

    def chunks() -> Iterator[tuple[int, memoryview, int, int]]:
        with closing(engine), engine.reading() as snapshot:
            for block in snapshot.blocks(KeyRange()):
                yield block.bounds[0], block.rows(), block.count, block.record_size

    with engine.reading() as snapshot:
        last = snapshot.last_acq()
    return chunks(), last


if __name__ == "__main__":
    sys.exit(main())
