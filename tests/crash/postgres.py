"""Kills writers, followers, connections and the server of a store in PostgreSQL, and looks at what is then in it.

usage: python tests/crash/postgres.py [--kills 500] [--only writer,follower,backend,server] [--seed 1]

Several processes write at the same time, each in a way of its own: puts that find out by themselves what became of a
commit without an answer; sessions that ask later (`on_unknown="check"`); puts with acqs of their own, with undoing some of
them, and compaction. Followers read what is new, and write down how far they came. All say what was acknowledged. Again
and again one process is killed, or the process that serves a connection, or the server, and started again. At the end
everything that was acknowledged must be there, once, whole, and seen once by each follower; and the store must verify.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from support.batches import batches, scanned
from support.postgres import Server, ended_with_parent

from tsmodel import Int32, Retry, TSModel, connect
from tsmodel.errors import StoreInDoubtError, StoreUnreachableError
from tsmodel.keys import KeyRange
from tsmodel.store import blocks, maintenance
from tsmodel.store.merging import MergePolicy
from tsmodel.store.postgres import PostgresStore, engine
from tsmodel.store.postgres.engine import PostgresEngine
from tsmodel.store.postgres.options import database_of

KINDS = ("writer", "follower", "backend", "server")
WAYS = ("finds out", "checks", "own acqs")
FOLLOWERS = 2
STEP = 1_000_000
"""Numbers of puts that each process has for itself."""


class Put(TSModel, moid=0):
    number: Int32


def count_of(number: int) -> int:
    """How many records a put has."""
    return 1 + number * 37 % 60


class Said:
    """What a process says, in a file that survives it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, *what: object) -> None:
        os.write(self._file, (json.dumps(what) + "\n").encode())


def opened(url: str) -> PostgresStore:
    """A store, as soon as the server takes connections."""
    while True:
        try:
            return PostgresStore(PostgresEngine(database_of(url), 2**22), policy=MergePolicy(fan_in=3, final=2**20))
        except StoreUnreachableError:
            time.sleep(0.02)


def write(url: str, say: Said, first: int, way: str) -> None:
    """What writes. It never ends."""
    blocks.BLOCK_RECORDS, maintenance._STEP = 64, 20_000
    if way == "checks":
        check(url, say, first)
    store, number = opened(url), first
    while True:
        with_acq = way == "own acqs"
        rows = [(number % 3, number, 0, n, *([5] if with_acq else []), b"%08d" % number) for n in range(count_of(number))]
        try:
            given = store.append(batches(rows, with_acq=with_acq), with_acq=with_acq)
        except StoreInDoubtError:
            say("doubt", number)
        except StoreUnreachableError:
            say("not", number)
            time.sleep(0.01)
        else:
            say("put", number, *([] if with_acq else given))
            if with_acq and number % 3 == 0:
                settled(say, ("removing", number), partial(store.undo, [given.put]))
            if with_acq and number % 40 == 0:
                settled(say, ("compacting",), partial(maintenance.compact, store))
        number += 1


def settled(say: Said, what: tuple[object, ...], work: Callable[[], object]) -> None:
    """Does something, and says when it is done."""
    say(*what)
    try:
        work()
    except StoreUnreachableError:
        return
    except StoreInDoubtError:
        return
    say("done", *what)


def check(url: str, say: Said, first: int) -> None:
    """Writes by sessions, to which an answer that was lost is a doubt to be resolved."""
    engine._FINDING_OUT = 0.0
    retry = Retry(attempts=1000, first="10ms", most="100ms", on_unknown="check")
    opened(url).close()
    number = first
    while True:
        try:
            session = connect(url, retry=retry)
        except StoreUnreachableError:
            time.sleep(0.02)
            continue
        with session:
            while True:
                count = count_of(number)
                session.add_all([Put(cid=number % 3, mid=number, cap=n, number=number) for n in range(count)])
                receipt = session.flush()
                assert receipt.count == count
                say("put", number, receipt.acq_min, receipt.acq_max)
                number += 1


def follow(url: str, say: Said, position: int) -> None:
    """What follows. It never ends."""
    store = opened(url)
    while True:
        try:
            answer = store.last_acq(KeyRange())
            if answer > position:
                found = Counter(row[1] for row in scanned(store, KeyRange.of(acq=(position, answer))))
                say("seen", answer, found)
                position = answer
        except StoreUnreachableError:
            pass
        time.sleep(0.01)


class Crowd:
    """Processes at work, and what they said.

    Args:
        server: the server.
        directory: where they say it.
    """

    def __init__(self, server: Server, directory: Path) -> None:
        self._server, self._directory = server, directory
        self._url = f"{server.url}?connect_timeout=5"
        self._running: dict[int, tuple[str, int]] = {}
        self._started = 0
        opened(self._url).close()
        for at, _ in enumerate(WAYS):
            self._start("writer", at)
        for at in range(FOLLOWERS):
            self._start("follower", at)

    def kill(self, kind: str, chance: random.Random) -> None:
        """Kills something, and starts it again."""
        if kind == "server":
            self._server.kill()
            self._server.start()
        elif kind == "backend":
            self._server.kill_backend(chance)
        else:
            pid = chance.choice([pid for pid, (role, _) in self._running.items() if role == kind])
            self._end(pid)

    def check_alive(self) -> None:
        """Makes sure that no process ended by itself."""
        for pid in list(self._running):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._running[pid]
                raise AssertionError((self._directory / "errors").read_text())

    def quiet(self) -> None:
        """Kills the writers, and waits until followers have seen what they stored last."""
        for pid, (role, _) in list(self._running.items()):
            if role == "writer":
                self._end(pid, again=False)
        with closing(opened(self._url)) as store:
            put_last(store)  # and thereby waits for whoever of them is still at work on the server
            answer, until = store.last_acq(KeyRange()), time.monotonic() + 120
        for at in range(FOLLOWERS):
            while max((said[1] for said in lines(self._directory / f"follower {at}")), default=answer - 1) < answer:
                self.check_alive()
                assert time.monotonic() < until, f"follower {at} does not come to the end"
                time.sleep(0.02)

    def close(self) -> None:
        """Kills all."""
        for pid in list(self._running):
            self._end(pid, again=False)

    def _end(self, pid: int, *, again: bool = True) -> None:
        role, at = self._running.pop(pid)
        os.kill(pid, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
            raise AssertionError((self._directory / "errors").read_text())
        if again:
            self._start(role, at)

    def _start(self, role: str, at: int) -> None:
        self._started += 1
        path = self._directory / f"{role} {at}"
        work: Callable[[], None]
        if role == "writer":
            first = self._started * STEP
            work = lambda: write(self._url, Said(path), first, WAYS[at])  # noqa: E731
        else:
            last = [said[1] for said in lines(path)]
            work = lambda: follow(self._url, Said(path), max(last, default=-(2**62)))  # noqa: E731
        pid = os.fork()
        if not pid:
            ended_with_parent(signal.SIGKILL)
            try:
                work()
            except BaseException:  # noqa: BLE001
                (self._directory / "errors").write_text(traceback.format_exc())
            finally:
                os._exit(1)
        self._running[pid] = role, at


def lines(path: Path) -> list[Any]:
    """What a process said, but for a line that it did not finish."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def put_last(store: PostgresStore) -> None:
    """Puts something; once it is stored, all that was under way is stored or never will be."""
    number = STEP - 1
    rows = [(number % 3, number, 0, n, b"%08d" % number) for n in range(count_of(number))]
    while True:
        try:
            store.append(batches(rows))
        except StoreUnreachableError:  # a server that begins again: nothing was stored
            time.sleep(0.02)
        else:
            return


def looked_at(url: str, directory: Path) -> tuple[int, int]:
    """Compares what is there with what was said; gives how many puts were acknowledged, and how many others are there."""
    put: dict[int, Any] = {}
    undone: set[int] = set()
    removing: set[int] = set()
    refused: set[int] = set()
    for at, _ in enumerate(WAYS):
        last = -1
        for what, *rest in lines(directory / f"writer {at}"):
            if what == "put":
                put[rest[0]] = rest[1:]
                if rest[1:]:
                    assert rest[1] > last, f"acq went back from {last} to {rest[1]}"
                    last = rest[2]
            elif what == "not":
                refused.add(rest[0])
            elif what == "removing":
                removing.add(rest[0])
            elif what == "done" and rest[0] == "removing":
                undone.add(rest[1])
    with closing(opened(url)) as store:
        rows = scanned(store)
        report = maintenance.verify_store(store)
        assert report.is_whole, str(report)
        remembered = store.puts()
        compacted = maintenance.compact(store)
        assert compacted.runs_after <= compacted.runs_before
        assert scanned(store) == rows
    found = Counter(row[1] for row in rows)
    twice = {number: count for number, count in found.items() if count != count_of(number)}
    assert not twice, f"puts are there in part or twice: {twice}"
    assert len({row[:5] for row in rows}) == len(rows), "records are there twice"
    lost = put.keys() - found.keys() - removing
    assert not lost, f"puts {sorted(lost)[:5]} were acknowledged, and are lost"
    assert not undone & found.keys(), "what was removed is there"
    assert not refused & found.keys(), "what was said not to be stored is there"
    given = [row[4] for row in rows if row[5][:8] != b"%08d" % row[1] or row[4] != 5]
    assert len(set(given)) == len(given), "an acq was given twice"
    for number, acqs in put.items():
        if acqs and number in found:
            mine = [row[4] for row in rows if row[1] == number]
            assert (min(mine), max(mine)) == tuple(acqs), f"put {number} was told other acqs"
    assert [each.number for each in remembered] == sorted({each.number for each in remembered})
    own = {number for number, acqs in put.items() if not acqs} | {row[1] for row in rows if row[4] == 5}
    for at in range(FOLLOWERS):
        seen: Counter[int] = Counter()
        for _, _, counts in lines(directory / f"follower {at}"):
            seen.update({int(number): count for number, count in counts.items()})
        wrong = {number: seen[number] for number in found.keys() - own if seen[number] != found[number]}
        assert not wrong, f"follower {at} saw other than is there: {dict(list(wrong.items())[:5])}"
    return len(put), len(found.keys() - put.keys())


def series(server: Server, directory: Path, kinds: list[str], seed: int) -> tuple[int, int]:
    """Kills what `kinds` names, one after another; see `looked_at`."""
    chance = random.Random(seed)
    crowd = Crowd(server, directory)
    try:
        for kind in kinds:
            time.sleep(chance.uniform(0.02, 0.25))
            crowd.check_alive()
            crowd.kill(kind, chance)
        time.sleep(0.2)
        crowd.check_alive()
        crowd.quiet()
    finally:
        crowd.close()
    return looked_at(server.url, directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, help="how many there are")
    parser.add_argument("--only", default=",".join(KINDS), help="what is killed, with commas between")
    parser.add_argument("--each", type=int, default=50, help="kills after which the store is looked at, and begins anew")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # of what is tried again
    kinds, began = options.only.split(","), time.monotonic()
    total = puts = unsaid = 0
    while total < options.kills:
        some = [kinds[(total + at) % len(kinds)] for at in range(min(options.each, options.kills - total))]
        server = Server()
        try:
            with tempfile.TemporaryDirectory() as directory:
                stored, more = series(server, Path(directory), some, options.seed + total)
        finally:
            server.close()
        total, puts, unsaid = total + len(some), puts + stored, unsaid + more
        print(f"{total} kills, {puts} puts acknowledged, {unsaid} stored and not said; 0 lost, 0 twice", flush=True)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
