"""kill -9 during delete, undo, prune and compact: acknowledged removals stay, others happen completely or not at all."""

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

from tsmodel import KeyRange
from tsmodel.store import open_store, verify

WORKER = """
import sys
from support.batches import batches
from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore, blocks, maintenance
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

blocks.BLOCK_RECORDS, maintenance._STEP = 128, 20_000
store = EmbeddedStore(SQLiteEngine(sys.argv[1]), policy=MergePolicy(fan_in=3, final=2**16))
number, what = int(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
while True:
    rows = [(1, number, n % 3, n, *([n % 50] if number % 2 else []), b"%08d" % number) for n in range(150)]
    put = store.append(batches(rows, with_acq=bool(number % 2)), with_acq=bool(number % 2)).put
    print("put", number, flush=True)
    if what == "undo":
        if number % 3 == 0:
            store.undo([put])
            print("gone", number, flush=True)
    elif what == "compact":
        if number % 3 == 0:
            store.remove([KeyRange.of(mid=(number, number + 1))])
            print("gone", number, flush=True)
        if number % 8 == 0:
            maintenance.compact(store)
    elif number % 3 == 0:
        boxes = [KeyRange.of(mid=(number - 1, number + 1))]
        store.remove(boxes, lambda chunk: chunk.key("mid") == number, kind=what)
        print("gone", number, flush=True)
    number += 1
"""


def tried(path: Path, what: str, attempts: int, longest: float) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    rng = random.Random(what)
    put: set[int] = set()
    gone: set[int] = set()
    last = -(2**63)
    for attempt in range(attempts):
        first = 3_000_000 * (attempt + 1)
        command = [sys.executable, "-c", WORKER, str(path), str(first), what]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.02, longest))
            worker.kill()
            lines = [line.split() for line in worker.stdout.readlines() if line.endswith("\n")]
        put |= {int(number) for kind, number in lines if kind == "put"}
        gone |= {int(number) for kind, number in lines if kind == "gone"}
        report = verify(path)
        assert report.is_whole, report
        with closing(open_store(path)) as store:
            with store.scan(KeyRange()) as scan:
                found = Counter(mid for chunk in scan for mid in chunk.key("mid").tolist())
            removals, puts = store.removals(), store.puts()
            assert store.last_acq(KeyRange()) >= last
            last = store.last_acq(KeyRange())
        assert set(found.values()) <= {150}
        assert not gone & found.keys()
        # A removal killed before it was acknowledged happened completely or not at all.
        lost = put - gone - found.keys()
        assert len(lost) <= attempt + 1
        assert all(number % 3 == 0 for number in lost)
        assert len(found.keys() - put) <= attempt + 1
        assert {removal.count for removal in removals} <= {150}
        assert len(removals) * 150 + sum(found.values()) == sum(put.count for put in puts)
    assert len(put) >= attempts


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


@pytest.mark.parametrize("what", ["delete", "undo", "prune", "compact"])
def test_kill_9_during_removals(tmp_path: Path, what: str) -> None:
    tried(tmp_path / "store.tsdb", what, 3, 0.3)


@pytest.mark.long
@pytest.mark.parametrize("what", ["delete", "undo", "prune", "compact"])
def test_kill_9_during_removals_long(tmp_path: Path, what: str) -> None:
    tried(tmp_path / "store.tsdb", what, 60, 1.0)
