"""Kills programs that write through a spool, and their server, over a network that cuts connections.

usage: python tests/crash/spool.py [--kills 600] [--seed 1] [--writers 2]

Processes open `tstorage://...?spool=PATH` on one spool and flush puts in a loop: of one record or many, of several cids,
the same put twice, with explicit acqs, and with `unless_stored`. Each logs the start and the return of every flush. A
proxy ends connections after any number of bytes, cleanly or with a reset, or refuses them. After a while each process is
killed with SIGKILL, now and then the server too, and the spool is drained. The server must then hold every flushed put
whole, as often as it was flushed, and in order for each cid.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from crash.shim import fast_directory
from support.batches import scanned
from support.proxy import Cut, Plan, Proxy

from tsmodel import Blob, Retry, TSModel, connect, connect_async, now_ns
from tsmodel.server import serve_in_thread
from tsmodel.store import open_store

KINDS = ("sync", "async")
HOUR = 3600 * 10**9


class Sample(TSModel):
    data: Blob


def rows_of(number: int) -> list[Sample]:
    """The records of a put; its number is their mid and decides how it is flushed."""
    count = 1 if number % 3 else 1 + number * 37 % 200
    acq = {"acq": 10**17 + number} if how(number) == "keep_acq" else {}
    return [Sample(cid=n % 3, mid=number, moid=0, cap=n, data=b"%08d" % number * (1 + n % 2), **acq) for n in range(count)]


def how(number: int) -> str:
    """The way a put is flushed."""
    return {4: "twice", 7: "keep_acq", 9: "unless_stored"}.get(number % 11, "plain")


def options_of(number: int) -> dict[str, Any]:
    """Arguments of `add_all` for a put."""
    return {how(number): True} if how(number) in ("keep_acq", "unless_stored") else {}


def write(url: str, first: int, kind: str, settle: str) -> None:
    """The process that is killed. It never returns."""
    policy = Retry(attempts=1, settle=settle)

    def numbers() -> Iterator[int]:
        number = first
        while True:
            for _ in range(2 if how(number) in ("twice", "unless_stored") else 1):
                os.write(1, b"+%d\n" % number)
                yield number
                os.write(1, b"%d\n" % number)
            number += 1

    async def write_async() -> None:
        async with connect_async(url, retry=policy) as session:
            for number in numbers():
                await session.add_all(rows_of(number), **options_of(number))
                await session.flush()
                await asyncio.sleep(0.002)

    if kind == "async":
        asyncio.run(write_async())
    with connect(url, retry=policy) as session:
        for number in numbers():
            session.add_all(rows_of(number), **options_of(number))
            session.flush()
            time.sleep(0.002)


class Chances(list[Plan]):
    """Where connections are cut: a few pass, most do not."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self.is_calm = False

    def __bool__(self) -> bool:
        return True

    def pop(self, _: Any = 0) -> Plan:
        chance = self._random
        if self.is_calm or chance.random() < 0.4:
            return Cut()
        end = int(10 ** chance.uniform(0, 5.5))
        reset = chance.random() < 0.5
        return Cut(end, None, reset) if chance.random() < 0.5 else Cut(None, end // 30, reset)


def forked(work: Any, *arguments: Any) -> tuple[int, BinaryIO]:
    """Forks this process; returns the fork and its output."""
    out, said = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.dup2(said, 1)
            os.close(out)
            work(*arguments)
        finally:
            os._exit(1)
    os.close(said)
    return process, os.fdopen(out, "rb")


def serve(path: str, port: int) -> None:
    """The server that is killed."""
    with serve_in_thread(path, port=port) as (_, port):
        os.write(1, b"%d\n" % port)
        signal.pause()


def pass_on(port: int, seed: int) -> None:
    """The network. SIGUSR1 toggles its faults."""
    proxy = Proxy("127.0.0.1", port)
    proxy.cuts = chances = Chances(seed)

    def turned(*_: object) -> None:
        chances.is_calm = not chances.is_calm

    signal.signal(signal.SIGUSR1, turned)
    os.write(1, b"%d\n" % proxy.address[1])
    while True:
        time.sleep(random.uniform(0.2, 1))
        if not chances.is_calm:
            proxy.refusing = True
            proxy.cut_all()
            time.sleep(random.uniform(0, 0.3))
            proxy.refusing = False


def end(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        raise AssertionError(f"it ended by itself with status {status}")


class World:
    """A server behind an unreliable network, and a spool."""

    def __init__(self, directory: Path, seed: int, settle: str) -> None:
        self.path = str(directory / "store.tsdb")
        self.server, self._port = self._started(0)
        self.network, said = forked(pass_on, self._port, seed)
        self.port = int(said.readline())
        said.close()
        self.spool = directory / "edge.spool"
        self.url = f"tstorage://127.0.0.1:{self.port}?spool={self.spool}&timeout=5"
        self.settle = settle

    def _started(self, port: int) -> tuple[int, int]:
        process, said = forked(serve, self.path, port)
        with said:
            return process, int(said.readline())

    def restart(self, pause: float) -> None:
        end(self.server)
        time.sleep(pause)
        self.server, _ = self._started(self._port)

    def close(self) -> None:
        for process in (self.server, self.network):
            end(process)

    def drained(self) -> None:
        """Drains the spool."""
        os.kill(self.network, signal.SIGUSR1)
        with connect(self.url, retry=Retry(attempts=1, settle=self.settle)) as session:
            assert session.drain("120s"), session.spool
            state = session.spool
            assert state is not None
            assert not state.set_aside, state.set_aside
        os.kill(self.network, signal.SIGUSR1)


@contextmanager
def world(directory: Path, seed: int, settle: str) -> Iterator[World]:
    made = World(directory, seed, settle)
    try:
        yield made
    finally:
        made.close()


class Done(NamedTuple):
    """The result of a check.

    Attributes:
        kills: killed processes.
        flushed: flushes that returned.
        unsaid: flushes that did not return but whose put is stored.
    """

    kills: int
    flushed: int
    unsaid: int


def looked_at(path: str, begun: Counter[int], flushed: Counter[int]) -> int:
    """Checks the server's records against the flushes; returns the number of stored puts whose flush did not return."""
    with closing(open_store(path)) as store:
        rows = scanned(store)
    found: dict[int, Counter[tuple[Any, ...]]] = defaultdict(Counter)
    acqs: dict[tuple[int, int], list[int]] = defaultdict(list)
    for cid, mid, moid, cap, acq, payload in rows:
        found[mid][cid, moid, cap, payload] += 1
        acqs[mid, cid].append(acq)
    unsaid = 0
    for number in begun:
        wanted = {(row.cid, 0, row.cap, Sample.payload_type.to_bytes(row)) for row in rows_of(number)}
        is_set = how(number) in ("unless_stored", "keep_acq")
        least = min(flushed[number], 1) if is_set else flushed[number]
        most = 1 if is_set else begun[number]
        counts = set(found[number].values()) | ({0} if found[number].keys() != wanted else set())
        assert found[number].keys() <= wanted, f"put {number} holds records that nobody flushed"
        assert min(counts) >= least, f"put {number} ({how(number)}) was flushed {least} times and is lost: {counts}"
        assert max(counts) <= most, f"put {number} ({how(number)}) was flushed {most} times and is stored {counts}"
        assert len(counts) == 1, f"put {number} is stored in part: {counts}"
        unsaid += max(counts) - least
    assert found.keys() <= begun.keys()
    for cid in range(3):
        plain = [number for number in sorted(flushed) if how(number) == "plain" and (number, cid) in acqs]
        for before, after in pairwise(plain):
            if before // 10**6 == after // 10**6:
                assert max(acqs[before, cid]) < min(acqs[after, cid]), f"put {after} was sent before put {before}"
    return unsaid


def series(
    directory: Path,
    kills: int,
    seed: int,
    *,
    writers: int = 2,
    settle: str = "300ms",
    longest: float = 1.0,
    every: int = 20,
) -> Done:
    """Kills that many processes."""
    chance = random.Random(seed)
    begun: Counter[int] = Counter()
    flushed: Counter[int] = Counter()
    killed = unsaid = run = 0
    with world(directory, seed, settle) as there:
        while killed < kills:
            processes = []
            for _ in range(chance.randint(1, writers)):
                run += 1
                kind = chance.choice(KINDS)
                processes.append(forked(write, there.url, 10**6 * run, kind, settle))
            time.sleep(chance.uniform(0.05, longest))
            if chance.random() < 0.25:
                there.restart(chance.uniform(0, 0.2))
                killed += 1
                time.sleep(chance.uniform(0, longest / 2))
            for process, said in processes:
                end(process)
                killed += 1
                with said:
                    for line in said.read().splitlines(keepends=True):
                        if line.startswith(b"+"):
                            begun[int(line[1:])] += 1
                        elif line.endswith(b"\n"):
                            flushed[int(line)] += 1
            if killed >= kills or run % every < len(processes):
                there.drained()
                unsaid = looked_at(there.path, begun, flushed)
        return Done(killed, sum(flushed.values()), unsaid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=600, help="number of processes to kill")
    parser.add_argument("--seed", type=int, default=int(now_ns() % 10**6))
    parser.add_argument("--writers", type=int, default=2, help="most processes at a time")
    parser.add_argument("--settle", default="300ms", help="how long an interrupted put may take to arrive")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=fast_directory()) as directory:
        done = series(Path(directory), options.kills, options.seed, writers=options.writers, settle=options.settle)
    print(
        f"{done.kills} kills in {time.monotonic() - began:.0f} s (--seed {options.seed}), {done.flushed} flushes returned, "
        f"{done.unsaid} puts stored and not said; 0 lost, 0 twice"
    )


if __name__ == "__main__":
    main()
