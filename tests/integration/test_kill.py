"""kill -9 in the middle of writes: what was acknowledged is there, nothing is there in part, and the file goes on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from support.batches import scanned
from support.budget import is_long

from tsmodel.store import open_store, verify

ATTEMPTS = 8 if is_long() else 3

WRITER = """
import sys
from support.batches import batches
from tsmodel.store import EmbeddedStore
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

store = EmbeddedStore(SQLiteEngine(sys.argv[1]), policy=MergePolicy(fan_in=2, final=2**20))
number = int(sys.argv[2])
while True:
    count = 1 + number * 37 % 300
    store.append(batches([(number % 3, number, 0, n, b"%08d" % number * (1 + n % 2)) for n in range(count)]))
    print(number, count, flush=True)
    number += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is what is tested")
def test_kill_9_in_the_middle_of_writes(tmp_path: Path) -> None:
    path = tmp_path / "store.tsdb"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    rng = random.Random(9)
    acknowledged: dict[int, int] = {}
    for attempt in range(ATTEMPTS):
        first = 1_000_000 * attempt
        command = [sys.executable, "-c", WRITER, str(path), str(first)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline()]
            time.sleep(rng.uniform(0, 0.2))
            writer.kill()
            lines += writer.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):
                number, count = map(int, line.split())
                acknowledged[number] = count

        store = open_store(path)
        rows = scanned(store)
        store.close()
        found = Counter(row[1] for row in rows)
        assert acknowledged.items() <= found.items()
        unacknowledged = found.keys() - acknowledged.keys()
        assert len(unacknowledged) <= attempt + 1
        for number in unacknowledged:
            assert found[number] == 1 + number * 37 % 300
        assert len({row[4] for row in rows}) == len(rows)
        assert all(row[5] == b"%08d" % row[1] * (1 + row[3] % 2) for row in rows)
    assert len(acknowledged) >= ATTEMPTS


SHARER = """
import sys, threading
from support.batches import batches
from tsmodel.store import EmbeddedStore
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

store = EmbeddedStore(SQLiteEngine(sys.argv[1]), policy=MergePolicy(fan_in=2, final=2**20))

def write(number):
    while True:
        count = 1 + number * 37 % 20
        first, last = store.append(batches([(number % 3, number, 0, n, b"%08d" % number) for n in range(count)]))
        assert last - first == count - 1
        sys.stdout.write(f"{number} {first}\\n")
        sys.stdout.flush()
        number += 1

for thread in range(12):
    threading.Thread(target=write, args=(int(sys.argv[2]) + 10_000 * thread,)).start()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is what is tested")
def test_kill_9_while_several_threads_share_commits(tmp_path: Path) -> None:
    path = tmp_path / "store.tsdb"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    rng = random.Random(10)
    acknowledged: dict[int, int] = {}
    for attempt in range(5):
        command = [sys.executable, "-c", SHARER, str(path), str(1_000_000 * attempt)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(20)]
            time.sleep(rng.uniform(0, 0.2))
            writer.kill()
            lines += writer.stdout.readlines()
        acknowledged |= {
            int(number): int(first) for number, first in (line.split() for line in lines if line.endswith("\n"))
        }
        with closing(open_store(path)) as store:
            rows = scanned(store)
        found: dict[int, list[int]] = {}
        for row in rows:
            found.setdefault(row[1], []).append(row[4])
        for number, acqs in found.items():  # whole, with acqs of its own that follow one another
            count = 1 + number * 37 % 20
            assert sorted(acqs) == list(range(min(acqs), min(acqs) + count))
        assert len({row[4] for row in rows}) == len(rows)
        assert all(min(found[number]) == first for number, first in acknowledged.items())
        assert len(found) - len(acknowledged) <= 12 * (attempt + 1)
    assert len(acknowledged) >= 100


CARER = """
import sys
from pathlib import Path
from support.batches import batches
from tsmodel.store import EmbeddedStore, blocks, care
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

blocks.BLOCK_RECORDS, care._STEP = 64, 20_000
store = EmbeddedStore(SQLiteEngine(sys.argv[1]), policy=MergePolicy(fan_in=1000))
print("ready", flush=True)
number = int(sys.argv[2])
while True:
    for _ in range(4):
        store.append(batches([(1, number % 5, 0, n, b"%08d" % number) for n in range(200)]))
        number += 1
    if sys.argv[3] == "compact":
        care.compact(store)
    else:
        care.backup(store, f"{sys.argv[1]}.{number}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is what is tested")
@pytest.mark.parametrize("what", ["compact", "backup"])
def test_kill_9_in_the_middle_of_care(tmp_path: Path, what: str) -> None:
    path = tmp_path / "store.tsdb"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    rng = random.Random(11)
    for attempt in range(ATTEMPTS):
        command = [sys.executable, "-c", CARER, str(path), str(1_000_000 * attempt), what]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as carer:
            assert carer.stdout is not None
            assert carer.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.05, 0.4))
            carer.kill()
        report = verify(path)
        assert report.is_whole, report
        with closing(open_store(path)) as store:
            rows = scanned(store)
        assert len({row[4] for row in rows}) == len(rows) == report.records
        assert set(Counter(row[5] for row in rows).values()) <= {200}
    assert rows
    for copy in tmp_path.glob("store.tsdb.*"):
        if copy.suffix not in (".new", ".new-journal"):
            assert what == "backup"
            assert verify(copy).is_whole
