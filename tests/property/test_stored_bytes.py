"""Stored bytes changed with valid checksums: decoding returns data of the right size or refuses it, and never allocates
more than a block may need."""

from __future__ import annotations

import sqlite3
import struct
import tempfile
import tracemalloc
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import attrs
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import batches, scanned
from support.budget import examples
from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from tsmodel.errors import StoreCorruptError, StoreError
from tsmodel.keys import KEY_FIELDS
from tsmodel.store import EmbeddedStore, info, open_store, parts, recover, verify
from tsmodel.store.blocks import Block, sorted_runs
from tsmodel.store.directory import _DIRECTORY, _STATE, Directory, State, entries_of
from tsmodel.store.merging import MergePolicy
from tsmodel.store.parts import Codec
from tsmodel.store.sqlite import SQLiteEngine, read_state, write_state
from tsmodel.wire.chunk import RowChunk

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63))


@st.composite
def changes(draw: st.DrawFn) -> Any:
    """A function that changes bytes: single bytes, integers, and pieces that are repeated or lost."""
    seed, count = draw(st.integers(0, 2**32)), draw(st.integers(1, 4))

    def changed(data: bytes) -> bytes:
        random, found = Random(seed), bytearray(data)
        for _ in range(count):
            if not found:
                break
            at = random.randrange(min(len(found), random.choice([64, 200, 10**9])))
            how = random.randrange(8)
            if how < 3:
                found[at] = random.choice(INTERESTING) if how else random.randrange(256)
            elif how < 6:
                number = struct.pack("<q", random.choice(NUMBERS))[: random.choice([2, 4, 8])]
                found[at : at + len(number)] = number
            elif how == 6:
                del found[at : at + random.randrange(1, 40)]
            else:
                found[at:at] = found[at : at + random.randrange(1, 40)]
        return bytes(found)

    return changed


def stored_blocks() -> list[tuple[Block, bytes]]:
    random = Random(1)
    found = []
    for count in (3, 400):
        for size in (6, 0):
            rows = [
                (1, n % 7, n % 2, n * 1000 + random.randrange(9), n, random.randbytes(size or n % 5 * 40))
                for n in range(count)
            ]
            records = [struct.pack("<iiqiqq", 32 + len(row[-1]), *row[:-1]) + row[-1] for row in rows]
            (block,) = sorted_runs(RowChunk.of(records), windows=False)[0]
            found += [(block, block.encoded(codec)) for codec in Codec]
    return found


BLOCKS = stored_blocks()


def everything(block: Block) -> None:
    """Decodes all of a block."""
    for name in KEY_FIELDS:
        assert block.key(name).shape == (block.count,)
    assert len(block.payloads()) == block.size - 36 * block.count
    assert len(block.rows()) == block.size


@settings(max_examples=examples(800))
@given(st.sampled_from(BLOCKS), changes())
def test_changed_blocks_with_valid_checksum(stored: tuple[Block, bytes], change: Any) -> None:
    block, data = stored
    changed = change(data)
    tracemalloc.start()
    try:
        made = Block.decoded(memoryview(changed), block.bounds, block.count, block.record_size, block.size)
        everything(made)
    except StoreCorruptError:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 4 * 2**20


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("count", [2**16, 2**31, 2**40])
def test_part_with_impossible_count_is_refused(codec: Codec, count: int) -> None:
    """The directory claims the same count."""
    block, data = next((block, data) for block, data in BLOCKS if block.count == 400 and block.record_size)
    tracemalloc.start()
    with pytest.raises(StoreCorruptError):
        everything(Block.decoded(memoryview(data), block.bounds, count, block.record_size, count * block.record_size))
    header = parts._HEADER.pack(2, codec, 8, 0, 0, count % 2**32, 16, 0, 0, 1)
    with pytest.raises(StoreCorruptError):
        parts.decode_integers(next(parts.read_parts(memoryview(header + bytes(16)))), 1000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**20


@settings(max_examples=examples(300))
@given(st.sampled_from(BLOCKS), changes())
def test_changed_directories_with_valid_checksum(stored: tuple[Block, bytes], change: Any) -> None:
    block, data = stored
    directory = Directory.of_entries(7, 1, 3, np.repeat(entries_of([block], [data]), 3))
    changed = change(directory.to_bytes())
    try:
        made = Directory.from_bytes(changed, 7, 1, xxh3_128_intdigest(changed))
    except StoreCorruptError:
        return
    head = _DIRECTORY.size
    assert made.entries.tobytes() == changed[head : head + made.entries.nbytes]


@given(changes())
def test_changed_states_with_valid_checksum(change: Any) -> None:
    changed = change(State(5, 6, 7, 8, 9, 2**100, True).to_bytes()[:-8])
    try:
        State.from_bytes(changed + struct.pack("<Q", xxh3_64_intdigest(changed)))
    except StoreCorruptError:
        return
    assert len(changed) >= _STATE.size


@settings(max_examples=40)
@given(changes(), st.sampled_from(["block", "directory", "state"]))
def test_changed_files_with_valid_checksums(change: Any, what: str) -> None:
    """Every reader answers or reports damage."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.tsdb"
        path.write_bytes(FILE)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            forge(connection, what, change)
        for read in (reading, info, verify, lambda each: recover(each, f"{each}.new"), putting):
            message = "store.tsdb"
            try:
                read(path)
            except StoreError as error:
                message = str(error)
            # Columns are decoded lazily, by code that does not know the file.
            assert "store.tsdb" in message or (
                what == "block" and message.startswith(("a part", "a block", "lengths", "runs"))
            )


def file_with_two_runs() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.tsdb"
        with closing(EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=9))) as store:
            for _ in range(2):
                store.append(batches([(1, n % 7, 0, n, b"%06d" % (n % 10)) for n in range(40)]))
        return path.read_bytes()


FILE = file_with_two_runs()


def forge(connection: sqlite3.Connection, what: str, change: Any) -> None:
    """Changes stored bytes and recomputes all checksums above them."""
    state = read_state(connection)
    number, cid, digest, data = connection.execute("SELECT number, cid, digest, directory FROM runs LIMIT 1").fetchone()
    before = int.from_bytes(digest, "little")
    directory = Directory.from_bytes(data, number, cid, before)
    if what == "state":
        changed = change(state.to_bytes()[:-8])
        stored = changed + struct.pack("<Q", xxh3_64_intdigest(changed))
        connection.execute("UPDATE state SET data = ?", (stored,))
        return
    if what == "block":
        (block,) = connection.execute("SELECT data FROM blocks WHERE id = ?", (directory.first,)).fetchone()
        block = change(block)
        connection.execute("UPDATE blocks SET data = ? WHERE id = ?", (block, directory.first))
        entries = directory.entries.copy()
        entries["checksum"][0], entries["length"][0] = xxh3_64_intdigest(block), len(block)
        data = attrs.evolve(directory, entries=entries).to_bytes()
    else:
        data = change(data)
    after = xxh3_128_intdigest(data)
    connection.execute("UPDATE runs SET directory = ?, digest = ?", (data, after.to_bytes(16, "little")))
    connection.execute("DELETE FROM runs WHERE number != ?", (number,))
    write_state(connection, msgspec.structs.replace(state, runs=1, digest=after))


def reading(path: Path) -> None:
    with closing(open_store(path, read_only=True)) as store:
        scanned(store)


def putting(path: Path) -> None:
    with closing(EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=2))) as store:
        store.append(batches([(1, 1, 1, 1, b"%06d" % 1)]))
