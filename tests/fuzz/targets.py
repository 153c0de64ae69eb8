"""The fuzz targets: whatever the bytes, each must answer correctly or raise the documented error.

A target takes bytes and raises if it finds a fault: a `MemoryError`, a hang, an undocumented exception, or an answer that
contradicts another way to ask.
"""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
import numpy as np
from crash import damage
from crash.shim import fast_directory
from support.batches import Row, batches, rows_in, scanned
from support.wiring import OK, fed, get_answer, get_record, put_of, put_record

import tsmodel as ts
from fuzz.mutation import mutated, mutated_text
from tsmodel import TSModel, field, schema
from tsmodel.errors import (
    CheckpointError,
    RemoteProtocolError,
    SchemaError,
    StoreCorruptError,
    StoreError,
    StoreFormatError,
    TSModelError,
)
from tsmodel.io.effects import Receive
from tsmodel.keys import Key, KeyRange
from tsmodel.query.following import Checkpoint, Position
from tsmodel.server.conversation import Conversation, Memory
from tsmodel.store import EmbeddedStore, info, open_store, recover, verify
from tsmodel.store.blocks import Block, sorted_runs
from tsmodel.store.directory import Directory, State
from tsmodel.store.journal import check_journal
from tsmodel.store.memory import MemoryEngine
from tsmodel.store.merging import MergePolicy
from tsmodel.store.parts import Codec
from tsmodel.store.sqlite import SQLiteEngine, read_state, write_state
from tsmodel.store.tables import PUTS, REMOVALS
from tsmodel.wire.chunk import Chunk, RowChunk, parsed
from tsmodel.wire.client_role import (
    GetAcqAnswerReader,
    GetAnswerReader,
    PutAnswerReader,
    get_acq_request,
    get_request,
)
from tsmodel.wire.events import GetAcqRequest, GetRequest, PutEnd
from tsmodel.wire.reader import Reader
from tsmodel.wire.server_role import RequestReader

__all__ = ["TARGETS", "Target"]


@attrs.frozen
class Target:
    """A parser of foreign input.

    Attributes:
        name: its name on the command line.
        seeds: valid inputs.
        check: takes an input and raises if it finds a fault.
        change: makes an input from the seeds.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    check: Callable[[bytes], None]
    change: Callable[[random.Random, Sequence[bytes]], bytes] = mutated


class Kind(IntEnum):
    ONE = 1
    TWO = 2


class Reading(TSModel, moid=1):
    counter: ts.Int32
    volts: ts.Float32
    valid: ts.Bool


class Changing(TSModel, moid=1):
    amps: ts.Nullable[int] = field(item=ts.Int16)
    name: ts.Text
    values: ts.Array[int] = field(item=ts.Int16)
    rest: ts.Blob


class Message(TSModel, moid=1, encoding="msgpack"):
    name: ts.Text
    value: ts.Float64


class Letter(TSModel, moid=2, strict_read=True):
    kind: ts.Enumerated[Kind] = field(storage=ts.UInt8)
    when: ts.Nullable[int] = field(item=ts.Timestamp)
    subject: ts.Text
    size: ts.Int32 = field(ge=0, unit="B")


MODELS: Final = (Reading, Changing, Message, Letter)


# The wire, as a server


def _pieces(data: bytes) -> list[bytes]:
    """A message in pieces, whose sizes derive from the message."""
    chance = random.Random(data)
    places = sorted(chance.choices(range(len(data) + 1), k=chance.choice([1, 2, 8]))) if data else []
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]


def _read(reader: Reader[Any], pieces: list[bytes]) -> tuple[list[object], str]:
    """The events of a message, and the error that ends it."""
    events: list[object] = []
    try:
        for piece in pieces:
            fed(reader, [piece], events)
        reader.received(0)
    except RemoteProtocolError as error:
        return events, f"{type(error).__name__} at {error.offset}"
    return events, "end"


def _joined(events: list[object]) -> list[object]:
    """Events independent of chunk boundaries. The records of a put are grouped by cid, because small batches are joined."""
    found: list[object] = []
    by_cid: dict[int, tuple[bytes, int]] = {}
    for event in [*events, None]:
        if isinstance(event, tuple):
            cid, records, count = event
            before = by_cid.get(cid, (b"", 0))
            by_cid[cid] = (before[0] + records, before[1] + count)
            continue
        found += sorted(by_cid.items())
        by_cid = {}
        if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += event
        else:
            found.append(event)
    return found


def _agree(make: Callable[[], Reader[Any]], data: bytes) -> list[object]:
    """Reads a message whole and in pieces, which must give the same events; returns them."""
    whole, ended = _read(make(), [data] if data else [])
    cut, cut_ended = _read(make(), _pieces(data))
    assert ended == cut_ended, f"whole it ends with {ended}, in pieces with {cut_ended}"
    assert _joined(whole) == _joined(cut)
    return cut


@cache
def _requests() -> list[bytes]:
    keys = Key(0, 0, 0, 0, -(2**63)), Key(9, 9, 9, 99, 2**63 - 1)
    puts = [put_record(bytes(n % 5), n, 1, n) for n in range(30)]
    putas = [put_record(b"12345678", n, 1, n, n) for n in range(30)]
    single = put_of(*((n % 3, [put_record(b"1234", n, 1, n)]) for n in range(40)))
    mixed = put_of(*((n % 3, [put_record(bytes(n % 2), n, 1, n)] * (n % 3)) for n in range(40)))
    return [
        b"".join(get_request(*keys)),
        b"".join(get_acq_request(*keys)),
        put_of((1, puts), (2, puts[:2])) + b"".join(get_request(*keys)),
        put_of((1, putas), (2, putas[:2]), command=6) + b"".join(get_request(*keys)),
        single + b"".join(get_request(*keys)) + b"".join(get_acq_request(*keys)),
        mixed + put_of() + struct.pack("<iQ", 1, 70) + b"excess" + keys[0].to_bytes() + keys[1].to_bytes(),
    ]


def _serves(data: bytes) -> None:
    """A server answers valid requests in turn, stores only whole puts, and refuses everything else."""
    events = _agree(lambda: RequestReader(1000), data)
    memory = Memory(2**20)
    with closing(EmbeddedStore(MemoryEngine(), policy=MergePolicy(2, 2000), slice_bytes=3000)) as store:
        conversation = Conversation(store, max_put=2**18, peer="peer", memory=memory)
        answers = b"".join(_answers(conversation, _pieces(data)))
        assert memory.used == 0, f"{memory.used} bytes of memory are never released"
        asked = [event for event in events if isinstance(event, (GetRequest, GetAcqRequest, PutEnd))]
        left = memoryview(answers)
        refused = False
        for event in asked:
            left, refused = _answered(event, left)
            if refused:
                break
        assert refused or not left or (len(left) == 12 and left[:4] != OK[:4]), f"{bytes(left)!r} answers no request"
        assert store.append(batches([(1, 1, 1, 1, b"")])).acq_min >= 0
        puts = sum(put.count for put in store.puts())
        assert puts == len(scanned(store))


def _answers(conversation: Conversation, pieces: list[bytes]) -> Iterator[bytes]:
    steps = conversation.work()
    try:
        step = next(steps)
        for piece in [*pieces, b""]:
            left = memoryview(piece)
            while True:
                if not isinstance(step, Receive):
                    yield b"".join(map(bytes, step.buffers))
                    step = next(steps)
                elif left or not piece:
                    count = min(len(left), len(step.buffer))
                    step.buffer[:count] = left[:count]
                    left = left[count:]
                    step = steps.send(count)
                else:
                    break
    except StopIteration:
        pass
    finally:
        steps.close()


def _answered(event: object, answers: memoryview) -> tuple[memoryview, bool]:
    """The bytes after the answer to a request, and whether the answer was a refusal."""
    if isinstance(event, GetRequest):
        assert answers[:12] == OK, "a GET is not answered"
        at = 12
        while (size := struct.unpack_from("<i", answers, at)[0]) != 0:
            assert size >= 32
            at += 4 + size
        (status,) = struct.unpack_from("<i", answers, at + 4)
        return answers[at + (24 if not status else 16) :], status != 0
    (status,) = struct.unpack_from("<i", answers)
    sizes = {"GetAcqRequest": 20, "PutEnd": 28}
    return answers[12 if status else sizes[type(event).__name__] :], status != 0


# The wire, as a client


@cache
def _some_answers() -> list[bytes]:
    records = [get_record(struct.pack("<if?", n, n / 2, n % 2), 1, n % 3, 1, n, n) for n in range(40)]
    mixed = [get_record(bytes(n % 13), 1, n % 3, 1, n, n) for n in range(40)]
    return [
        get_answer(*records),
        get_answer(*mixed),
        get_answer(acq=-5),
        OK + b"".join(records) + struct.pack("<iiQ", 0, -5, 0),
        struct.pack("<iQq", 0, 8, 5),
        struct.pack("<iQqq", 0, 16, 5, 6),
        struct.pack("<iQ", -7, 0),
        struct.pack("<iQ", 0, 3) + b"abc" + records[0] + struct.pack("<iiQq", 0, 0, 20, 7) + bytes(12),
    ]


def _understands(data: bytes) -> None:
    """A client reads an answer the same way however it is cut, and gets the same records from rows and from columns."""
    for reader in (GetAcqAnswerReader, PutAnswerReader):
        _agree(lambda reader=reader: reader(200), data)  # type: ignore[misc]
    for event in _agree(lambda: GetAnswerReader(200), data):
        if isinstance(event, bytes):
            chunk = parsed(memoryview(event))
            rows = list(rows_in(chunk))
            for at, name in enumerate(("cid", "mid", "moid", "cap", "acq")):
                assert chunk.key(name).tolist() == [row[at] for row in rows]
            _decodes(chunk, rows)


def _decodes(chunk: Chunk, rows: list[Any]) -> None:
    """Whatever the payloads, a query returns those that match its model, the same ones from rows and from columns."""
    with ts.connect("memory:") as session:
        sent = [(cid, mid, 1, cap, n, payload) for n, (cid, mid, _, cap, _, payload) in enumerate(rows) if 0 <= cid < 100]
        session.backend.append(batches(sent, with_acq=True), with_acq=True)
        for model in (Reading, Changing, Message):
            query = session.query(model).on_error("skip")
            found = query.all()
            assert query.count() == len(found)
            with suppress(TSModelError):
                assert len(session.query(model).on_error("skip").to_arrow()) == len(found)


# Blocks


@cache
def _blocks() -> list[bytes]:
    found = []
    chance = random.Random(1)
    for count in (1, 5, 40, 300):
        for make in (
            lambda n: struct.pack("<id", n, n / 3),
            lambda n: bytes(n % 4),
            lambda n: chance.randbytes(6),
            lambda _: b"",
        ):
            rows = RowChunk.of([get_record(make(n), 1, n // 20, n % 2, n * 10**9, n) for n in range(count)])
            for codec in Codec:
                for marks in (None, np.arange(count) // 7):
                    (block,) = sorted_runs(rows, marks=marks, windows=False)[0]
                    described = struct.pack("<9qIII", *block.bounds, block.count, block.record_size, block.size)
                    found.append(described + block.encoded(codec))
    return found


_DESCRIBED: Final = struct.Struct("<9qIII")


def _decompresses(data: bytes) -> None:
    """A stored block has as many records as its entry says, or is refused."""
    if len(data) < _DESCRIBED.size:
        return
    *bounds, count, record_size, size = _DESCRIBED.unpack_from(data)
    if bounds[0] != 1:  # the directory's checksum
        return
    stored = memoryview(data)[_DESCRIBED.size :]
    few = slice(count // 3, count // 3 + max(1, count // 9))
    for ask in (
        lambda block: block.columns(),
        lambda block: list(rows_in(block.rows())),
        lambda block: block.marks,
        lambda block: [block.some(at, few) for at in range(4)],
        lambda block: list(rows_in(block.select(KeyRange.of(mid=(1, 5), cap=(0, 7 * 10**9))))),
        lambda block: block.chunk().take(few).rows(),
        lambda block: block.without(np.arange(block.count) > 0).encoded(Codec.LZ4),
    ):
        with suppress(StoreCorruptError):
            block = Block.decoded(stored, tuple(bounds), count, record_size, size)
            found = ask(block)  # type: ignore[no-untyped-call]
            if ask.__code__.co_names[:1] == ("columns",):
                assert {len(each) for each in found[:4]} == {count}


# Files


@cache
def _folder() -> Path:
    directory = tempfile.TemporaryDirectory(dir=fast_directory())
    _folder.kept = directory  # type: ignore[attr-defined]
    return Path(directory.name)


@cache
def _small() -> tuple[damage.Small, damage.Small]:
    folder = _folder() / "made"
    folder.mkdir()
    return damage.small(folder), damage.left(folder)


def _is_refused(path: Path, main: bytes, journal: bytes, of: damage.Small, reader: damage.Reader) -> None:
    damage.answer(path, main, journal, of.index if journal else b"", of.rows, reader)


def _files() -> list[bytes]:
    return [_small()[0].main]


def _opens(data: bytes) -> None:
    """A damaged file answers correctly or is refused."""
    reader = damage.READERS[len(data) % len(damage.READERS) if len(data) % 8192 else sum(data[-64:]) % len(damage.READERS)]
    _is_refused(_folder() / "damaged.tsdb", data, b"", _small()[0], reader)


def _journals() -> list[bytes]:
    return [_small()[1].journal]


def _replays(data: bytes) -> None:
    """A file with a damaged journal returns whole puts or is refused."""
    path = _folder() / "journal"
    path.write_bytes(data)
    with suppress(StoreCorruptError):
        check_journal(path)
    of = _small()[1]
    if data:
        reader = (_has_whole_puts, damage.looked_over, damage.recovered, damage.put)[len(data) % 4]
        with suppress(AssertionError if reader is not _has_whole_puts else ()):
            _is_refused(_folder() / "damaged.tsdb", of.main, data, of, reader)


def _has_whole_puts(path: Path, rows: list[Row]) -> None:
    """Damage in several places may look like an unfinished journal. The puts in it are whole and in order."""
    ordered = sorted(rows, key=lambda row: row[4])
    with closing(open_store(path)) as store:
        found = sorted(scanned(store), key=lambda row: row[4])
    assert found == ordered[: len(found)]
    assert len(found) % 5 == 0


@cache
def _crafted_seeds() -> list[bytes]:
    path = _folder() / "crafted.tsdb"
    with closing(EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=3))) as store:
        for number in range(5):
            store.append(batches([(1, n % 7, 0, n * n % 50, b"%06d" % (n % 10)) for n in range(30 + number)]))
            store.append(batches([(2, n, 0, n, b"x" * (n % 3)) for n in range(3)]))
        store.append(batches([(1, n, 0, 7, 5, b"%06d" % n) for n in range(40)], with_acq=True), with_acq=True)
        store.remove([KeyRange.of(cid=(1, 2), mid=(2, 4))], note="a removal")
        store.undo([store.puts()[0].id])
    return [bytes([kind]) + bytes([which]) + struct.pack("<I", 0) * 3 for kind in range(6) for which in range(4)]


def _crafted(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    return chance.choice(seeds)[:2] + struct.pack("<3I", *(chance.randrange(2**32) for _ in range(3)))


def _opens_crafted(data: bytes) -> None:
    """A file changed with valid checksums may answer differently or be refused, but it must not hang, exhaust memory, or
    raise an undocumented error."""
    import sqlite3

    data = data.ljust(14, b"\0")
    _crafted_seeds()
    path = _folder() / "changed.tsdb"
    for end in ("-wal", "-shm", "-journal"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    path.write_bytes((_folder() / "crafted.tsdb").read_bytes())
    chance = random.Random(data[2:])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        _craft(connection, data[0] % 6, chance)
    readers: list[Callable[[], object]] = [
        lambda: _with(path, scanned),
        lambda: _with(path, lambda store: [*store.puts(), *store.removals()]),
        lambda: _with(path, lambda store: store.append(batches([(1, 1, 0, 0, b"more")] * 40)), read_only=False),
        lambda: _with(path, lambda store: store.undo([store.puts()[1].id]), read_only=False),
        lambda: verify(path),
        lambda: info(path),
        lambda: recover(path, _folder() / "saved.tsdb"),
    ]
    (_folder() / "saved.tsdb").unlink(missing_ok=True)
    refusal = ""
    try:
        readers[data[1] % len(readers)]()
    except (StoreCorruptError, StoreFormatError) as error:
        refusal = str(error)
    except StoreError as error:
        refusal = str(error) if "put" not in str(error) else ""  # a put that is already undone, or a different one
    _names("changed.tsdb", refusal)


def _names(name: str, refusal: str) -> None:
    assert not refusal or name in refusal, f"the message does not name the file: {refusal}"


def _with(path: Path, use: Callable[[EmbeddedStore], object], *, read_only: bool = True) -> object:
    with closing(open_store(path, read_only=read_only)) as store:
        return use(store)


def _craft(connection: Any, kind: int, chance: random.Random) -> None:
    """Changes a block, a directory, the state or an entry, and fixes its checksums."""

    def changed(content: bytes) -> bytes:
        return mutated(chance, [content]) or b"\0"

    if kind <= 2:
        number, cid, data = chance.choice(connection.execute("SELECT number, cid, directory FROM runs").fetchall())
        directory = Directory.doubtful(data, number, cid)
        assert directory is not None
        entries = directory.entries.copy()
        if kind == 0:  # a block
            at = chance.randrange(len(entries))
            where = directory.id_of(at)
            (content,) = connection.execute("SELECT data FROM blocks WHERE id = ?", (where,)).fetchone()
            content = changed(content)
            connection.execute("UPDATE blocks SET data = ? WHERE id = ?", (content, where))
            from xxhash import xxh3_64_intdigest

            entries["checksum"][at], entries["length"][at] = xxh3_64_intdigest(content), len(content)
        elif kind == 1:  # a field of the directory
            name = chance.choice([name for name in entries.dtype.names if name != "checksum"])
            raw = mutated(chance, [entries[name].tobytes()]).ljust(entries[name].nbytes, b"\0")
            entries[name] = np.frombuffer(raw[: entries[name].nbytes], entries[name].dtype)
        else:  # its number of entries
            entries = np.concatenate([entries, entries])[: chance.randint(1, 2 * len(entries))]
        new = Directory.of_entries(number, cid, directory.first, entries, level=chance.choice([0, 0, 1, 2, 9]))
        connection.execute(
            "UPDATE runs SET digest = ?, directory = ? WHERE number = ?",
            (new.digest.to_bytes(16, "little"), new.to_bytes(), number),
        )
        digests = [int.from_bytes(each, "little") for (each,) in connection.execute("SELECT digest FROM runs")]
        write_state(connection, msgspec.structs.replace(read_state(connection), digest=sum(digests) % 2**128))
    elif kind == 3:  # the state
        fields = ("last_acq", "generation", "next_run", "next_block", "next_put", "next_removal")
        values = [0, 1, 2, 40, 2**31, 2**62, 2**63 - 1, -1, -(2**63)]
        state: State = msgspec.structs.replace(read_state(connection), **{chance.choice(fields): chance.choice(values)})
        write_state(connection, state)
    else:  # a put or a removal
        kind_of: Any = PUTS if kind == 4 else REMOVALS
        rows = connection.execute(f"SELECT number, data FROM {kind_of.table} ORDER BY number").fetchall()
        at = chance.randrange(len(rows))
        number, content = rows[at]
        body = changed(content[:-8])
        content = body + struct.pack("<Q", kind_of._checksum(body, number))
        connection.execute(f"UPDATE {kind_of.table} SET data = ? WHERE number = ?", (content, number))
        rows[at] = (number, content)
        total = sum(kind_of.checksum(each) for _, each in rows) % 2**64
        write_state(connection, msgspec.structs.replace(read_state(connection), **{f"{kind_of.table}_digest": total}))


# Lock files and checkpoints


@cache
def _lock_files() -> list[bytes]:
    path = _folder() / "made.lock"
    found = []
    for models in (MODELS, MODELS[:1], MODELS[3:]):
        schema.freeze(models, path)
        found.append(path.read_bytes())
    return found


_WORDS: Final = [
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"18446744073709551616",
    b'"x"',
    b'""',
    b"[]",
    b"{}",
    b"[{}]",
]
_WORDS += [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"type"',
    b'"fields"',
    b'"item"',
    b'"Nested"',
    b'"Enumerated"',
    b'"members"',
]
_WORDS += [b'"\\ud800"', b"\xff", b"[" * 2000, b'{"type":' * 300, b'"limits"', b'"constraints"', b'"layout"', b'"size"']


def _text(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    return mutated_text(chance, seeds, _WORDS) if chance.random() < 0.8 else mutated(chance, seeds)


def _checks(data: bytes) -> None:
    """A lock file is compared or refused."""
    path = _folder() / "schema.lock"
    path.write_bytes(data)
    refusal = ""
    try:
        changes = schema.check(MODELS, path)
        assert str(changes) or not changes
    except SchemaError as error:
        refusal = str(error)
    _names("schema.lock", refusal)


_OF: Final = {"target": "tstorage://host", "model": "Reading 123", "query": "all records"}


@cache
def _checkpoints() -> list[bytes]:
    path = _folder() / "made.json"
    found = []
    for acq, taken in ((0, 0), (2**62, 7), (-(2**63), 1)):
        Checkpoint(path, _OF).save(Position(acq, taken))
        found.append(path.read_bytes())
    return found


def _resumes(data: bytes) -> None:
    """A checkpoint gives a possible position or is refused."""
    path = _folder() / "checkpoint.json"
    path.write_bytes(data)
    refusal = ""
    try:
        found = Checkpoint(path, _OF).load()
        assert found is not None
        assert -(2**63) <= found.acq < 2**63
        assert found.taken >= 0
        Checkpoint(path, _OF).save(found)
    except CheckpointError as error:
        refusal = str(error)
    _names("checkpoint.json", refusal)


TARGETS: Final = {
    target.name: target
    for target in (
        Target("requests", _requests, _serves),
        Target("answers", _some_answers, _understands),
        Target("blocks", _blocks, _decompresses),
        Target("files", _files, _opens),
        Target("journals", _journals, _replays),
        Target("crafted", _crafted_seeds, _opens_crafted, _crafted),
        Target("schemas", _lock_files, _checks, _text),
        Target("checkpoints", _checkpoints, _resumes, _text),
    )
}
