"""Kills processes that work on a store, then checks the file.

usage: python tests/crash/kills.py [--runs 500] [--only puts,compact,...] [--seed 1]

A process opens the store and puts, compacts, copies or closes it in a loop, and reports each acknowledged put. After a
while it is killed with SIGKILL. The file must then hold every acknowledged put exactly once, only whole puts, and it
must verify. The next process continues with the same file.
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
    """Number of records of a put."""
    return 1 + number * 37 % 300


def records_of(number: int) -> list[tuple[int, int, int, int, bytes]]:
    """The records of a put."""
    return [(number % 3, number, 0, n, b"%08d" % number * (1 + n % 2)) for n in range(count_of(number))]


def work(path: str, first: int, kind: str) -> None:
    """The process that is killed. It never returns."""
    blocks.BLOCK_RECORDS, maintenance._STEP = 64, 20_000
    policy = MergePolicy(fan_in=1000) if kind == "compact" else MergePolicy(fan_in=2, final=2**20)
    number = first

    def opened() -> EmbeddedStore:
        store = EmbeddedStore(SQLiteEngine(path), policy=policy, slice_bytes=6000)  # half of the puts are large
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
    """Runs a process for a while and kills it; returns the puts it reported as acknowledged."""
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
    """Starts a process; returns it and its output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, __file__, "--work", path, str(first), kind]
    out, said = os.pipe()
    process = os.posix_spawn(command[0], command, environment, file_actions=[(os.POSIX_SPAWN_DUP2, said, 1)])
    os.close(said)
    return process, os.fdopen(out, "rb")


def forked(path: str, first: int, kind: str) -> tuple[int, BinaryIO]:
    """Forks this process, which is faster than starting a new one."""
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
    """Checks a file against the acknowledged puts; returns the number of other puts in it. A process killed between a
    commit and its report leaves such a put."""
    report = verify(path)
    assert report.is_whole, report
    with closing(open_store(path)) as store:
        rows = scanned(store)
    found: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    for row in rows:
        found[row[1]].append((*row[:4], row[5]))
    lost = acknowledged - found.keys()
    assert not lost, f"acknowledged puts {sorted(lost)} are lost"
    for number, each in found.items():
        assert sorted(each) == records_of(number), f"put {number} has {len(each)} of its {count_of(number)} records"
    twice = [acq for acq, count in Counter(row[4] for row in rows).items() if count > 1]
    assert not twice, f"acqs {twice[:5]} are stored twice"
    assert len(found.keys() - acknowledged) <= runs
    return len(found.keys() - acknowledged)


def series(path: Path, kind: str, runs: int, seed: int, longest: float = 0.15, *, forks: bool = False) -> tuple[int, int]:
    """Kills that many processes in turn on one file, which is replaced now and then; returns the number of acknowledged
    puts and of puts that were stored but never acknowledged."""
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
    parser.add_argument("--runs", type=int, default=500, help="number of processes to kill")
    parser.add_argument("--only", default=",".join(KINDS), help="what the processes do, separated by commas")
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
