"""Kills processes at work with a store, and looks at what is then in the file.

usage: python tests/crash/kills.py [--runs 500] [--only puts,compact,...] [--seed 1]

A process opens the store, puts records, and compacts, copies or closes it over and over; it says when each put was
acknowledged. After a while it is killed with SIGKILL. Then the file must hold what was acknowledged, once, nothing in
part but whole puts, and it must verify. The next process goes on with the same file.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from crash.shim import fast_directory
from support.batches import batches, scanned

from tsmodel.store import EmbeddedStore, blocks, maintenance, open_store, verify
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

TESTS = Path(__file__).parents[1]
KINDS = ("puts", "compact", "backup", "close")


def count_of(number: int) -> int:
    """How many records a put has."""
    return 1 + number * 37 % 300


def records_of(number: int) -> list[tuple[int, int, int, int, bytes]]:
    """The records of a put."""
    return [(number % 3, number, 0, n, b"%08d" % number * (1 + n % 2)) for n in range(count_of(number))]


def work(path: str, first: int, kind: str) -> None:
    """What is killed. It never ends."""
    blocks.BLOCK_RECORDS, maintenance._STEP = 64, 20_000
    policy = MergePolicy(fan_in=1000) if kind == "compact" else MergePolicy(fan_in=2, final=2**20)
    number = first

    def opened() -> EmbeddedStore:
        store = EmbeddedStore(SQLiteEngine(path), policy=policy, slice_bytes=6000)  # half of the puts are larger
        store.engine._writer.execute("PRAGMA wal_autocheckpoint = 20")
        return store

    def put() -> None:
        nonlocal number
        store.append(batches(records_of(number)))
        os.write(1, b"%d\n" % number)
        number += 1

    store = opened()
    while True:
        for _ in range(4):
            put()
        if kind == "compact":
            maintenance.compact(store)
        elif kind == "backup":
            maintenance.backup(store, f"{path}.{number}")
        elif kind == "close":
            store.close()
            store = opened()


def killed(path: Path, first: int, kind: str, longest: float, chance: random.Random, *, forks: bool) -> set[int]:
    """Lets a process work for a while and kills it; returns the puts that it said were acknowledged."""
    start = forked if forks else spawned
    process, said = start(str(path), first, kind)
    with said:
        lines = said.readline()
        time.sleep(chance.uniform(0, longest))
        os.kill(process, signal.SIGKILL)
        lines += said.read()
    _, status = os.waitpid(process, 0)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        raise AssertionError(f"it ended by itself with status {status}")
    return {int(line) for line in lines.splitlines(keepends=True) if line.endswith(b"\n")}


def spawned(path: str, first: int, kind: str) -> tuple[int, BinaryIO]:
    """A new process at work, and what it says."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, __file__, "--work", path, str(first), kind]
    out, said = os.pipe()
    process = os.posix_spawn(command[0], command, environment, file_actions=[(os.POSIX_SPAWN_DUP2, said, 1)])
    os.close(said)
    return process, os.fdopen(out, "rb")


def forked(path: str, first: int, kind: str) -> tuple[int, BinaryIO]:
    """A copy of this process at work, which starts faster."""
    out, said = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.dup2(said, 1)
            work(path, first, kind)
        finally:
            os._exit(1)
    os.close(said)
    return process, os.fdopen(out, "rb")


def looked_at(path: Path, acknowledged: set[int], runs: int) -> int:
    """Compares a file with what was acknowledged; returns how many puts are there that were not: each process may have
    been killed after a commit, and before it said so."""
    report = verify(path)
    assert report.is_whole, report
    with closing(open_store(path)) as store:
        rows = scanned(store)
    found: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    for row in rows:
        found[row[1]].append((*row[:4], row[5]))
    lost = acknowledged - found.keys()
    assert not lost, f"puts {sorted(lost)} were acknowledged and are lost"
    for number, each in found.items():
        assert sorted(each) == records_of(number), f"put {number} is there with {len(each)} of {count_of(number)} records"
    twice = [acq for acq, count in Counter(row[4] for row in rows).items() if count > 1]
    assert not twice, f"acqs {twice[:5]} are there twice"
    assert len(found.keys() - acknowledged) <= runs
    return len(found.keys() - acknowledged)


def series(path: Path, kind: str, runs: int, seed: int, longest: float = 0.15, *, forks: bool = False) -> tuple[int, int]:
    """Kills so many processes, one after another, over one file that begins anew now and then; returns how many puts were
    acknowledged, and how many were stored and not acknowledged any more."""
    chance = random.Random(f"{kind} {seed}")
    acknowledged: set[int] = set()
    puts = unsaid = since = 0
    for attempt in range(runs):
        acknowledged |= killed(path, 1_000_000 * (attempt + 1), kind, longest, chance, forks=forks)
        since += 1
        found = looked_at(path, acknowledged, since)
        for copy in path.parent.glob(f"{path.name}.*"):
            if copy.suffix not in (".new", ".new-journal", ".new-wal"):
                assert verify(copy).is_whole
            copy.unlink()
        if len(acknowledged) > 100 or attempt == runs - 1:
            puts, unsaid = puts + len(acknowledged), unsaid + found
            acknowledged, since = set(), 0
            for end in ("", "-wal", "-shm", "-journal"):
                Path(f"{path}{end}").unlink(missing_ok=True)
    return puts, unsaid


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="how many processes are killed")
    parser.add_argument("--only", default=",".join(KINDS), help="what they do, with commas between")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    kinds = options.only.split(",")
    began, total = time.monotonic(), 0
    for at, kind in enumerate(kinds):
        runs = options.runs * (at + 1) // len(kinds) - total
        with tempfile.TemporaryDirectory(dir=fast_directory()) as directory:
            puts, unsaid = series(Path(directory) / "store.tsdb", kind, runs, options.seed, forks=True)
        total += runs
        print(
            f"{kind:10}{runs:6} kills, {puts} puts acknowledged, {unsaid} stored and not said; 0 lost, 0 twice", flush=True
        )
    print(f"{total} kills in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
