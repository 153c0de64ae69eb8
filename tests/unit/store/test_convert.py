"""Format 1 files: opening one is refused with a remedy, and `convert` copies it."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest
from support.batches import Row, scanned

from tsmodel.errors import StoreCorruptError, StoreError, StoreFormatError
from tsmodel.keys import KeyRange
from tsmodel.store import open_store
from tsmodel.store.convert import convert, main

_BOUNDS = "cid, mid_min, mid_max, moid_min, moid_max, cap_min, cap_max, acq_min, acq_max"


def summed(data: bytes) -> int:
    whole = len(data) // 8 * 8
    return sum(struct.unpack(f"<{whole // 8}Q", data[:whole])) + int.from_bytes(data[whole:], "little")


def first_format(path: Path, blocks: list[list[Row]], last_acq: int, journal: str = "DELETE") -> None:
    """Creates a format 1 file: one row per block, with its records in GET form."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), last_acq INTEGER NOT NULL)")
        connection.execute("CREATE TABLE runs (number INTEGER PRIMARY KEY AUTOINCREMENT, cid INTEGER, size INTEGER)")
        names = f"{_BOUNDS}, count, record_size, checksum, offsets, data"
        connection.execute(f"CREATE TABLE blocks (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, {names})")
        connection.execute("INSERT INTO state VALUES (1, ?)", (last_acq,))
        connection.execute(f"PRAGMA application_id = {0x74736D64}")
        connection.execute("PRAGMA user_version = 1")
        for rows in blocks:
            pieces = [struct.pack("<iiqiqq", 32 + len(row[-1]), *row[:5]) + row[-1] for row in rows]
            sizes = [len(piece) for piece in pieces]
            same = len(set(sizes)) == 1
            starts = [sum(sizes[:at]) for at in range(len(sizes))]
            offsets = b"" if same else struct.pack(f"<{len(sizes)}I", *starts)
            data = b"".join(pieces)
            checksum = (len(data) + summed(data) + summed(offsets)) % 2**64 - 2**63
            values = (1, rows[0][0], *[0] * 8, len(rows), sizes[0] if same else 0, checksum, offsets, data)
            connection.execute(f"INSERT INTO blocks (run, {names}) VALUES ({', '.join('?' * 15)})", values)


@pytest.fixture
def rows() -> list[list[Row]]:
    return [
        [(1, n, 0, n * 7, 1000 + n, b"%04d" % n) for n in range(50)],
        [(1, n, 3, n * 7, 2000 + n, b"x" * n) for n in range(9)],
        [(2, -5, 3, 2**62, 5, b"")],
    ]


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_convert_copies_all_records(tmp_path: Path, rows: list[list[Row]], journal: str) -> None:
    old, new = tmp_path / "old.tsdb", tmp_path / "new.tsdb"
    first_format(old, rows, 5000, journal)
    before = old.read_bytes()
    with pytest.raises(StoreFormatError, match=r"format 1.*`python -m tsmodel.store.convert \S+old.tsdb NEW`"):
        open_store(old)
    assert convert(old, new) == 60
    assert old.read_bytes() == before
    with closing(open_store(new)) as store:
        assert scanned(store) == sorted(row for block in rows for row in block)
        assert store.last_acq(KeyRange()) == 5001


def test_convert_stops_at_damage_and_leaves_no_file(tmp_path: Path, rows: list[list[Row]]) -> None:
    old, new = tmp_path / "old.tsdb", tmp_path / "new.tsdb"
    first_format(old, rows, 5000)
    content = old.read_bytes()
    old.write_bytes(content.replace(b"0033", b"0034"))
    with pytest.raises(StoreCorruptError, match=r"old.tsdb is damaged: block 1 "):
        convert(old, new)
    assert [each.name for each in tmp_path.iterdir()] == ["old.tsdb"]


def test_convert_command(tmp_path: Path, rows: list[list[Row]], capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.tsdb", tmp_path / "new.tsdb"
    first_format(old, rows, 5000)
    assert main([str(old), str(new)]) == 0
    assert capsys.readouterr().out == f"60 records copied to {new}\n"
    assert main([str(old), str(new)]) == 1
    assert "exists; give the path of a new file" in capsys.readouterr().err


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"nothing")
    with pytest.raises(StoreFormatError, match="is not a tsmodel store"):
        convert(tmp_path / "a", tmp_path / "b")
    with pytest.raises(StoreError, match="cannot be read"):
        convert(tmp_path / "none", tmp_path / "b")
