"""Kills processes that follow or copy, restarts them, and checks what they reported and stored.

usage: python tests/crash/restarts.py [--runs 200] [--only follow,copy] [--seed 1]

A process follows a file with a checkpoint and reports each record, or copies a file with a checkpoint, until SIGKILL ends
it at a random moment; meanwhile new records arrive. In the end every record must have been reported, at most the one in
hand at a kill twice, and the copy must hold each record once.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from crash.shim import fast_directory
from support.batches import batches, scanned

from tsmodel import Int32, KeyRange, TSModel, connect
from tsmodel.session import copying
from tsmodel.store import open_store

KINDS = ("follow", "copy")


class Reading(TSModel, moid=0):
    counter: Int32


def killed(work: Callable[[], None], after: float | None) -> list[int]:
    """The output of a fork of this process until it finishes or is killed after some seconds."""
    out, said = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.dup2(said, 1)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(said)
    with os.fdopen(out, "rb") as lines:
        if after is not None:
            time.sleep(after)
            os.kill(process, signal.SIGKILL)
        told = [int(line) for line in lines.read().splitlines()]
    _, status = os.waitpid(process, 0)
    if (code := os.waitstatus_to_exitcode(status)) not in (0, -signal.SIGKILL):
        raise AssertionError(f"it ended by itself with status {code}")
    return told


def fill(path: Path, first: int, count: int) -> None:
    """Stores some records, in several puts."""
    with closing(open_store(path)) as store:
        for at in range(first, first + count, 5):
            rows = [(n % 3, n % 7, 0, n, n.to_bytes(4, "little")) for n in range(at, min(at + 5, first + count))]
            store.append(batches(sorted(rows)))


def followed(folder: Path, runs: int, seed: int, longest: float = 0.1) -> int:
    """Kills that many followers; returns the number of records they received."""
    chance = random.Random(f"follow {seed}")
    path, checkpoint = folder / "source.tsdb", folder / "position"
    every = chance.choice([1, 1, 4])
    count = 0
    told: list[int] = []

    def follow() -> None:
        with connect(path) as session:
            for row in session.query(Reading).follow(checkpoint=checkpoint, checkpoint_every=every, wait=False):
                os.write(1, b"%d\n" % row.counter)

    def take(after: float | None) -> None:
        """Checks one follower's records against those of its predecessors: only the record in hand may repeat."""
        given = killed(follow, after)
        if given:
            at = told.index(given[0]) if given[0] in told else len(told)
            again = told[at:]
            assert len(again) <= every, f"{len(again)} records are repeated, with checkpoint_every={every}"
            assert all(a == b for a, b in zip(again, given, strict=False)), f"{given[:9]} follows {told[-9:]}"
            told[at:] = max(again, given, key=len)

    for _ in range(runs):
        more = chance.randrange(40)
        fill(path, count, more)
        count += more
        take(chance.uniform(0, longest))
    take(None)
    assert sorted(told) == list(range(count)), "records were lost or reported twice"
    return count


def copied(folder: Path, runs: int, seed: int, longest: float = 0.1) -> int:
    """Kills that many copies; returns the number of records in the end."""
    chance = random.Random(f"copy {seed}")
    source, target, checkpoint = folder / "source.tsdb", folder / "target.tsdb", folder / "position"
    count = 0

    def copy() -> None:
        copying.WINDOW_BYTES = 2000  # type: ignore[misc]
        with connect(source) as here, connect(target) as there:
            here.copy(KeyRange(), there, checkpoint=checkpoint)

    for _ in range(runs):
        more = chance.randrange(100)
        fill(source, count, more)
        count += more
        killed(copy, chance.uniform(0, longest))
    for _ in range(2):  # the second copy has nothing left to do
        killed(copy, None)
    with closing(open_store(source)) as here, closing(open_store(target)) as there:
        assert len(scanned(here)) == count
        assert scanned(here) == scanned(there), "the copy holds different records"
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="number of processes of each kind to kill")
    parser.add_argument("--only", default=",".join(KINDS), help="follow, copy")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for kind in options.only.split(","):
        with tempfile.TemporaryDirectory(dir=fast_directory()) as directory:
            began = time.monotonic()
            count = {"follow": followed, "copy": copied}[kind](Path(directory), options.runs, options.seed)
            print(f"{kind:8} {options.runs} kills, {count} records: 0 lost, 0 twice, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
