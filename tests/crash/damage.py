"""Damages small files in every way and runs every reader on them: each must answer correctly or say what is wrong.

usage: python tests/crash/damage.py [--every 1] [--only flips,words,pages,cuts] [--seed 1]

The program flips bits in every byte of a closed file and of a crashed process's journal, swaps and drops words and
pages, and truncates the files at every length. It then reads each result with a scan, queries, `info`, `verify` and
`recover`, and opens it for a put. A reader passes if it raises `StoreCorruptError` or `StoreFormatError`, or returns the
full answer; `recover` may return part of it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeAlias
from unittest.mock import patch

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from crash.shim import fast_directory
from crash.world import described
from support.batches import Row, batches, scanned

from tsmodel import Int16, Int32, TSModel, connect
from tsmodel.errors import StoreCorruptError, StoreError, StoreFormatError
from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore, info, open_store, recover, sqlite, verify
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

PAGE = 8192
PATTERNS = (0x01, 0x80, 0xFF)
_LONGEST = 20


class Reading(TSModel):
    counter: Int16
    other: Int32


class Small(NamedTuple):
    """A file, its journal and the journal's index, and the records they hold."""

    main: bytes
    journal: bytes
    index: bytes
    rows: list[Row]


def small(directory: Path) -> Small:
    """A closed file with merged and unmerged runs of several cids."""
    path = directory / "small.tsdb"
    with closing(EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=3))) as store:
        for number in range(4):
            store.append(batches([(1, n % 7, 0, n * n % 50, b"%06d" % (n % 10)) for n in range(30 + number)]))
            store.append(batches([(2, n, 0, n, b"x" * 6) for n in range(3)]))
        rows = scanned(store)
    return Small(path.read_bytes(), b"", b"", rows)


def left(directory: Path) -> Small:
    """A file and its journal as left by a process that was killed."""
    path = directory / "left.tsdb"
    store = EmbeddedStore(SQLiteEngine(str(path)))
    for number in range(4):
        store.append(batches([(1, n, 0, number, b"%06d" % n) for n in range(5)]))
    found = Small(path.read_bytes(), *(Path(f"{path}{end}").read_bytes() for end in ("-wal", "-shm")), scanned(store))
    store.close()
    return found


def scan(path: Path, rows: list[Row]) -> None:
    with closing(open_store(path, read_only=True)) as store:
        assert scanned(store) == rows, "a scan returns different records"
        assert store.last_acq(KeyRange()) == max([row[4] for row in rows], default=-1) + 1, "last_acq went back"


def query(path: Path, rows: list[Row]) -> None:
    with connect(path, read_only=True) as session:
        query = session.query(Reading)
        assert query.count() == len(rows), "the count differs"
        found = query.to_numpy()
        assert sorted(zip(found["mid"].tolist(), found["cap"].tolist(), strict=True)) == sorted(
            (row[1], row[3]) for row in rows
        )
        assert query.to_arrow().num_rows == len(rows)
        expected = sum(int.from_bytes(row[5][:2], "little", signed=True) == 0x3030 for row in rows)
        assert session.query(Reading).where(Reading.counter == 0x3030).count() == expected


def looked_over(path: Path, rows: list[Row]) -> None:
    found = info(path)
    assert found.records == len(rows), "info reports a different count"


def verified(path: Path, rows: list[Row]) -> None:
    report = verify(path)
    assert report.records <= len(rows)
    if report.is_whole:
        scan(path, rows)


def recovered(path: Path, rows: list[Row]) -> None:
    target = path.with_name("saved.tsdb")
    target.unlink(missing_ok=True)
    report = recover(path, target)
    with closing(open_store(target, read_only=True)) as store:
        found = scanned(store)
    assert len(found) == report.records
    assert not Counter(found) - Counter(rows), "recover invents records"
    if not report.faults:
        assert found == rows, "records are lost silently"


def put(path: Path, rows: list[Row]) -> None:
    with closing(open_store(path)) as store:
        store.append(batches([(9, 1, 0, 0, b"more")]))
        assert scanned(store)[: len(rows)] == rows, "the file returns different records after a put"


Reader: TypeAlias = Callable[[Path, list[Row]], None]
READERS: tuple[Reader, ...] = (scan, query, looked_over, verified, recovered, put)


def answer(path: Path, main: bytes, journal: bytes, index: bytes, rows: list[Row], reader: Reader) -> bool:
    """Runs a reader; returns whether it refused."""
    for end in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    path.write_bytes(main)
    if index:
        Path(f"{path}-wal").write_bytes(journal)
        Path(f"{path}-shm").write_bytes(index)
    signal.alarm(_LONGEST)
    try:
        reader(path, rows)
    except (StoreCorruptError, StoreFormatError) as error:
        message = str(error)
    except StoreError as error:
        if "journal that needs recovery" not in str(error):
            raise
        message = str(error)
    else:
        return False
    finally:
        signal.alarm(0)
    assert "damaged.tsdb" in message or "saved.tsdb" in message, f"the message does not name the file: {message}"
    return True


def flips(content: bytes, every: int, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Flips every nonzero byte with each pattern, and one zero byte in fifty."""
    for at in range(chance.randrange(every), len(content), every):
        if not content[at] and chance.random() > 0.02:
            continue
        for pattern in PATTERNS if every == 1 else [chance.choice(PATTERNS)]:
            changed = bytearray(content)
            changed[at] ^= pattern
            yield f"byte {at} ^ {pattern}", bytes(changed)


def words(content: bytes, every: int, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    used = [at for at in range(0, len(content) - 8, 4) if any(content[at : at + 8])]
    for _ in range(3000 // every):
        a, b = sorted(chance.sample(used, 2))
        changed = bytearray(content)
        changed[a : a + 8], changed[b : b + 8] = content[b : b + 8], content[a : a + 8]
        yield f"words at {a} and {b}", bytes(changed)


def pages(content: bytes, every: int, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    count = len(content) // PAGE
    for a in range(count):
        for b in range(count):
            if chance.randrange(every):
                continue
            changed = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]
            if a == b:
                changed[a] = bytes(len(changed[a]))
            elif a < b:
                changed[a], changed[b] = changed[b], changed[a]
            else:
                changed[a] = changed[b]
            yield f"pages {min(a, b) * PAGE} and {max(a, b) * PAGE}", b"".join(changed)


def cuts(content: bytes, every: int, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    for length in range(chance.randrange(every), len(content), every):
        yield f"cut to {length}", content[:length]


DAMAGES = {each.__name__: each for each in (flips, words, pages, cuts)}


def interrupted(*_: object) -> None:
    raise TimeoutError("it hangs")


def suite(folder: Path, only: list[str], every: int, seed: int, most: int = 10**9) -> tuple[Counter[str], list[str]]:
    """Damages files in every way; returns how many reads were refused, how many were answered, and the failures."""
    signal.signal(signal.SIGALRM, interrupted)
    # No other process has these files open, so a store need not wait for one.
    with patch.object(sqlite, "_CLOSING", 0.001), patch.object(sqlite, "_WRITING", 0.001):
        return _suite(folder, only, every, seed, most)


def _suite(folder: Path, only: list[str], every: int, seed: int, most: int) -> tuple[Counter[str], list[str]]:
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    path = folder / "damaged.tsdb"
    for of, original in (("file", small(folder)), ("journal", left(folder))):
        for name in only:
            for at, (what, changed) in enumerate(DAMAGES[name](original.journal or original.main, every, chance)):
                if at >= most:
                    break
                main, journal = (original.main, changed) if original.journal else (changed, b"")
                reader = READERS[at % len(READERS)]
                try:
                    refused = answer(path, main, journal, original.index, original.rows, reader)
                    counts[f"{name} of a {of}: {'refused' if refused else 'right'}"] += 1
                except Exception as error:  # noqa: BLE001 - any exception is a finding
                    wrong.append(f"{what} of a {of}, {reader.__name__}: {described(error)}")
                    if len(wrong) > 15:
                        return counts, wrong
    return counts, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="try only every nth byte, word, page and length")
    parser.add_argument("--only", default=",".join(DAMAGES), help="kinds of damage, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=fast_directory()) as directory:
        counts, wrong = suite(Path(directory), options.only.split(","), options.every, options.seed)
    for name, count in counts.items():
        print(f"{count:8} {name}")
    for each in wrong:
        print("WRONG", each)
    print(f"{sum(counts.values())} damaged files in {time.monotonic() - began:.0f} s, {len(wrong)} things wrong")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
