"""Kills `tsmodel serve --data FILE` while clients put and follow, restarts it, and checks what it then serves.

usage: python tests/crash/server.py [--kills 500] [--each 20] [--seed 1]

Clients put in a loop: through channels with PUT and PUTA, and through a session that reconciles puts without an answer
(`on_unknown="check"`). Puts have one record, many, or more than a batch, with records of several cids interleaved. Other
clients ask for the last acq or follow with a checkpoint. Each logs what was acknowledged, what is in doubt, and what it
received. The server is killed with SIGKILL at a random moment, also during its start, and restarted on the same file and
port. It must then serve every acknowledged put exactly once and whole; a put in doubt must be there whole or not at all,
and stay so; GETACQ must never go back; and each follower must receive each record once.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from crash.postgres import Said, lines
from crash.shim import fast_directory
from crash.spool import end, forked
from support.postgres import ended_with_parent

from tsmodel import Blob, Retry, TSModel, connect
from tsmodel.backend import AcqInterval
from tsmodel.cli.developing import serve_
from tsmodel.client.channel import Channel
from tsmodel.client.payload_type import BytesPayloadType
from tsmodel.client.record import Key, Record
from tsmodel.errors import TransportError, TruncatedError
from tsmodel.store import EmbeddedStore, blocks, verify
from tsmodel.store import store as stores
from tsmodel.store.intake import Put
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

HOST = "127.0.0.1"
STEP = 10**9
"""Put numbers reserved for each client."""
OWN_ACQ = 10**17
"""The acq of put 0 with explicit acqs; far below those that a server assigns."""
PATIENT = Retry(attempts=10**6, first="5ms", most="50ms", on_unknown="check", settle="50ms")
LIMIT = 120.0


class Sample(TSModel):
    data: Blob


def count_of(number: int) -> int:
    """Number of records of a put."""
    return 600 if number % 80 == 0 else 1 + number * 37 % 60 if number % 3 == 0 else 1


def has_own_acq(number: int) -> bool:
    """Whether the client sets the acq of a put."""
    return CLIENTS[number // STEP] == "puta" or (CLIENTS[number // STEP] == "session" and number % 4 == 1)


def records_of(number: int) -> list[tuple[Key, bytes]]:
    """The records of a put; acq is -1 where the server assigns it. Puts with explicit acqs use other cids."""
    first, acq = (3, OWN_ACQ + number) if has_own_acq(number) else (0, -1)
    cids = [first + (number + n) % 3 for n in range(count_of(number))]
    return [(Key(cid, number, 0, n, acq), payload_of(b"%012d" % number * (1 + n % 2))) for n, cid in enumerate(cids)]


def payload_of(data: bytes) -> bytes:
    """The payload of a sample."""
    return len(data).to_bytes(2, "little") + data


def put(port: int, say: Said, number: int, stopped: Callable[[], bool]) -> None:
    """Puts through a channel and asks for the last acq in between."""
    while not stopped():
        with Channel(HOST, port, BytesPayloadType(), timeout=30) as channel:
            while not stopped():
                records = [Record(*each) for each in records_of(number)]
                response = (channel.puta if has_own_acq(number) else channel.put)(records)
                if response.is_ok():
                    say("put", number, *([] if has_own_acq(number) else [response.acq_min, response.acq_max]))
                elif response.server_status is not None:
                    say("not", number)
                else:
                    say("doubt", number)
                number += 1
                if not response.is_ok() or (number % 5 == 0 and not asked(channel, say)):
                    break


def put_by_session(port: int, say: Said, number: int, stopped: Callable[[], bool]) -> None:
    """Puts through a session, which reconciles puts without an answer."""
    with connect(f"tstorage://{HOST}:{port}?timeout=30", retry=PATIENT) as session:
        while not stopped():
            rows = []
            for key, payload in records_of(number):
                acq = {"acq": key.acq} if has_own_acq(number) else {}
                rows.append(Sample(cid=key.cid, mid=key.mid, moid=0, cap=key.cap, data=payload[2:], **acq))
            session.add_all(rows, keep_acq=has_own_acq(number))
            session.flush()
            say("put", number)
            number += 1


def ask(port: int, say: Said, _: int, stopped: Callable[[], bool]) -> None:
    """Asks for the last acq."""
    while not stopped():
        with Channel(HOST, port, BytesPayloadType(), timeout=30) as channel:
            while not stopped() and asked(channel, say):
                time.sleep(0.003)


def asked(channel: Channel[bytes], say: Said) -> bool:
    """Asks for the last acq and logs it; returns whether there was an answer."""
    response = channel.get_acq(Key.min(), Key.max())
    if response.is_ok():
        say("acq", response.acq)
    return response.is_ok()


def follow(port: int, say: Said, number: int, stopped: Callable[[], bool], checkpoint: Path) -> None:
    """Follows with a checkpoint: one reader retries by itself, another starts over after every failure."""
    url = f"tstorage://{HOST}:{port}?timeout=30"
    if CLIENTS[number // STEP] == "follow":
        with connect(url, retry=PATIENT) as session:
            for row in session.query(Sample).follow(poll="5ms", checkpoint=checkpoint, checkpoint_every=20):
                say(row.cid, row.mid, row.cap)
    while not stopped():
        with connect(url, retry=Retry(attempts=1)) as session:
            for row in session.query(Sample).follow(checkpoint=checkpoint, wait=False):
                say(row.cid, row.mid, row.cap)
        time.sleep(0.003)


CLIENTS = ("put", "put", "puta", "session", "ask", "follow", "follow anew")
WORK = {"put": put, "puta": put, "session": put_by_session, "ask": ask}


def work(port: int, directory: Path, at: int) -> None:
    """A client. On SIGTERM it waits for the outstanding answer and exits."""
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stops.append(number))
    say = Said(directory / f"client {at}")
    does = WORK.get(CLIENTS[at]) or partial(follow, checkpoint=directory / f"checkpoint {at}")
    number = at * STEP
    while not stops:
        try:
            does(port, say, number, lambda: bool(stops))
        except (TransportError, TruncatedError):  # the server is down
            time.sleep(0.005)
        said = [each[1] for each in lines(directory / f"client {at}") if each[0] in ("put", "doubt", "not")]
        number = max(said, default=number - 1) + 1


class Unhurried(EmbeddedStore):
    """A store that often acknowledges a commit late, so that a kill leaves stored puts whose client got no answer."""

    def store(self, put: Put) -> AcqInterval:
        given = super().store(put)
        time.sleep(random.choice([0, 0, 0.002, 0.01]))
        return given


class Server:
    """The command `tsmodel serve --data FILE` in a fork of this process, which starts faster.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.port = 0
        self._start()
        self.wait()

    def _start(self) -> None:
        self._process, self._out = forked(self._serve)

    def _serve(self) -> None:
        ended_with_parent(signal.SIGKILL)
        blocks.BLOCK_RECORDS = 64  # type: ignore[misc]

        def small(engine: SQLiteEngine) -> EmbeddedStore:
            assert engine._writer is not None
            engine._writer.execute("PRAGMA wal_autocheckpoint = 20")
            return Unhurried(engine, policy=MergePolicy(fan_in=3, final=2**20), slice_bytes=8000)

        stores.EmbeddedStore = small  # type: ignore[misc,assignment]
        serve_(["--data", str(self._path), "--port", str(self.port), "--log-level", "error"])

    def wait(self) -> None:
        """Waits until the server accepts connections."""
        line = self._out.readline().decode()
        assert line.startswith("serving"), f"the server does not start: {line!r}"
        self.port = int(line.rsplit(":", 1)[1])

    def kill(self) -> None:
        """Kills the server and restarts it."""
        self.close()
        self._start()

    def close(self) -> None:
        """Kills the server."""
        end(self._process)
        self._out.close()


class Crowd:
    """The running clients.

    Args:
        port: where the server listens.
        directory: where they log.
    """

    def __init__(self, port: int, directory: Path) -> None:
        self._directory = directory
        self._running: dict[int, tuple[int, BinaryIO]] = {}
        for at, _ in enumerate(CLIENTS):
            self._running[at] = forked(self._work, port, at)

    def _work(self, port: int, at: int) -> None:
        ended_with_parent(signal.SIGKILL)
        try:
            work(port, self._directory, at)
            os._exit(0)
        except BaseException:  # noqa: BLE001
            (self._directory / "errors").write_text(traceback.format_exc())

    def check_alive(self) -> None:
        """Checks that no client exited by itself."""
        for at, (process, _) in list(self._running.items()):
            if os.waitpid(process, os.WNOHANG)[0]:
                del self._running[at]
                raise AssertionError(f"{CLIENTS[at]} ended: {(self._directory / 'errors').read_text()}")

    def stop_writing(self) -> None:
        """Stops the writing clients once they have their answers."""
        writers = [at for at in self._running if CLIENTS[at] in ("put", "puta", "session")]
        for at in writers:
            os.kill(self._running[at][0], signal.SIGTERM)
        for at in writers:
            process, out = self._running.pop(at)
            out.close()
            if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
                raise AssertionError(f"{CLIENTS[at]} ended: {(self._directory / 'errors').read_text()}")

    def close(self) -> None:
        """Kills the remaining clients."""
        for process, out in self._running.values():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            out.close()
        self._running.clear()


class Done(NamedTuple):
    """The result of a check.

    Attributes:
        kills: how often the server was killed.
        puts: acknowledged puts.
        doubts: puts that stayed in doubt.
        stored: how many of these are stored.
        records: records that followers received.
        answers: answers to GETACQ.
    """

    kills: int = 0
    puts: int = 0
    doubts: int = 0
    stored: int = 0
    records: int = 0
    answers: int = 0

    def __add__(self, other: Done) -> Done:  # type: ignore[override]
        return Done(*map(sum, zip(self, other, strict=True)))


class Looking:
    """Checks what a server serves against the clients' logs.

    Args:
        port: where it listens.
        directory: where the clients log.
    """

    def __init__(self, port: int, directory: Path) -> None:
        self._port, self._directory = port, directory
        self._gone: set[int] = set()
        self._answer = -(2**63)

    def _said(self) -> tuple[dict[int, Any], set[int], set[int], int]:
        """Acknowledged puts with their acqs, puts in doubt, refused puts, and the number of answers to GETACQ."""
        put: dict[int, Any] = {}
        doubts: set[int] = set()
        refused: set[int] = set()
        answers = 0
        for at, client in enumerate(CLIENTS):
            if client.startswith("follow"):
                continue
            answer, given = -(2**63), -(2**63) - 1  # an empty store may answer the smallest acq
            for what, *rest in lines(self._directory / f"client {at}"):
                if what == "acq":
                    assert rest[0] >= answer, f"GETACQ went back from {answer} to {rest[0]}"
                    assert rest[0] > given, f"GETACQ answers {rest[0]}, not above {given}, assigned to an earlier put"
                    answer, answers = rest[0], answers + 1
                elif what == "put":
                    put[rest[0]] = rest[1:]
                    if rest[1:]:
                        assert rest[1] > given, f"acq went back from {given} to {rest[1]}"
                        assert rest[1] >= answer, f"a put got {rest[1]}, below the earlier answer {answer}"
                        given = rest[2]
                else:
                    (doubts if what == "doubt" else refused).add(rest[0])
        return put, doubts, refused, answers

    def look(self, *, to_the_end: bool = False) -> Done:
        """Checks the served records.

        Args:
            to_the_end: whether all writers have stopped, so that the outcome of every put is known.
        """
        put, doubts, refused, answers = self._said()
        with Channel(HOST, self._port, BytesPayloadType(), timeout=LIMIT) as channel:
            answer = channel.get_acq(Key.min(), Key.max())
            got = channel.get(Key.min(), Key.max())
        assert answer.is_ok(), answer
        assert got.is_ok(), got.error
        assert got.acq >= answer.acq >= self._answer, f"GETACQ went back from {self._answer} to {answer.acq}, {got.acq}"
        self._answer = answer.acq
        found: dict[int, list[tuple[Key, bytes]]] = defaultdict(list)
        for record in got.data:
            found[record.key.mid].append((record.key, record.value))
        for number, rows in found.items():
            wanted = records_of(number)
            is_own = has_own_acq(number)
            keys = sorted((k.cap, k.cid, k.moid, k.acq if is_own else -1, data) for k, data in rows)
            assert keys == [(k.cap, k.cid, k.moid, k.acq, data) for k, data in wanted], (
                f"put {number} has {len(rows)} of {len(wanted)} records, or different ones"
            )
            if put.get(number):
                acqs = [key.acq for key, _ in rows]
                assert [min(acqs), max(acqs)] == put[number], f"put {number} was acknowledged with different acqs"
        lost = put.keys() - found.keys()
        assert not lost, f"acknowledged puts {sorted(lost)[:5]} are lost"
        assert not refused & found.keys(), "puts reported as not stored are stored"
        back = self._gone & found.keys()
        assert not back, f"puts {sorted(back)[:5]} were in doubt and missing, and are stored now"
        self._gone |= doubts - found.keys()
        given = Counter(record.key.acq for record in got.data if record.key.cid < 3)
        assert len(given) == given.total(), "an acq was assigned twice"
        if to_the_end:
            unsaid = found.keys() - put.keys() - doubts
            assert not unsaid, f"puts {sorted(unsaid)[:5]} are stored, and no client knows"
        records = self._followed(found) if to_the_end else 0
        return Done(0, len(put), len(doubts), len(doubts & found.keys()), records, answers)

    def _followed(self, found: dict[int, list[tuple[Key, bytes]]]) -> int:
        """Checks what followers received; returns the number of records."""
        wanted = {(key.cid, key.mid, key.cap) for rows in found.values() for key, _ in rows if key.cid < 3}
        total = 0
        for at, client in enumerate(CLIENTS):
            if not client.startswith("follow"):
                continue
            until = time.monotonic() + LIMIT
            while True:
                seen = Counter(tuple(each) for each in lines(self._directory / f"client {at}"))
                missing = wanted - seen.keys()
                if not missing:
                    break
                assert time.monotonic() < until, f"follower {client} did not receive {sorted(missing)[:5]}"
                time.sleep(0.1)
            twice = [record for record, count in seen.items() if count > 1]
            assert not twice, f"follower {client} received {twice[:5]} twice"
            others = {record for record in seen if record[0] < 3} - wanted
            assert not others, f"follower {client} received {sorted(others)[:5]}, which are not stored"
            total += seen.total()
        return total


def series(directory: Path, kills: int, seed: int, longest: float = 0.4) -> Done:
    """Kills the server that many times on one file."""
    chance = random.Random(seed)
    path = directory / "store.tsdb"
    server = Server(path)
    crowd, looking = Crowd(server.port, directory), Looking(server.port, directory)
    killed = 0
    try:
        while killed < kills:
            time.sleep(chance.uniform(0.02, longest))
            server.kill()
            killed += 1
            while killed < kills and chance.random() < 0.2:
                time.sleep(chance.uniform(0, 0.05))
                server.kill()
                killed += 1
            server.wait()
            crowd.check_alive()
            looking.look()
        crowd.stop_writing()
        done = looking.look(to_the_end=True)
    finally:
        crowd.close()
        server.close()
    report = verify(path)
    assert report.is_whole, str(report)
    return done._replace(kills=killed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, help="number of kills")
    parser.add_argument("--each", type=int, default=20, help="kills before the file is replaced")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # retries are logged
    began, done = time.monotonic(), Done()
    while done.kills < options.kills:
        some = min(options.each, options.kills - done.kills)
        with tempfile.TemporaryDirectory(dir=fast_directory()) as directory:
            done += series(Path(directory), some, options.seed + done.kills)
        print(
            f"{done.kills} kills in {time.monotonic() - began:.0f} s, {done.puts} puts acknowledged, {done.doubts} in "
            f"doubt, {done.stored} of them stored; {done.records} records followed, {done.answers} answers of GETACQ; "
            "0 lost, 0 twice",
            flush=True,
        )


if __name__ == "__main__":
    main()
