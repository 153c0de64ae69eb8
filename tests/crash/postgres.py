"""Kills writers, followers, connections and the server of a store in PostgreSQL, then checks the store.

usage: python tests/crash/postgres.py [--kills 500] [--only writer,follower,backend,server] [--seed 1] [--shards 3]

Several processes write at once, each in its own way: puts that reconcile a commit without an answer themselves; sessions
that reconcile later (`on_unknown="check"`); puts with explicit acqs, some of which are undone, with compaction. Followers
read new records and save checkpoints. Every process logs what was acknowledged. Again and again the program kills and
restarts a process, a connection's backend, or the server. In the end everything acknowledged must be stored exactly once
and whole, each follower must have seen it once, and the store must verify.

With `--shards`, the store is spread over several servers, one of which is killed at a time. Writers are sessions whose
flushes go to all shards, and outcomes (acknowledged, refused, in doubt) are logged per shard.
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
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from support.batches import batches, scanned
from support.postgres import Server, ended_with_parent

from tsmodel import Int32, Retry, Session, TSModel, connect
from tsmodel.errors import StoreInDoubtError, StoreUnreachableError, WriteError
from tsmodel.keys import KeyRange
from tsmodel.store import blocks, maintenance
from tsmodel.store.merging import MergePolicy
from tsmodel.store.postgres import PostgresStore, engine, init_shards, shards
from tsmodel.store.postgres.database import database_of
from tsmodel.store.postgres.sets import shard_of

KINDS = ("writer", "follower", "backend", "server")
WAYS = ("finds out", "checks", "own acqs")
FOLLOWERS = 2
STEP = 1_000_000
"""Put numbers reserved for each process."""
CIDS = 9
"""The cids of puts that go to several shards."""
OWN = 5
"""The first explicit acq."""
POLICY = MergePolicy(fan_in=3, final=2**20)
Unit: TypeAlias = tuple[int, int]
"""A put on a shard: its number, and the shard."""


class Put(TSModel, moid=0):
    number: Int32


def count_of(number: int) -> int:
    """Number of records of a put."""
    return 1 + number * 37 % 60


def records_of(number: int, shards: int) -> list[tuple[int, int]]:
    """The cap and cid of each record of a put: one cid, or many on several shards."""
    return [(n, number % 3 if shards == 1 else (number + n) % CIDS) for n in range(count_of(number))]


def quicker_merging() -> None:
    """Makes stores merge after fewer puts."""
    shards.PostgresStore = partial(PostgresStore, policy=POLICY)  # type: ignore[assignment, misc]


class Said:
    """A process's log, in a file that survives it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, *what: object) -> None:
        os.write(self._file, (json.dumps(what) + "\n").encode())


def opened(url: str) -> Any:
    """Opens a store as soon as the server accepts connections."""
    quicker_merging()
    while True:
        try:
            return shards.open_database(database_of(url), 2**22)
        except StoreUnreachableError:
            time.sleep(0.02)


def write(url: str, say: Said, first: int, way: str) -> None:
    """A writer. It never returns."""
    blocks.BLOCK_RECORDS, maintenance._STEP = 64, 20_000
    if way == "checks":
        check(url, say, first)
    store, number = opened(url), first
    while True:
        with_acq = way == "own acqs"
        acq = [OWN] if with_acq else []
        rows = [(cid, number, 0, n, *acq, b"%08d" % number) for n, cid in records_of(number, 1)]
        try:
            given = store.append(batches(rows, with_acq=with_acq), with_acq=with_acq)
        except StoreInDoubtError:
            say("doubt", (number, 0))
        except StoreUnreachableError:
            say("not", (number, 0))
            time.sleep(0.01)
        else:
            say("put", (number, 0), *([] if with_acq else given))
            if with_acq and number % 3 == 0:
                settled(say, ("removing", (number, 0)), partial(store.undo, [given.put]))
            if with_acq and number % 40 == 0:
                settled(say, ("compacting",), partial(maintenance.compact, store))
        number += 1


def settled(say: Said, what: tuple[object, ...], work: Callable[[], object]) -> None:
    """Runs an operation and logs its completion."""
    say(*what)
    try:
        work()
    except StoreUnreachableError:
        return
    except StoreInDoubtError:
        return
    say("done", *what)


def check(url: str, say: Said, first: int) -> None:
    """Writes through sessions, which reconcile puts whose answer was lost."""
    engine._FINDING_OUT = 0.0
    retry = Retry(attempts=1000, first="10ms", most="100ms", on_unknown="check")
    with connected(url, retry) as session:
        for number in count(first):
            session.add_all([Put(cid=cid, mid=number, cap=n, number=number) for n, cid in records_of(number, 1)])
            receipt = session.flush()
            assert receipt.count == count_of(number)
            say("put", (number, 0), receipt.acq_min, receipt.acq_max)


def connected(url: str, retry: Retry) -> Session:
    """Opens a session as soon as the server accepts connections."""
    while True:
        try:
            return connect(url, retry=retry)
        except StoreUnreachableError:
            time.sleep(0.02)


def write_on_shards(url: str, say: Said, first: int, way: str, shards: int) -> None:
    """A writer to several servers. It never returns."""
    blocks.BLOCK_RECORDS, maintenance._STEP = 64, 20_000
    if way == "checks":
        engine._FINDING_OUT = 0.0
        retry = Retry(attempts=1000, first="10ms", most="100ms", on_unknown="check")
    else:
        retry = Retry(attempts=1)
    with_acq = way == "own acqs"
    quicker_merging()
    session = connected(url, retry)
    since: list[Unit] = []  # the shard of the next receipt
    for number in count(first):
        units = Counter((number, shard_of(cid, shards)) for _, cid in records_of(number, shards))
        rows = [Put(cid=cid, mid=number, cap=n, acq=OWN, number=number) for n, cid in records_of(number, shards)]
        session.add_all(rows, keep_acq=with_acq)
        told: WriteError | None = None
        try:
            receipt = session.flush()
        except WriteError as error:
            told = error
            session.discard()
        outcomes = dict.fromkeys(units, "put")
        for outcome, lost in (("not", told.not_stored), ("doubt", told.unknown)) if told else ():
            some = Counter((number, shard_of(row.cid, shards)) for row in lost)
            assert all(count == units[unit] for unit, count in some.items()), "a shard stored part of its put"
            outcomes |= dict.fromkeys(some, outcome)
        for unit, outcome in outcomes.items():
            say(outcome, unit, *([] if with_acq or told or outcome != "put" else [receipt.acq_min, receipt.acq_max]))
        since += [unit for unit, outcome in outcomes.items() if outcome == "put"]
        if told is not None:
            assert way != "checks", told
            time.sleep(0.01)
            continue
        if with_acq and number % 3 == 0:
            settled(say, ("removing", *since), partial(session.undo, receipt))
        since.clear()
        if with_acq and number % 40 == 0:
            settled(say, ("compacting",), session.compact)


def follow(url: str, say: Said, position: int, shards: int) -> None:
    """A follower. It never returns."""
    store = opened(url)
    while True:
        try:
            answer = store.last_acq(KeyRange())
            if answer > position:
                found = units_in(scanned(store, KeyRange.of(acq=(position, answer))), shards)
                say("seen", answer, list(found.items()))
                position = answer
        except StoreUnreachableError:
            pass
        time.sleep(0.01)


def units_in(rows: list[Any], shards: int) -> Counter[Unit]:
    """Number of records of each put on each shard."""
    return Counter((row[1], shard_of(row[0], shards)) for row in rows)


def created(servers: list[Server]) -> str:
    """The URL of a store spread over servers."""
    if len(servers) == 1:
        return f"{servers[0].url}?connect_timeout=5"
    url = f"{servers[0].url}?schema=shards&connect_timeout=5"
    init_shards(url, [f"{server.url}?schema=shard" for server in servers])
    return url


class Crowd:
    """The running processes and their logs.

    Args:
        servers: the servers.
        url: the store.
        directory: where they log.
    """

    def __init__(self, servers: list[Server], url: str, directory: Path) -> None:
        self._servers, self._directory = servers, directory
        self._url = url
        self._running: dict[int, tuple[str, int]] = {}
        self._started = 0
        opened(self._url).close()
        for at, _ in enumerate(WAYS):
            self._start("writer", at)
        for at in range(FOLLOWERS):
            self._start("follower", at)

    def kill(self, kind: str, chance: random.Random) -> None:
        """Kills something and restarts it."""
        server = chance.choice(self._servers)
        if kind == "server":
            server.kill()
            server.start()
        elif kind == "backend":
            server.kill_backend(chance)
        else:
            pid = chance.choice([pid for pid, (role, _) in self._running.items() if role == kind])
            self._end(pid)

    def check_alive(self) -> None:
        """Checks that no process exited by itself."""
        for pid in list(self._running):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._running[pid]
                raise AssertionError((self._directory / "errors").read_text())

    def quiet(self) -> None:
        """Kills the writers and waits until followers have seen the last records."""
        for pid, (role, _) in list(self._running.items()):
            if role == "writer":
                self._end(pid, again=False)
        with closing(opened(self._url)) as store:
            put_last(store)  # and thereby waits for those whose backend still works on the server
            answer, until = store.last_acq(KeyRange()), time.monotonic() + 120
        for at in range(FOLLOWERS):
            while max((said[1] for said in lines(self._directory / f"follower {at}")), default=answer - 1) < answer:
                self.check_alive()
                assert time.monotonic() < until, f"follower {at} does not reach the end"
                time.sleep(0.02)

    def close(self) -> None:
        """Kills all processes."""
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
            if len(self._servers) > 1:
                work = partial(write_on_shards, self._url, Said(path), first, WAYS[at], len(self._servers))
            else:
                work = partial(write, self._url, Said(path), first, WAYS[at])
        else:
            last = max((said[1] for said in lines(path)), default=-(2**62))
            work = partial(follow, self._url, Said(path), last, len(self._servers))
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
    """The complete lines of a process's log."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def put_last(store: Any) -> None:
    """Puts a record on each shard. Once it is stored, every earlier put has either been stored or never will be."""
    shards = getattr(store, "shards", (store,))
    number = STEP - 1
    records = records_of(number, len(shards))
    for at, shard in enumerate(shards):
        rows = [(cid, number, 0, n, b"%08d" % number) for n, cid in records if shard_of(cid, len(shards)) == at]
        while rows:
            try:
                shard.append(batches(rows))
            except StoreUnreachableError:  # the server is starting: nothing was stored
                time.sleep(0.02)
            else:
                break


def looked_at(url: str, directory: Path, shards: int) -> tuple[int, int]:
    """Checks the store against the logs; returns the number of acknowledged puts and of others that are stored. A put to
    several shards counts as one on each."""
    put: dict[Unit, Any] = {}
    undone: set[Unit] = set()
    removing: set[Unit] = set()
    refused: set[Unit] = set()
    for at, _ in enumerate(WAYS):
        last = -1
        for what, *rest in lines(directory / f"writer {at}"):
            if what == "put":
                put[tuple(rest[0])] = rest[1:]
                if rest[1:] and shards == 1:
                    assert rest[1] > last, f"acq went back from {last} to {rest[1]}"
                    last = rest[2]
            elif what == "not":
                refused.add(tuple(rest[0]))
            elif what == "removing":
                removing |= set(map(tuple, rest))
            elif what == "done" and rest[0] == "removing":
                undone |= set(map(tuple, rest[1:]))
    with closing(opened(url)) as store:
        rows = scanned(store)
        report = store.verify()
        assert report.is_whole, str(report)
        remembered = store.puts()
        compacted = store.compact()
        assert compacted.runs_after <= compacted.runs_before
        assert scanned(store) == rows
    found = units_in(rows, shards)
    wanted = Counter((number, shard_of(cid, shards)) for number, _ in found for _, cid in records_of(number, shards))
    numbers = Counter(number for number, _ in found)
    twice = {unit: count for unit, count in found.items() if count * numbers[unit[0]] != wanted[unit]}
    assert not twice, f"puts are stored partly or twice: {twice}"
    assert len({row[:5] for row in rows}) == len(rows), "records are stored twice"
    lost = put.keys() - found.keys() - removing
    assert not lost, f"acknowledged puts {sorted(lost)[:5]} are lost"
    assert not undone & found.keys(), "removed records are back"
    assert not refused & found.keys(), "puts reported as not stored are stored"
    given = [(shard_of(row[0], shards), row[4]) for row in rows if row[4] != OWN]
    assert len(set(given)) == len(given), "an acq was assigned twice"
    acqs: dict[Unit, list[int]] = {}
    for row in rows:
        acqs.setdefault((row[1], shard_of(row[0], shards)), []).append(row[4])
    for unit, told in put.items():
        if told and unit in found:
            mine = min(acqs[unit]), max(acqs[unit])
            assert mine == tuple(told) if shards == 1 else told[0] <= mine[0] <= mine[1] <= told[1], f"{unit}: acqs differ"
    assert len({each.number for each in remembered}) == len(remembered)
    own = {unit for unit, some in acqs.items() if OWN in some}
    for at in range(FOLLOWERS):
        seen: Counter[Unit] = Counter()
        for _, _, counts in lines(directory / f"follower {at}"):
            seen.update({tuple(unit): count for unit, count in counts})
        wrong = {unit: seen[unit] for unit in found.keys() - own if seen[unit] != found[unit]}
        assert not wrong, f"follower {at} saw different records: {dict(list(wrong.items())[:5])}"
    return len(put), len(found.keys() - put.keys())


def series(servers: list[Server], directory: Path, kinds: list[str], seed: int) -> tuple[int, int]:
    """Kills the `kinds` in turn; see `looked_at`."""
    chance = random.Random(seed)
    url = created(servers)
    crowd = Crowd(servers, url, directory)
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
    return looked_at(url, directory, len(servers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, help="number of kills")
    parser.add_argument("--only", default=",".join(KINDS), help="what to kill, separated by commas")
    parser.add_argument("--each", type=int, default=50, help="kills before the store is checked and replaced")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1, help="number of servers the store is spread over")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # retries are logged
    kinds, began = options.only.split(","), time.monotonic()
    total = puts = unsaid = 0
    while total < options.kills:
        some = [kinds[(total + at) % len(kinds)] for at in range(min(options.each, options.kills - total))]
        with ExitStack() as stack:
            servers = [stack.enter_context(closing(Server())) for _ in range(options.shards)]
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            stored, more = series(servers, Path(directory), some, options.seed + total)
        total, puts, unsaid = total + len(some), puts + stored, unsaid + more
        print(f"{total} kills, {puts} puts acknowledged, {unsaid} stored and not said; 0 lost, 0 twice", flush=True)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
