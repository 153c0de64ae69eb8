"""Damaged files: reads are right or raise a `StoreError` that says what is wrong."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from support.batches import Row, batches, scanned
from xxhash import xxh3_64_intdigest

from tsmodel.backend import PutInterval
from tsmodel.errors import StoreCorruptError, StoreError, StoreFormatError
from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore, open_store, verify
from tsmodel.store.directory import Directory
from tsmodel.store.journal import check_journal, committed
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine, read_state, write_state

PAGE = 8192
PUTS = [30, 3, 31, 3, 32, 3, 33, 3, 34, 3, 40, 5]
"""How many records the puts of the small file had."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process has these files open, so a store need not wait before it calls a journal damaged."""
    monkeypatch.setattr("tsmodel.store.sqlite._CLOSING", 0.001)
    monkeypatch.setattr("tsmodel.store.sqlite._WRITING", 0.001)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Row]]:
    """The bytes and records of a closed file with merged and unmerged runs of several cids."""
    path = tmp_path_factory.mktemp("small") / "store.tsdb"
    with closing(EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=3))) as store:
        for number in range(5):
            store.append(batches([(1, n % 7, 0, n * n % 50, b"%06d" % (n % 10)) for n in range(30 + number)]))
            store.append(batches([(2, n, 0, n, b"x" * (n % 3)) for n in range(3)]))
        given = store.append(batches([(1, n, 0, 7, 5, b"%06d" % n) for n in range(40)], with_acq=True), with_acq=True)
        assert isinstance(given, PutInterval)
        store.annotate([given.put], "a note")
        store.append(batches([(1, n, 0, 7, 6, b"%06d" % n) for n in range(5)], with_acq=True), with_acq=True)
        store.remove([KeyRange.of(cid=(1, 2), mid=(2, 4))], note="a removal")
        store.undo([store.puts()[0].id])
        rows = scanned(store)
    return path.read_bytes(), rows


def answer(path: Path, content: bytes, rows: list[Row]) -> bool:
    """Reads a changed file. Returns whether the records are right, or False if the file is refused."""
    path.write_bytes(content)
    refusal = ""
    try:
        with closing(open_store(path, read_only=True)) as store:
            found = scanned(store)
            last = store.last_acq(KeyRange())
            assert [put.count for put in store.puts()] == PUTS
            assert [(put.number, put.note) for put in store.puts() if put.note] == [(11, "a note")]
            assert [put.number for put in store.puts() if put.undone is not None] == [1]
            assert [(each.kind, each.note) for each in store.removals()] == [("delete", "a removal"), ("undo", None)]
    except (StoreCorruptError, StoreFormatError) as error:
        refusal = str(error)
    if refusal:
        assert str(path) in refusal
        return False
    assert found == rows
    assert last == max(row[4] for row in rows) + 1
    return True


def flips(content: bytes) -> Iterator[int]:
    """Flips every nonzero byte and some of the others."""
    chosen = random.Random(7)
    for at, byte in enumerate(content):
        if byte or chosen.random() < 0.01:
            yield at


def test_every_flipped_byte_is_detected_or_harmless(tmp_path: Path, small: tuple[bytes, list[Row]]) -> None:
    content, rows = small
    chosen, found, count = random.Random(1), 0, 0
    for at in flips(content):
        changed = bytearray(content)
        changed[at] ^= 1 << chosen.randrange(8)
        count += 1
        found += not answer(tmp_path / "store.tsdb", bytes(changed), rows)
    assert found > count / 2


def test_swapped_words_are_detected_or_harmless(tmp_path: Path, small: tuple[bytes, list[Row]]) -> None:
    content, rows = small
    chosen, found = random.Random(2), 0
    used = [at for at in range(100, len(content) - 8, 8) if any(content[at : at + 8])]
    for _ in range(300):
        a, b = sorted(chosen.sample(used, 2))
        changed = bytearray(content)
        changed[a : a + 8], changed[b : b + 8] = content[b : b + 8], content[a : a + 8]
        found += not answer(tmp_path / "store.tsdb", bytes(changed), rows)
    assert found > 150


def test_swapped_or_lost_pages_are_detected_or_harmless(tmp_path: Path, small: tuple[bytes, list[Row]]) -> None:
    content, rows = small
    pages = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]
    found = 0
    for a in range(len(pages)):
        for b in range(a):
            changed = list(pages)
            changed[a], changed[b] = pages[b], pages[a]
            found += not answer(tmp_path / "store.tsdb", b"".join(changed), rows)
            changed[a], changed[b] = pages[a], pages[a]
            found += not answer(tmp_path / "store.tsdb", b"".join(changed), rows)
        changed = list(pages)
        changed[a] = bytes(PAGE)
        found += not answer(tmp_path / "store.tsdb", b"".join(changed), rows)
    assert found > len(pages)


def test_file_truncated_at_any_length(tmp_path: Path, small: tuple[bytes, list[Row]]) -> None:
    content, rows = small
    for length in [*range(0, 200, 7), *range(200, len(content), 509), len(content) - 1]:
        answer(tmp_path / "store.tsdb", content[:length], rows)
    assert not answer(tmp_path / "store.tsdb", content[: PAGE * 3], rows)
    assert answer(tmp_path / "store.tsdb", content, rows)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM blocks WHERE id = (SELECT max(id) FROM blocks)",
        "DELETE FROM runs WHERE number = (SELECT max(number) FROM runs)",
        "DELETE FROM runs",
        "DELETE FROM state",
        "UPDATE blocks SET data = (SELECT data FROM blocks ORDER BY id LIMIT 1)",
        "UPDATE blocks SET data = 'text'",
        "UPDATE runs SET cid = cid + 1",
        "UPDATE runs SET number = number + 1000",
        "UPDATE runs SET digest = zeroblob(16)",
        "UPDATE runs SET digest = 5",
        "UPDATE state SET data = zeroblob(72)",
        "UPDATE state SET data = 7",
        "INSERT INTO runs SELECT number + 100, cid, digest, directory FROM runs LIMIT 1",
        "ALTER TABLE runs RENAME COLUMN digest TO other",
        "CREATE TABLE more (x)",
        "DELETE FROM puts WHERE number = 3",
        "UPDATE puts SET number = number + 100 WHERE number = 5",
        "UPDATE puts SET data = (SELECT data FROM puts WHERE number = 1) WHERE number = 2",
        "UPDATE puts SET data = 7",
        "DELETE FROM removals",
        "UPDATE removals SET data = (SELECT data FROM puts WHERE number = removals.number)",
        "INSERT INTO removals SELECT number + 10, data FROM removals LIMIT 1",
        "DROP TABLE blocks",
    ],
)
def test_changes_by_sql_statements_are_detected(tmp_path: Path, small: tuple[bytes, list[Row]], statement: str) -> None:
    path = tmp_path / "store.tsdb"
    path.write_bytes(small[0])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)
    assert not answer(path, path.read_bytes(), small[1])
    with pytest.raises(StoreCorruptError), closing(open_store(path)) as store:
        scanned(store)
        store.puts()
        store.removals()


def test_outdated_state_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "store.tsdb"
    states = []
    for _ in range(2):
        with closing(open_store(path)) as store:
            store.append(batches([(1, 1, 1, 1, b"")]))
        with closing(sqlite3.connect(path)) as connection:
            states.append(connection.execute("SELECT data FROM state").fetchone()[0])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE state SET data = ?", states[:1])
    with pytest.raises(StoreCorruptError, match="found 2 runs, but the state of the file says 1"):
        open_store(path)


@pytest.fixture
def left(tmp_path: Path) -> tuple[Path, Path]:
    """The file and journal of a process that was killed after ten puts of one record each."""
    store = open_store(tmp_path / "store.tsdb")
    for n in range(10):
        store.append(batches([(1, n, 1, 1, b"payload")]))
    kept = tmp_path / "kept"
    kept.mkdir()
    for end in ("", "-wal"):
        shutil.copy(tmp_path / f"store.tsdb{end}", kept / f"store.tsdb{end}")
    store.close()
    return kept / "store.tsdb", kept / "store.tsdb-wal"


def frames_of(journal: bytes) -> list[int]:
    return list(range(32, len(journal), 24 + PAGE))


def test_torn_journal_loses_only_the_last_put(left: tuple[Path, Path]) -> None:
    path, journal = left
    whole = journal.read_bytes()
    *_, last = frames_of(whole)
    journal.write_bytes(whole[: last + 500])
    with closing(open_store(path)) as store:
        assert len(scanned(store)) == 9


def test_damaged_frame_before_the_last_put_is_detected(left: tuple[Path, Path]) -> None:
    path, journal = left
    whole, main = journal.read_bytes(), path.read_bytes()
    frames = frames_of(whole)
    commits = [at for at in frames if whole[at + 4 : at + 8] != bytes(4)]
    assert len(commits) >= 10
    for at in [each for each in frames if each <= commits[-2]]:
        for offset in (1, 5, 9, 17, 100, 5000):
            changed = bytearray(whole)
            changed[at + offset] ^= 16
            journal.write_bytes(bytes(changed))
            path.write_bytes(main)
            with pytest.raises(StoreCorruptError, match="journal .* is damaged before intact frames"):
                open_store(path)
            journal.with_name("store.tsdb-shm").unlink(missing_ok=True)


@pytest.mark.parametrize("at", [0, 5, 9, 17, 25, 29])
def test_damaged_journal_header_is_detected(left: tuple[Path, Path], at: int) -> None:
    path, journal = left
    changed = bytearray(journal.read_bytes())
    changed[at] ^= 1
    journal.write_bytes(bytes(changed))
    with pytest.raises(StoreCorruptError, match="journal"):
        open_store(path)


@pytest.fixture
def died(tmp_path: Path) -> tuple[Path, Path]:
    """The same files, with the journal's index."""
    store = open_store(tmp_path / "store.tsdb")
    for n in range(10):
        store.append(batches([(1, n, 1, 1, b"payload")]))
    (tmp_path / "died").mkdir()
    for end in ("", "-wal", "-shm"):
        shutil.copy(tmp_path / f"store.tsdb{end}", tmp_path / "died" / f"store.tsdb{end}")
    store.close()
    return tmp_path / "died" / "store.tsdb", tmp_path / "died" / "store.tsdb-wal"


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("damage", ["last frame", "last bytes lost", "last put lost", "all lost", "empty"])
def test_index_tells_a_damaged_end_from_an_unfinished_put(died: tuple[Path, Path], damage: str, read_only: bool) -> None:
    path, journal = died
    whole = journal.read_bytes()
    *_, before, last = frames_of(whole)
    changed = {
        "last frame": whole[: last + 100] + bytes([whole[last + 100] ^ 4]) + whole[last + 101 :],
        "last bytes lost": whole[:-5],
        "last put lost": whole[:before],
        "all lost": whole[:32],
        "empty": b"",
    }[damage]
    journal.write_bytes(changed)
    with pytest.raises(StoreCorruptError, match=r"journal .* (damaged or truncated|truncated)"):
        open_store(path, read_only=read_only)
    assert journal.read_bytes() == changed
    assert "journal" in [fault.where for fault in verify(path).faults]


@pytest.mark.parametrize("read_only", [False, True])
def test_intact_journal_of_a_killed_process_is_read(died: tuple[Path, Path], read_only: bool) -> None:
    with closing(open_store(died[0], read_only=read_only)) as store:
        assert len(scanned(store)) == 10


def test_process_killed_right_after_writing_the_journal_header(tmp_path: Path) -> None:
    path, journal = tmp_path / "died" / "store.tsdb", tmp_path / "died" / "store.tsdb-wal"
    path.parent.mkdir()
    with closing(open_store(tmp_path / "store.tsdb")) as store:
        store.append(batches([(1, n, 1, 1, b"payload") for n in range(10)]))
        with closing(sqlite3.connect(tmp_path / "store.tsdb")) as connection:
            head = Path(f"{tmp_path / 'store.tsdb'}-wal").read_bytes()[:32]
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        for end in ("", "-wal", "-shm"):
            shutil.copy(tmp_path / f"store.tsdb{end}", f"{path}{end}")
    journal.write_bytes(head)
    report = verify(path)
    assert report.is_whole, report
    assert report.records == 10
    with pytest.raises(StoreError, match="needs recovery") as caught:
        open_store(path, read_only=True)
    assert not isinstance(caught.value, StoreCorruptError)
    with closing(open_store(path)) as store:
        assert len(scanned(store)) == 10
    with closing(open_store(path, read_only=True)) as store:
        assert len(scanned(store)) == 10


def test_index_reveals_a_damaged_header_of_a_short_journal(died: tuple[Path, Path]) -> None:
    path, journal = died
    changed = bytearray(journal.read_bytes()[:2000])
    changed[9] ^= 1
    journal.write_bytes(bytes(changed))
    with pytest.raises(StoreCorruptError, match="the header of the journal"):
        open_store(path)


def test_damage_missed_by_checksums_names_the_file_and_block(tmp_path: Path) -> None:
    path = tmp_path / "store.tsdb"
    with closing(open_store(path)) as store:
        store.append(batches([(1, n % 7, 0, n * n, b"%06d" % (n * n % 1000)) for n in range(100)]))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        ((number, data),) = connection.execute("SELECT id, data FROM blocks").fetchall()
        ((run, cid, directory),) = connection.execute("SELECT number, cid, directory FROM runs").fetchall()
        whole = Directory.doubtful(directory, run, cid)
        assert whole is not None
        refusals: list[tuple[str | None, str]] = []
        for at in range(0, len(data), 3):
            changed = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            entries = whole.entries.copy()
            entries["checksum"] = xxh3_64_intdigest(changed)
            made = Directory.of_entries(run, cid, whole.first, entries)
            connection.execute("BEGIN")
            connection.execute("UPDATE blocks SET data = ?", (changed,))
            connection.execute(
                "UPDATE runs SET digest = ?, directory = ?", (made.digest.to_bytes(16, "little"), made.to_bytes())
            )
            write_state(connection, msgspec.structs.replace(read_state(connection), digest=made.digest))
            connection.execute("COMMIT")
            try:
                with closing(open_store(path, read_only=True)) as store:
                    scanned(store)
            except StoreCorruptError as error:
                refusals.append((error.path, str(error)))
    assert {named for named, _ in refusals} == {str(path)}
    assert all(text.startswith(f"{path} is damaged: ") for _, text in refusals)
    assert any(f"is damaged: block {number}: " in text for _, text in refusals)


@pytest.mark.parametrize(
    "numbers",
    [{"next_run": 2**63 - 1}, {"generation": -1}, {"next_block": 2**62}, {"next_put": -1}, {"last_acq": 2**63 - 1}],
)
def test_impossible_state_with_a_valid_checksum_is_refused(tmp_path: Path, numbers: dict[str, int]) -> None:
    path = tmp_path / "store.tsdb"
    open_store(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write_state(connection, msgspec.structs.replace(read_state(connection), **numbers))
    with pytest.raises(StoreCorruptError, match="the state of the file says numbers"):
        open_store(path)


def test_index_of_another_journal_is_ignored(died: tuple[Path, Path]) -> None:
    path, journal = died
    index = Path(f"{path}-shm")
    found = committed(index)
    assert found is not None
    assert found.salt == journal.read_bytes()[16:24]
    assert found.frames > 10
    check_journal(journal, found._replace(salt=b"12345678", frames=1000))
    with pytest.raises(StoreCorruptError, match="1000 of its frames"):
        check_journal(journal, found._replace(frames=1000))
    data = bytearray(index.read_bytes())
    data[20] ^= 1
    index.write_bytes(bytes(data))
    assert committed(index) is None
    index.unlink()
    assert committed(index) is None


def test_intact_journal_is_merged_into_the_file(left: tuple[Path, Path]) -> None:
    path, journal = left
    check_journal(journal)
    with closing(open_store(path)) as store:
        assert len(scanned(store)) == 10
    assert not journal.exists()
